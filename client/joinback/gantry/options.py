"""The options of `init`, from its arguments or Gantry's environment variables; and where the log goes."""

import logging
import os
import sys
from collections.abc import Mapping
from typing import Literal, TextIO, TypeAlias, get_args

from msgspec import Struct

from joinback.errors import ConfigurationError

Level: TypeAlias = Literal["DEBUG", "INFO", "WARNING", "CRITICAL", "ERROR"]

logger = logging.getLogger("joinback")

_YES = frozenset({"y", "yes", "t", "true", "on", "1"})
_NO = frozenset({"n", "no", "f", "false", "off", "0"})


class GantryOptions(Struct, frozen=True, kw_only=True):
    """The options of `init`. `environment` is None if nothing gives one."""

    environment: str | None
    logging_level: str
    send_in_background: bool
    has_api_key: bool


def gantry_options(
    api_key: str | None,
    logging_level: str | None,
    environment: str | None,
    send_in_background: bool | None,
    environ: Mapping[str, str] = os.environ,
) -> GantryOptions:
    """Return the options from the arguments, then from the variables GANTRY_*.

    Inside AWS Lambda, where threads sleep between calls, the default is not to send in the background. Raises
    ConfigurationError for a wrong level or switch.
    """
    level = logging_level or environ.get("GANTRY_LOGGING_LEVEL") or "INFO"
    if level not in get_args(Level):
        raise ConfigurationError(f"logging_level {level!r} is not one of {', '.join(get_args(Level))}")
    if send_in_background is None:
        switch = environ.get("GANTRY_SEND_IN_BACKGROUND")
        if switch is None:
            send_in_background = "AWS_LAMBDA_FUNCTION_NAME" not in environ
        elif switch.lower() in _YES | _NO:
            send_in_background = switch.lower() in _YES
        else:
            raise ConfigurationError(f"GANTRY_SEND_IN_BACKGROUND={switch!r} is neither true nor false")
    return GantryOptions(
        environment=environment or environ.get("GANTRY_ENVIRONMENT"),
        logging_level=level,
        send_in_background=send_in_background,
        has_api_key=bool(api_key or environ.get("GANTRY_API_KEY")),
    )


class _Stdout(logging.StreamHandler[TextIO]):
    """Writes to the `sys.stdout` of the moment, because tests and notebooks replace it."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)
        self.setFormatter(logging.Formatter("%(asctime)s %(name)-12s %(levelname)-8s %(message)s"))

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stdout


def setup_logger(level: str = "INFO") -> None:
    """Log from this level on, to stdout unless the service has a log handler. "" changes nothing."""
    if not level:
        return
    logger.setLevel(level)
    if not logger.hasHandlers():
        logger.addHandler(_Stdout())
