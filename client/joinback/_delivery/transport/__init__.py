"""The way to Redis, whatever its shape: one server, a Redis Cluster, or the primary that Sentinels name.

Imported by `init`, in the caller's thread: it brings redis-py, which must not be imported by the sender's.
"""

from typing import Any, Protocol

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
    """Its calls may raise RedisRefusal or OSError, and nothing is tried twice. One thread uses it, but for `abort`."""

    changes: int
    """Rises when the server of a key may be another, or have begun anew: `server_of` tells."""

    @property
    def where(self) -> str:
        """Which server, or servers, without any secret."""

    @property
    def connected(self) -> bool: ...

    def connect(self) -> None: ...

    def send(self, command: list[bytes], key: bytes) -> Any:
        """One command and its reply, at the server that holds the key; all keys of it are of that key's slot."""

    def server_of(self, key: bytes) -> str:
        """Return which run of which server holds the key; connects to it if need be."""

    def look(self, *, closely: bool = False) -> None:
        """Notice servers that have gone while nothing was sent to them: those that hung up, and, asked `closely`,
        those that do not answer.
        """

    def disconnect(self) -> None: ...

    def abort(self) -> None:
        """From another thread: let a call that waits fail at once."""


def transport_of(target: Any, credentials: Credentials | None = None) -> Transport:
    """Return the way to the Redis of a RedisUrl, or of a client that the caller made; not yet connected.

    Raises ConfigurationError for what is neither.
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
    """Why Redis does not answer for this key, in one line; None if it does."""
    try:
        transport.connect()
        transport.send([b"EXISTS", key], key)
    except (RedisRefusal, OSError) as error:
        return advice(error, transport.where)
    finally:
        transport.disconnect()
    return None
