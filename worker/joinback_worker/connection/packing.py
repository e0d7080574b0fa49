"""redis-py's connections, but packing a command by hiredis, as redis-py's own synchronous connections do.

Its asyncio connections pack in Python, which costs four to ten times as much per argument
(findings/redis-py-asyncio-packs-in-python-beside-hiredis.sh). The scripts that settle a batch of ten thousand entries
have thirty thousand arguments: to pack them took a tenth of the worker's CPU.
"""

from typing import Any

from redis.asyncio.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.sentinel import SentinelManagedConnection, SentinelManagedSSLConnection
from redis.connection import HiredisRespSerializer

_serializer = HiredisRespSerializer()


class _ByHiredis:
    def pack_command(self, *args: Any) -> list[bytes]:
        packed: list[bytes] = _serializer.pack(*args)
        return packed


class Tcp(_ByHiredis, Connection):
    """A connection to host and port."""


class Tls(_ByHiredis, SSLConnection):
    """A connection to host and port by TLS."""


class Unix(_ByHiredis, UnixDomainSocketConnection):
    """A connection by a Unix socket."""


class OfSentinels(_ByHiredis, SentinelManagedConnection):
    """A connection to the primary that Sentinels name."""


class OfSentinelsTls(_ByHiredis, SentinelManagedSSLConnection):
    """A connection by TLS to the primary that Sentinels name."""
