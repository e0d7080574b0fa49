"""`joinback doctor`: what it tries beside the overview, and that it leaves nothing."""

import asyncio
import json
import re
import shlex
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from conftest import PATIENCE_S, Cli, Stack
from front import Front
from hypothesis import given
from hypothesis import strategies as st

from joinback import wire
from joinback.redis_url import redis_url
from joinback.settings import Settings
from joinback_worker.connection.connect import connect
from joinback_worker.notes.apps import App
from joinback_worker.operating import tried_redis
from joinback_worker.operating.redis_cli import redis_cli
from joinback_worker.operating.spans import brief, in_words, span


def test_the_probe(stack: Stack, cli: Cli) -> None:
    """--probe takes a record the whole way and reads it back; one row per day stays in the sink, nothing in Redis."""
    for _ in range(2):
        done = cli("doctor", "--probe")
        assert done.returncode == 0, done
        assert f"ok    probe  a test record went into Redis and came out of {stack.settings.sink_url}" in done.stdout
    (row,) = stack.rows()
    assert (row["application"], row["join_key"]) == ("joinback-probe", f"probe-{datetime.now(UTC):%Y-%m-%d}")
    assert len(json.loads(row["feedback_events"])) == 2
    assert stack.server.keys("joinback:*") == []


def test_a_clock_that_differs(stack: Stack, cli: Cli) -> None:
    """Redis's clock an hour ahead of this machine's is told, with what sets clocks right."""
    ahead = int(datetime.now(UTC).timestamp()) + 3_600
    with Front(int(stack.settings.redis_url.rpartition(":")[2].partition("/")[0])) as front:
        front.answer = lambda command: b"*2\r\n$10\r\n%d\r\n$1\r\n0\r\n" % ahead if command[0] == b"TIME" else None
        done = cli("doctor", JOINBACK_REDIS_URL=front.url)
    assert done.returncode == 1
    # The command takes its time to start.
    assert re.search(r"FIX   redis  clock_differs: Redis's clock is (1 h|[45]\d min) ahead of this", done.stdout)


def test_a_client_whose_events_a_worker_cannot_read(stack: Stack, cli: Cli) -> None:
    """A worker that lives and reads less than clients of this release write is told by name."""
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="a")
    stack.drain()
    at = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    sign = {"host": "host-a", "pid": 1, "version": "0", "sink": "s", "settings": "x", "beat_at": at, "progress_at": at}
    stack.server.hset(wire.WORKERS_KEY, "host-a:1", json.dumps(sign | {"last_drain_at": at}))
    stack.server.expire(wire.WORKERS_KEY, 60)
    shown = cli("doctor").stdout
    assert "LOOK  clients  worker_older: host-a:1 cannot read events of wire version 2" in shown


SERVERS = [
    ({"redis_version": "6.0.16", "aof_enabled": 1}, ["redis_old"]),
    ({"redis_version": "6.2.0", "aof_enabled": 1}, []),
    ({"redis_version": "7.2.4", "valkey_version": "9.1.0", "aof_enabled": 0, "connected_slaves": 1}, []),
    ({"redis_version": "7.2.4", "aof_enabled": 0, "connected_slaves": 0}, ["not_persistent"]),
]


@pytest.mark.parametrize(("info", "told"), SERVERS)
def test_what_a_server_is(info: dict[str, Any], told: list[str]) -> None:
    """A Redis that is too old, and one that keeps nothing over a restart, by what its INFO says."""
    found = [one.finding.name for one in tried_redis._of_server("here", info, Settings()) if one.finding is not None]
    assert found == told


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("redis://localhost:6379", False),
        ("redis://127.0.0.2", False),
        ("redis://[::1]:6379", False),
        ("unix:///run/redis.sock", False),
        ("rediss://cache", False),
        ("redis://cache", True),
        ("redis+cluster://127.0.0.1:1,cache:2", True),
    ],
)
def test_who_can_listen(url: str, told: bool) -> None:
    """Without TLS only this machine's own way to Redis is private."""
    assert bool(list(tried_redis._of_tls(redis_url(url, "it")))) == told


def test_how_long_the_memory_lasts(stack: Stack, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """In plain numbers, with the day on which it would be full; trouble by day if that is before events end. The events
    of less than an hour are no forecast.
    """

    async def tried(maxmemory: int) -> Any:
        async def known(_: Any) -> list[App]:
            return [App(application="a", shards=1, records=100, memory_bytes=92_000)]

        monkeypatch.setattr(tried_redis, "apps", known)
        buffer = connect(stack.settings)
        try:
            (one,) = await tried_redis._of_memory(
                buffer, stack.settings, {"used_memory": 10**6, "maxmemory": maxmemory}
            )
        finally:
            await buffer.aclose()
        return one

    def noted(ago_s: int, received: int) -> None:
        at_ms = int((datetime.now(UTC).timestamp() - ago_s) * 1000)
        stack.server.delete(wire.history_key("a"))
        stack.server.xadd(wire.history_key("a"), {"received:prediction": received}, id=f"{at_ms}-0")

    stack.server.hset(wire.stats_key("a"), "received:prediction", 864_000)
    noted(3_000, 0)
    burst = asyncio.run(tried(10**6 + 864 * 10**6))
    assert burst.finding is None
    assert "per day" not in burst.says
    # 10 events per second of 1,000 bytes: 864 MB per day.
    noted(86_400, 0)
    roomy = asyncio.run(tried(10**12))
    assert roomy.finding is None
    assert "864 MB come per day; without a drain it would be full on " in roomy.says
    tight = asyncio.run(tried(10**6 + 864 * 10**6))
    assert tight.finding is not None
    assert (tight.finding.name, tight.finding.is_trouble) == ("memory_forecast", False)
    assert "in 1 d" in tight.says
    stack.server.delete(wire.history_key("a"), wire.stats_key("a"))


def test_no_fix_leads_back_to_doctor(stack: Stack, cli: Cli) -> None:
    """`doctor` does not say "ask doctor", and each redis-cli line leads to the Redis that was tried."""
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="a")
    stack.drain()
    ((_, value),) = stack.server.hgetall(wire.DRAINS_KEY).items()
    failed = msgspec.json.decode(value) | {"at": "2999-01-01T00:00:00Z", "error": "the sink is away", "sink_lost": True}
    stack.server.hset(wire.DRAINS_KEY, wire.drain_field("loans", is_done=False), msgspec.json.encode(failed))
    done = cli("doctor")
    assert "sink_down: loans: the last drain failed: the sink is away" in done.stdout
    lines = [line for line in done.stdout.splitlines() if line.startswith("      do:")]
    assert not [line for line in lines if "joinback doctor" in line]
    own = redis_cli(stack.settings.redis_url)
    assert f"      do:  {own} CONFIG SET appendonly yes; then CONFIG REWRITE, or put it into redis.conf" in lines


def test_a_login_without_a_right_gets_the_command_for_an_administrator(stack: Stack, cli: Cli) -> None:
    """It names the login and the right, leads to the same Redis, and is not to be run by the login itself."""
    stack.server.execute_command("ACL", "SETUSER", "poor", "on", ">x", "~*", "+@all", "-xautoclaim")
    try:
        shown = cli("doctor", JOINBACK_REDIS_URL=stack.settings.redis_url.replace("redis://", "redis://poor:x@")).stdout
    finally:
        stack.server.execute_command("ACL", "DELUSER", "poor")
    own = redis_cli(stack.settings.redis_url)
    assert f"do:  {own} --user ADMIN --askpass ACL SETUSER poor +xautoclaim; then ACL SAVE" in shown


def test_a_full_redis(stack: Stack, cli: Cli) -> None:
    """It is told once, as memory_high with the line that gives it more; no right is missing, and every area is tried;
    so too where INFO is renamed.
    """
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="a")
    stack.drain()
    stack.server.config_set("maxmemory", 1)
    try:
        with Front(int(stack.settings.redis_url.rpartition(":")[2].partition("/")[0])) as front:
            front.answer = lambda command: b"-ERR unknown command 'INFO'\r\n" if command[0] == b"INFO" else None
            urls = (stack.settings.redis_url, front.url)
            shown = {redis_cli(url): cli("doctor", JOINBACK_REDIS_URL=url).stdout for url in urls}
    finally:
        stack.server.config_set("maxmemory", 0)
    for own, text in shown.items():
        assert text.count("FIX   redis  memory_high: Redis ") == 1
        assert re.search(f"(give it more|let the worker drain it): {own} CONFIG SET maxmemory BYTES", text)
        assert "right_missing" not in text
        assert "(maxmemory)" not in text
        assert {"workers", "sink", "applications"} <= {line[6:].split()[0] for line in text.splitlines()}


def test_a_redis_that_refuses_writes(stack: Stack, cli: Cli) -> None:
    """A replica is told as what it is, with what to do; no right is missing, and what is read is reported."""
    stack.server.execute_command("REPLICAOF", "127.0.0.1", "1")
    try:
        shown = cli("doctor").stdout
    finally:
        stack.server.execute_command("REPLICAOF", "NO", "ONE")
    assert "FIX   redis  writes_refused: this Redis is a read-only replica\n" in shown
    assert "      do:  point JOINBACK_REDIS_URL at the primary\n" in shown
    assert "right_missing" not in shown
    assert "workers  0 workers alive" in shown


def test_the_fix_of_a_sink_is_the_one_that_its_error_names(stack: Stack, cli: Cli) -> None:
    """A database that does not answer is to be started; another error has its own fix."""
    pytest.importorskip("psycopg")
    shown = cli("doctor", JOINBACK_SINK_URL="postgresql://me@127.0.0.1:1/x").stdout
    assert "does not answer: connection to server at" in shown
    assert "do:  start the sink, or correct JOINBACK_SINK_URL or the rights of its login" in shown
    shown = cli("doctor", JOINBACK_SINK_URL=f"sqlite:///{stack.folder}/none/a.db").stdout
    assert "do:  check that its directory exists and is writable (SQLITE_CANTOPEN)" in shown


def test_a_field_told_once(stack: Stack, cli: Cli) -> None:
    """A field that one event told, beside one of nearly its name that several told, is most likely a typo: `status`
    and `doctor` say so alike, with the line that finds its key in the sink, which has it.
    """
    for n in range(2):
        stack.client.log_record("loans", feedback={"repaid": True}, join_key=f"k{n}")
        stack.drain()
    stack.client.log_record("loans", feedback={"repayed": True}, join_key="k")
    stack.drain()
    shown = cli("doctor").stdout
    status = cli("status")
    assert status.returncode == 0
    for text in (shown, status.stdout):
        assert "field_seen_once: loans: the feedback field 'repayed' was logged once" in text
        (line,) = re.findall(r"did its sender mean repaid\? its key: sqlite3 -readonly (.*)", text)
        path, query = shlex.split(line)
        with closing(sqlite3.connect(path)) as database:
            assert database.execute(query).fetchall() == [("k",)]
    stack.client.log_record("loans", feedback={"repayed": True}, join_key="k2")
    assert stack.client.flush(PATIENCE_S)
    stack.drain()
    assert "field_seen_once" not in cli("doctor").stdout


@pytest.mark.parametrize(
    ("seconds", "said", "short"),
    [
        (0, "0 s", "0 s"), (59.6, "1 min", "60 s"), (180, "3 min", "3 min"), (3_780, "1 h 3 min", "63 min"),
        (36_600, "10 h", "10 h"), (90_000, "1 d 1 h", "25 h"), (604_661, "7 d", "7 d"), (18_921_600, "219 d", "219 d"),
        (-5, "0 s", "0 s"),
    ],
)  # fmt: skip
def test_durations_as_people_say_them(seconds: float, said: str, short: str) -> None:
    """Two units at most; in a table one."""
    assert (span(seconds), brief(seconds)) == (said, short)


@given(st.floats(min_value=0, max_value=1e10))
def test_a_duration_is_nearly_what_it_says(seconds: float) -> None:
    """What is said is off by a tenth at most, or half a second."""
    sizes = {"s": 1, "min": 60, "h": 3_600, "d": 86_400}
    for text in (span(seconds), brief(seconds)):
        words = text.split()
        said = sum(int(number) * sizes[unit] for number, unit in zip(words[::2], words[1::2], strict=True))
        assert abs(said - seconds) <= max(0.6, seconds / 4 if text == brief(seconds) else seconds / 10)


def test_a_letter_in_words() -> None:
    """The seconds at the beginning of a detail are said as people do; any other detail stays."""
    assert in_words("1728000 s after the join window") == "20 d after the join window"
    assert in_words("a string stands at its key") == "a string stands at its key"


def test_a_probe_prints_findings_alone(stack: Stack, cli: Cli) -> None:
    """The drain of the test record logs nothing among the lines of `doctor`, nor on stderr."""
    done = cli("doctor", "--probe")
    assert [line for line in done.stdout.splitlines() if line[:6] not in ("ok    ", "FIX   ", "LOOK  ", " " * 6)] == []
    assert done.stderr == ""
