"""Records of any size: loaded in slices of bytes, halved after a time-out, and never asked for whole if huge."""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from conftest import PATIENCE_S, Cli, Stack
from redis.exceptions import TimeoutError as RedisTimeoutError

import joinback
from joinback import wire
from joinback.settings import Settings
from joinback_worker.connection.connect import connect
from joinback_worker.drain.cycle import drain
from joinback_worker.drain.drained import Drained
from joinback_worker.drain.pace import HALVINGS_MAX, SLICE_BYTES, SLICE_RECORDS, SUCCESSES, Pace
from joinback_worker.drain.source import RECORD_BYTES_MAX, RECORD_FIELDS_MAX, Source
from joinback_worker.sinks import open_sink

TAG = wire.tag("loans")
WORKER_MB_MAX = 150


def peak_mb(pid: int) -> float | None:
    """The most memory that a process had so far; None once it has ended."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(found.group(1)) / 1000 if found else None


def log_large(settings: Settings, events: int, kilobytes: int) -> None:
    client = joinback.Client().init(settings.redis_url, strict=True, buffer_bytes_max=1 << 30)
    for n in range(events):
        client.log_record("loans", inputs={"prompt": "x" * kilobytes * 1_000}, outputs=0, join_key=f"loan_{n}")
        if n % 20 == 0:
            assert client.flush(PATIENCE_S)
    assert client.flush(PATIENCE_S)
    client.close()


@pytest.mark.heavy
@pytest.mark.parametrize("command", ["drain", "worker"])
@pytest.mark.parametrize(("events", "kilobytes"), [(1_000, 300), (300, 1_000)])
def test_large_events_drain_in_little_memory(
    stack: Stack, spawn: Any, wait_until: Callable[..., None], command: str, events: int, kilobytes: int
) -> None:
    """300 MB pending are drained by a process that never has more than 150 MB, whichever way it was started."""
    log_large(stack.settings, events, kilobytes)
    process = spawn("-m", "joinback_worker", command, JOINBACK_INTERVAL_S="1")
    peaks: list[float] = []

    def is_done() -> bool:
        peaks.append(peak_mb(process.pid) or 0)
        return bool(stack.books().pending == 0) or process.poll() is not None

    wait_until(is_done)
    process.terminate()
    process.wait(PATIENCE_S)
    assert stack.books().in_rows == events
    assert 20 < max(peaks) < WORKER_MB_MAX, f"{max(peaks)} MB"
    stack.server.flushall()


def test_the_largest_record_fits_a_small_container(
    stack: Stack, spawn: Any, wait_until: Callable[..., None], server: redis.Redis
) -> None:
    """A record as large as a worker reads one becomes a row, and then once more, in less than 512 MiB."""
    stack.client.log_record("loans", inputs=1, outputs=0, join_key="large")
    assert stack.client.flush()
    event = b'{"v":1,"at":"2026-11-23T11:00:00Z","logged_at":"2026-11-23T11:00:00Z","feedback":{"text":"%s"}}'
    server.hset(stack.record("large"), "feedback:large", event % (b"x" * (RECORD_BYTES_MAX - 1_000)))
    peaks: list[float] = []
    for n in range(2):
        stack.client.log_record("loans", feedback={"label": n}, join_key="large")
        assert stack.client.flush()
        process = spawn("-m", "joinback_worker", "drain")
        wait_until(lambda process=process: peaks.append(peak_mb(process.pid) or 0) or process.poll() is not None, 120)
        assert process.returncode == 0
    server.delete(stack.record("large"))
    assert stack.books().dead == 0
    assert 3 * (RECORD_BYTES_MAX / 1e6) < max(peaks) < 512 * 1.024 * 1.024, f"{max(peaks)} MB"


# --- records that nobody can be asked for whole ---------------------------------------------------------------


def bury_one(stack: Stack, key: str, fill: Callable[[str], object]) -> dict[str, str]:
    """A record is overwritten by hand with something huge; its neighbours become rows, and it a letter."""
    for n in range(3):
        stack.client.log_record("loans", inputs=n, outputs=0, join_key=f"small_{n}")
    stack.client.log_record("loans", inputs=1, outputs=0, join_key=key)
    assert stack.client.flush(PATIENCE_S)
    fill(stack.record(key))
    drained = stack.drain()
    stack.server.delete(stack.record(key))
    assert (drained.error, drained.rows, drained.dead) == (None, 3, 1)
    (letter,) = stack.dead()
    assert (letter["key"], letter["reason"]) == (key, "record_too_large")
    assert "HSCAN 'joinback:{loans}:record:huge' 0 COUNT 10" in letter["detail"]
    return letter


def test_a_huge_value_holds_up_nobody(stack: Stack) -> None:
    """100 MB that somebody wrote into a record are told with their size, and never read."""
    fill = "redis.call('HSET', KEYS[1], 'feedback:x', string.rep('x', 1e8))"
    letter = bury_one(stack, "huge", lambda key: stack.server.eval(fill, 1, key))
    assert "2 fields and 100,000," in letter["detail"]


def test_a_record_of_endless_fields_holds_up_nobody(stack: Stack) -> None:
    """500,000 fields that somebody wrote are counted, not listed."""
    fill = "for n = 1, 500000 do redis.call('HSET', KEYS[1], 'note:' .. n, 'x') end"
    letter = bury_one(stack, "huge", lambda key: stack.server.eval(fill, 1, key))
    assert "the record has 500,001 fields; at most" in letter["detail"]


def test_the_largest_records_clients_write_are_read(stack: Stack) -> None:
    """A full record, predictions beyond its cap and a late mark on each: within what a record may have."""
    assert RECORD_FIELDS_MAX >= 2 * wire.RECORD_EVENTS_MAX + wire.RECORD_EVENTS_MAX


def drain_with_small_ones(stack: Stack, fill: Callable[[str], object]) -> list[list[int]]:
    """Alter a record among 1,500 small ones; return how many records were asked for at once, and in all."""
    for n in range(1_500):
        stack.client.log_record("loans", inputs=n, outputs=0, join_key=f"loan_{n}")
    assert stack.client.flush(PATIENCE_S)
    fill(stack.record("loan_1200"))
    drained, link = drain_over(stack.settings, Pace(), records_max=2_000)
    stack.server.delete(stack.record("loan_1200"))
    assert (drained.error, drained.rows, drained.dead) == (None, 1_499, 1)
    return [link.at_once, link.asked]


def test_a_huge_value_among_small_ones_is_not_read_whole(stack: Stack) -> None:
    """Where small records lead the worker to expect small ones, it hangs up on 100 MB, and asks for sizes first."""
    fill = "redis.call('HSET', KEYS[1], 'feedback:x', string.rep('x', 1e8))"
    at_once, asked = drain_with_small_ones(stack, lambda key: stack.server.eval(fill, 1, key))
    assert (at_once, asked) == ([], [1_000, 500])
    assert [letter["reason"] for letter in stack.dead()] == ["record_too_large"]


@pytest.mark.parametrize(
    ("reason", "fill"),
    [
        ("record_too_large", "for n = 1, 5000 do redis.call('HSET', KEYS[1], 'note:' .. n, 'x') end"),
        ("wrong_type", "redis.call('DEL', KEYS[1]); redis.call('SET', KEYS[1], 'x')"),
    ],
)
def test_what_is_no_record_is_told_among_small_ones(stack: Stack, reason: str, fill: str) -> None:
    """What was asked for without a look at its size, and is no record, is looked at after all."""
    at_once, asked = drain_with_small_ones(stack, lambda key: stack.server.eval(fill, 1, key))
    assert (at_once, asked) == ([500], [1_000, 500, 500])
    assert [letter["reason"] for letter in stack.dead()] == [reason]


# --- the pace ---------------------------------------------------------------------------------------------------


def test_the_pace() -> None:
    """Half as much after each time-out, down to one record; twice as much after some successes, up to where it was."""
    pace = Pace()
    assert (pace.records, pace.bytes) == (SLICE_RECORDS, SLICE_BYTES)
    assert pace.shrink()
    assert (pace.records, pace.bytes) == (SLICE_RECORDS // 2, SLICE_BYTES // 2)
    assert sum(pace.shrink() for _ in range(20)) == HALVINGS_MAX - 1
    assert pace.records == 1
    for _ in range(HALVINGS_MAX * SUCCESSES):
        pace.grow()
    assert (pace.records, pace.bytes) == (SLICE_RECORDS, SLICE_BYTES)


class SlowLink:
    """Redis behind a link on which a reply of more than so many records does not come in time."""

    def __init__(self, buffer: Any, records_max: int, is_away: bool = False) -> None:
        self._buffer = buffer
        self._records_max = records_max
        self._is_away = is_away
        self.asked: list[int] = []
        self.at_once: list[int] = []
        """Of these the ones without a look at their sizes."""

    async def execute_command(self, *arguments: Any, **options: Any) -> Any:
        if self._is_away and self.asked and max(self.asked) > self._records_max:
            raise RedisTimeoutError("still")
        reply = await self._buffer.execute_command(*arguments, **options)
        if arguments[0] in ("EVALSHA", "EVAL") and str(arguments[3]).startswith("joinback:{loans}:record:"):
            self._ask(arguments[2])
        return reply

    async def hashes(self, keys: Any, bytes_max: int) -> Any:
        reply = await self._buffer.hashes(keys, bytes_max)
        self.at_once.append(len(keys))
        self._ask(len(keys))
        return reply

    def _ask(self, number: int) -> None:
        self.asked.append(number)
        if number > self._records_max:
            raise RedisTimeoutError("planned")


def drain_over(settings: Settings, pace: Pace, **link: Any) -> tuple[Drained, SlowLink]:
    async def cycle() -> tuple[Drained, SlowLink]:
        buffer = connect(settings)
        try:
            slow: Any = SlowLink(buffer, **link)
            async with open_sink(settings.sink_url) as sink:
                return await drain(Source(slow, TAG), sink, "loans", pace=pace), slow
        finally:
            await buffer.aclose()

    return asyncio.run(cycle())


def test_a_slow_link_gets_smaller_slices(stack: Stack) -> None:
    """After a time-out the same cycle goes on with half as much, and the next begins with what this one learned."""
    for n in range(300):
        stack.client.log_record("loans", inputs=n, outputs=0, join_key=f"loan_{n}")
    stack.client.flush(PATIENCE_S)
    pace = Pace()
    drained, link = drain_over(stack.settings, pace, records_max=70)
    assert (drained.rows, drained.error, drained.released) == (300, None, 0)
    assert link.asked[:4] == [300, 300, 250, 125]
    assert all(number <= 62 for number in link.asked[4:])
    assert 0 < len(link.at_once) < len(link.asked)
    stack.client.log_record("loans", inputs=1, outputs=0)
    stack.client.flush(PATIENCE_S)
    assert pace.records == 62


def test_a_redis_that_is_away_is_no_slow_link(stack: Stack) -> None:
    """A Redis that answers nothing more ends the cycle after one try, with all entries still pending."""
    for n in range(300):
        stack.client.log_record("loans", inputs=n, outputs=0, join_key=f"loan_{n}")
    stack.client.flush(PATIENCE_S)
    with pytest.raises(RedisTimeoutError):
        drain_over(stack.settings, Pace(), records_max=70, is_away=True)
    assert stack.books().pending == 300


# --- dead letters by bytes ----------------------------------------------------------------------------------


def test_letters_are_read_by_bytes(
    stack: Stack, spawn: Any, cli: Cli, server: redis.Redis, wait_until: Callable[..., None]
) -> None:
    """200 letters of 1 MB are listed in little memory, and one is shown without reading the others."""
    stack.client.log_record("loans", inputs=1, outputs=2)
    stack.drain()
    letter = {"key": "k", "reason": "x", "detail": "", "bytes": "y" * 1_000_000}
    for n in range(200):
        server.xadd(wire.dead_key(TAG), letter | {"event": f"feedback:{n}"})
    server.expire(wire.dead_key(TAG), 600)
    process = spawn("-m", "joinback_worker", "dead", "list", "loans", "--limit", "200")
    peaks: list[float] = []
    wait_until(lambda: peaks.append(peak_mb(process.pid) or 0) or process.poll() is not None)
    process.log.seek(0)
    lines = process.log.read().splitlines()
    assert len(lines) == 201
    assert 20 < max(peaks) < 100
    before = server.info("commandstats").get("cmdstat_xrange", {"calls": 0})["calls"]
    assert cli("dead", "show", "loans", lines[8].split()[0]).stdout.count("feedback:7") == 1
    assert server.info("commandstats")["cmdstat_xrange"]["calls"] == before + 1
    server.delete(wire.dead_key(TAG))


def test_a_replay_that_dies_again_ends(stack: Stack, cli: Cli) -> None:
    """Letters that the replay itself brings back are not replayed by it once more."""
    for n in range(wire.RECORD_EVENTS_MAX + 3):
        stack.client.log_record("loans", feedback={"n": n}, join_key="full")
    stack.drain()
    assert cli("dead", "replay", "loans", "--all").stdout == "replayed 3\n"
    assert len(stack.dead()) == 3
