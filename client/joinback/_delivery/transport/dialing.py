"""How a connection to a server is made: by redis-py's connection classes, with redis-py's retries off.

Those retries would send a batch again unnoticed, and their defaults differ between versions 5 and 8. Our own retries
are counted and logged.
"""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

from redis.backoff import NoBackoff
from redis.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection
from redis.retry import Retry

from joinback.credentials import Credentials
from joinback.redis_url import Address, RedisUrl, connection_options, sentinel_options, shown_address

from .asking import Asked
from .link import Link

SOCKET_TIMEOUT_S = 2.0
"""Long for a network, short for an exit: see options.CLOSE_TIMEOUT_S."""


class Dialer(NamedTuple):
    """Makes connections with the same options, for example to each node of a cluster."""

    connection_class: Callable[..., Any]
    options: dict[str, Any]
    over_tls: bool

    def link(self, address: Address | None) -> Link:
        """Return a connection to that server, not yet open. `address` is None for the Unix socket in the options."""
        place = {} if address is None else {"host": address[0], "port": address[1]}
        where = self.options.get("path", "") if address is None else shown_address(address)
        connection = self.connection_class(**self.options, **place)
        return Link(connection, where, self.options, over_tls=self.over_tls)


def dialer(url: RedisUrl, credentials: Credentials | None = None) -> Dialer:
    """Return the dialer for the servers that hold data."""
    options = connection_options(url, SOCKET_TIMEOUT_S)
    if credentials is not None:
        options |= {"username": None, "password": None, "credential_provider": Asked(credentials)}
    return _dialer(url, options)


def sentinel_dialer(url: RedisUrl) -> Dialer:
    """Return the dialer for the Sentinels."""
    return _dialer(url, sentinel_options(url, SOCKET_TIMEOUT_S))


def _dialer(url: RedisUrl, options: dict[str, Any]) -> Dialer:
    if url.path is not None:
        return Dialer(UnixDomainSocketConnection, options | alone(), over_tls=False)
    return Dialer(Connection if url.tls is None else SSLConnection, options | alone(), over_tls=url.tls is not None)


def alone() -> dict[str, Any]:
    """Return the arguments that make redis-py do nothing by itself."""
    nothing: dict[str, Any] = {"retry": Retry(NoBackoff(), 0), "retry_on_error": [], "retry_on_timeout": False}
    known = inspect.signature(AbstractConnection.__init__).parameters
    # CLIENT SETINFO costs two round trips, and some proxies hang up at an unknown command.
    return nothing | ({"driver_info": None} if "driver_info" in known else {"lib_name": None, "lib_version": None})
