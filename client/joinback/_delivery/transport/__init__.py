"""The way to Redis, whatever its shape: one server, a Redis Cluster, or the primary that Sentinels name.

`init` imports this in the caller's thread. It imports redis-py, which the sender's thread must not do.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from joinback._delivery.command import Command
from joinback.credentials import Credentials
from joinback.memory import address_of
from joinback.redis_errors import RedisRefusal, advice
from joinback.redis_url import RedisUrl

from .borrowed import transport_by
from .cluster import Cluster
from .dialing import dialer, sentinel_dialer
from .sentinel import Sentinel
from .server import Server


class Transport(Protocol):
    """A way to Redis. Its calls may raise RedisRefusal or OSError, and try nothing twice.

    One thread uses it; any thread may call `abort`.
    """

    changes: int
    """Rises when a key may have another server, or its server was restarted. `server_of` then says which."""

    @property
    def where(self) -> str:
        """The server or servers, without any secret."""

    @property
    def connected(self) -> bool: ...

    def connect(self) -> None: ...

    def send(self, command: Sequence[bytes] | Command, key: bytes) -> Any:
        """Send one command to the server that holds `key`; return the reply. All its keys are in the slot of `key`."""

    def server_of(self, key: bytes) -> str:
        """Return the id of the run of the server that holds the key. Connects to it if necessary."""

    def look(self, *, closely: bool = False) -> None:
        """Notice servers that went away while nothing was sent to them.

        Those are servers that hung up, and with `closely` also those that do not answer.
        """

    def disconnect(self) -> None: ...

    def abort(self) -> None:
        """From another thread: make a waiting call fail at once."""


def transport_of(target: Any, credentials: Credentials | None = None) -> Transport:
    """Return the way to the Redis of a RedisUrl, or of a client that the caller made. It is not yet connected.

    Raises ConfigurationError if `target` is neither.
    """
    if not isinstance(target, RedisUrl):
        return transport_by(target, credentials)
    url = target
    if url.kind == "memory":
        name = url.service or ""
        return Server(lambda: dialer(url).link(address_of(name)))
    dial = dialer(url, credentials)
    if url.kind == "cluster":
        return Cluster(url.nodes, dial)
    if url.kind == "sentinel":
        assert url.service is not None
        return Sentinel(url.nodes, url.service, sentinel_dialer(url), dial)
    address = url.nodes[0] if url.nodes else None
    return Server(lambda: dial.link(address))


def trouble_with(transport: Transport, key: bytes) -> str | None:
    """Return one line on why Redis does not answer for this key; None if it does."""
    try:
        transport.connect()
        transport.send([b"EXISTS", key], key)
    except (RedisRefusal, OSError) as error:
        return advice(error, transport.where)
    finally:
        transport.disconnect()
    return None
