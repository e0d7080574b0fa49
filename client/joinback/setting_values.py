"""From the text of an environment variable to its value, or to one line that says what it may be."""

from typing import Annotated, Any, get_args, get_origin

import msgspec

from .errors import ConfigurationError

_SHOWN_LENGTH_MAX = 200
"""A wrong value is quoted in one line of a log."""


def value_of(variable: str, text: str, hint: Any) -> Any:
    """Return what the text means as this type. Raises ConfigurationError."""
    try:
        return msgspec.convert(text, hint, strict=False)
    except msgspec.ValidationError as error:
        choices = get_args(get_args(hint)[0] if get_origin(hint) is Annotated else hint)
        if choices and all(isinstance(choice, str) for choice in choices):
            what = f"Expected one of {', '.join(choices)}"
        else:
            what = str(error).replace("`", "")
        raise ConfigurationError(f"{variable}={repr(text)[:_SHOWN_LENGTH_MAX]}: {what}") from None
