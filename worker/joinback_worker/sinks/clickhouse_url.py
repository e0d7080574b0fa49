"""The URL of a ClickHouse sink: how to connect to it, and the place that it names."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple
from urllib.parse import SplitResult, unquote

from clickhouse_connect import get_client
from clickhouse_connect.driver.client import Client

from joinback.errors import ConfigurationError

from .place import parts_of

CONNECT_TIMEOUT_S = 10
"""A server under load may take some seconds. If it takes longer it is down, and the next drain tries again."""
ANSWER_TIMEOUT_S = 30
"""Many times what a batch takes, and below the limit of a drain."""


class Connection(NamedTuple):
    """What a URL names."""

    connect: Callable[[], Client]
    name: str
    """For messages: without user and password."""
    directory: Path | None
    """Of the engine in this process; None for a server."""


def connection_of(url: str) -> Connection:
    """Return how to connect, without connecting. Raises ConfigurationError."""
    parts = parts_of(url)
    if parts.scheme == "chdb":
        return _embedded(parts)
    port = parts.port
    if not parts.hostname or port == 0 or parts.query:
        raise ConfigurationError(
            "JOINBACK_SINK_URL is not a ClickHouse URL; write clickhouse://user:password@host:8123/database,"
            " or clickhouses://… for TLS"
        )
    secure = parts.scheme == "clickhouses"
    connect = partial(
        get_client,
        host=parts.hostname,
        port=port or (8443 if secure else 8123),
        secure=secure,
        username=unquote(parts.username or "default"),
        password=unquote(parts.password or ""),
        database=unquote(parts.path.strip("/")) or "default",
        connect_timeout=CONNECT_TIMEOUT_S,
        send_receive_timeout=ANSWER_TIMEOUT_S,
        # The drain decides what is tried again.
        query_retries=0,
        # The keys of a look-up do not fit into a URL, so they go into the body.
        form_encode_query_params=True,
        # Each client has one thread. A session would only keep two sinks from working at once.
        autogenerate_session_id=False,
    )
    return Connection(connect, f"ClickHouse at {parts.hostname}", None)


def place(url: str) -> tuple[str, ...]:
    """Return the host, port and database that tell this sink from others."""
    parts = parts_of(url)
    port = parts.port or (8443 if parts.scheme == "clickhouses" else 8123)
    return "clickhouse", str(parts.hostname), str(port), unquote(parts.path.strip("/")) or "default"


def _embedded(parts: SplitResult) -> Connection:
    directory = unquote(parts.path.removeprefix("/"))
    if parts.netloc or not directory or parts.query:
        raise ConfigurationError("JOINBACK_SINK_URL names no directory; write chdb:///joinback, or chdb:////var/lib/…")
    return Connection(partial(get_client, interface="chdb", path=directory), f"chDB in {directory}", Path(directory))
