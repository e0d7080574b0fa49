"""`memory://`: a Redis in the memory of this process, for a service's tests and for notebooks.

It is fakeredis, listening on a loopback port, so client and worker use it like any server. It ends with the process.
Each name, as in `memory://tests`, is a Redis of its own. Each process has its own too, also a forked child.
"""

import os
import threading
from importlib import import_module
from typing import Any

from .errors import ConfigurationError
from .redis_url import Address

_POLL_S = 0.02
"""How often the server's thread looks whether it is to end, which is how long `forget` may wait."""
_servers: dict[tuple[int, str], Any] = {}
"""(pid, name) -> server."""


def address_of(name: str) -> Address:
    """Return the address of the Redis of this name; the first use starts it. Raises ConfigurationError."""
    key = os.getpid(), name
    if key not in _servers:
        _leave_parents()
        made = _started()
        # No lock, because a fork could copy a held one. If two threads start a server at once, one server stays.
        if _servers.setdefault(key, made) is not made:
            _end(made)
    host, port = _servers[key].server_address
    return str(host), int(port)


def forget(name: str) -> None:
    """End the Redis of this name, with all its data. The next use starts an empty one."""
    if (server := _servers.pop((os.getpid(), name), None)) is not None:
        _end(server)


def _started() -> Any:
    try:
        # Without lupa fakeredis runs no scripts, and fails only at the first one.
        import_module("lupa")
        from fakeredis import TcpFakeServer
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"memory:// needs {error.name}; in its clone: pip install '.[testing]'") from None
    server = TcpFakeServer(("127.0.0.1", 0), server_type="valkey")
    # An open connection must not delay the exit.
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(_POLL_S,), name="joinback-memory", daemon=True).start()
    return server


def _end(server: Any) -> None:
    server.shutdown()
    server.server_close()


def _leave_parents() -> None:
    """Close a child's copies of its parent's ports: otherwise the port of an ended parent would stay open."""
    for key in [key for key in _servers if key[0] != os.getpid()]:
        _servers.pop(key).socket.close()
