"""From the text of an environment variable to its value, or to one line that says which part of it is wrong."""

from typing import Annotated, Any, get_args, get_origin

import msgspec

from .errors import ConfigurationError

_SHOWN_LENGTH_MAX = 200
"""A wrong value is quoted in one line of a log."""


def value_of(variable: str, text: str, hint: Any) -> Any:
    """Return what the text means as this type; a dict is written as JSON. Raises ConfigurationError."""
    value: Any = text
    if get_origin(_bare(hint)) is dict:
        try:
            value = msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError):
            fix = 'write an object by application, {"loans": …}'
            raise ConfigurationError(f"{variable} is not JSON; {fix}") from None
    try:
        return msgspec.convert(value, hint, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigurationError(_explain(variable, value, hint, error)) from None


def _explain(variable: str, value: Any, hint: Any, error: msgspec.ValidationError) -> str:
    """Name the part of the value that is wrong, and what it may be."""
    place = f"{variable}="
    names = iter(("application", "field"))
    while (wrong := _wrong_item(value, hint)) is not None:
        name, value, hint, error = wrong
        place = f"{place.removesuffix('=').removesuffix(': ')}, {next(names)} {name[:_SHOWN_LENGTH_MAX]!r}: "
    choices = get_args(_bare(hint))
    if choices and all(isinstance(choice, str) for choice in choices):
        what = f"Expected one of {', '.join(choices)}"
    else:
        what = str(error).partition(" - at `$")[0].replace("`", "")
    return f"{place}{repr(value)[:_SHOWN_LENGTH_MAX]}: {what}"


def _wrong_item(value: Any, hint: Any) -> tuple[str, Any, Any, msgspec.ValidationError] | None:
    """The first item of a dict that does not fit: its name, itself, its type, the error. None if there is none."""
    if get_origin(_bare(hint)) is not dict or not isinstance(value, dict):
        return None
    inner = get_args(_bare(hint))[1]
    for name, item in value.items():
        try:
            msgspec.convert(item, inner, strict=False)
        except msgspec.ValidationError as error:
            return name, item, inner, error
    return None


def _bare(hint: Any) -> Any:
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint
