"""`memory://`: a Redis in the memory of this process, for a service's tests and for notebooks.

It is fakeredis, listening on a port of loopback, so that client and worker go to it as to any server. It ends with
the process. Each name, as in `memory://tests`, is one of its own, and each process has its own, forked children too.
"""

import os
import threading
from importlib import import_module
from typing import Any

from .errors import ConfigurationError
from .redis_url import Address

_POLL_S = 0.02
"""How long `forget` may wait for the server's thread."""
_servers: dict[tuple[int, str], Any] = {}
"""By process and name."""


def address_of(name: str) -> Address:
    """Return where it listens; at its first use it begins. Raises ConfigurationError if fakeredis is not there."""
    key = os.getpid(), name
    if key not in _servers:
        _leave_parents()
        made = _started()
        # No lock, which a fork might find held: of two that began at once, one stays.
        if _servers.setdefault(key, made) is not made:
            _end(made)
    host, port = _servers[key].server_address
    return str(host), int(port)


def forget(name: str) -> None:
    """End it, with all it holds; the next use begins anew."""
    if (server := _servers.pop((os.getpid(), name), None)) is not None:
        _end(server)


def _started() -> Any:
    try:
        # Without it fakeredis has no scripts, and says so at the first one only.
        import_module("lupa")
        from fakeredis import TcpFakeServer
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"memory:// needs {error.name}; in its clone: pip install '.[testing]'") from None
    server = TcpFakeServer(("127.0.0.1", 0), server_type="valkey")
    # No connection that somebody left open may hold up the exit.
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(_POLL_S,), name="joinback-memory", daemon=True).start()
    return server


def _end(server: Any) -> None:
    server.shutdown()
    server.server_close()


def _leave_parents() -> None:
    """Close a child's copies of its parent's ports: else nobody would be told that the parent has gone."""
    for key in [key for key in _servers if key[0] != os.getpid()]:
        _servers.pop(key).socket.close()
