"""The books over time: what each drain notes, and the rates that `joinback apps` draws from it."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from conftest import PATIENCE_S, Cli, Stack, wait_for
from hypothesis import given
from hypothesis import strategies as st

from joinback import wire
from joinback.settings import Settings
from joinback_worker.connection.connect import connect
from joinback_worker.drain.drainer import drain_all
from joinback_worker.drain.source import COUNTERS_MAX, Source
from joinback_worker.embedded import embedded_valkey
from joinback_worker.notes.history import RATE_OVER_S_MIN, Rates, Snapshot, rates, snapshots, summed

TAG = wire.tag("loans")
HISTORY = wire.history_key(TAG)
NOW = datetime(2026, 11, 29, tzinfo=UTC)


def log(stack: Stack, number: int, application: str = "loans") -> None:
    for _ in range(number):
        stack.client.log_record(application, inputs=1, outputs=2)
    assert stack.client.flush(PATIENCE_S)


def age(stack: Stack, minutes: float, key: str = HISTORY) -> None:
    """The history as it would be if all of it had been noted so long before."""
    entries = stack.server.xrange(key)
    stack.server.delete(key)
    for entry_id, fields in entries:
        milliseconds, _, sequence = entry_id.decode().partition("-")
        stack.server.xadd(key, fields, id=f"{int(milliseconds) - int(minutes * 60_000)}-{sequence}")
    stack.server.expire(key, 600)


def app(cli: Cli, **variables: str) -> dict[str, Any]:
    (found,) = json.loads(cli("apps", "--json", **variables).stdout)
    return dict(found)


def test_each_drain_notes_the_counters(stack: Stack) -> None:
    """As the stats hash has them after it, by name and as text, with what is pending; it lives as long."""
    for turn in (1, 2):
        log(stack, 3)
        stack.drain()
        entries = stack.server.xrange(HISTORY)
        assert len(entries) == turn
        stats = stack.server.hgetall(wire.stats_key(TAG))
        assert stats.pop(b"buffer_ttl_s")
        assert entries[-1][1] == stats | {b"pending": b"0"}
    assert entries[-1][1][b"received:prediction"] == b"6"
    assert entries[0][1][b"rows"] == b"3"
    assert 0 <= wire.STATS_TTL_S - stack.server.ttl(HISTORY) < 60


def test_a_week_is_kept(stack: Stack) -> None:
    """What is older goes, in steps of a hundred; a week takes some 100 KB, as wire.py says."""
    log(stack, 1)
    stack.drain()
    fields = stack.server.xrange(HISTORY)[0][1]
    with stack.server.pipeline(transaction=False) as pipeline:
        for number in range(3_000):
            pipeline.xadd(HISTORY, fields | {b"received:prediction": number + 10_000_000})
        pipeline.execute()
    log(stack, 1)
    stack.drain()
    assert wire.HISTORY_ENTRIES_MAX <= stack.server.xlen(HISTORY) <= wire.HISTORY_ENTRIES_MAX + 100
    assert 50_000 < stack.server.memory_usage(HISTORY) < 200_000


def test_rates(stack: Stack, cli: Cli) -> None:
    """`apps` tells events and rows per minute since a snapshot some minutes old; without one it knows none."""
    log(stack, 60)
    stack.drain()
    assert (app(cli)["received_per_min"], app(cli)["rows_per_min"]) == (None, None)
    shown = cli("apps", COLUMNS="80").stdout
    assert "?" in shown
    heading = "application shards former rate event /min /min pending records memory"
    assert shown.splitlines()[1].split() == heading.split()
    age(stack, 6)
    log(stack, 30)
    stack.drain()
    log(stack, 30)
    # Six minutes and the seconds of this test.
    assert 9.0 < app(cli)["received_per_min"] <= 10.0
    assert 4.5 < app(cli)["rows_per_min"] <= 5.0
    stack.drain()
    assert 9.0 < app(cli)["rows_per_min"] <= 10.0


def test_the_rates_of_all_tags(stack: Stack, cli: Cli) -> None:
    """Of an application with former layouts the rates of all its tags are summed; a tag that nothing came to adds 0."""
    log(stack, 10)
    stack.drain()
    assert cli("apps", "set", "loans", "--shards", "2").returncode == 0
    new = [wire.tag("loans", shard, 2) for shard in range(2)]
    for tag in (TAG, *new):
        for turn in range(10):
            keys = wire.write_keys(tag, [f"k{turn}"])
            event = wire.encode(wire.Prediction(v=1, at=NOW, logged_at=NOW, inputs=1, outputs=2))
            arguments = wire.write_arguments(tag, 600, [("prediction:e", event)])
            stack.server.eval(wire.WRITE_SCRIPT, len(keys), *keys, *arguments)
        if tag == new[0]:
            stack.drain()
    # Of the third it is not known what came in the last minutes, so neither of all.
    for tag in (TAG, new[0]):
        age(stack, 10, wire.history_key(tag))
    assert app(cli)["received_per_min"] is None
    stack.drain()
    age(stack, 10, wire.history_key(new[1]))
    for tag in (TAG, *new):
        stack.server.hincrby(wire.stats_key(tag), "received:prediction", 20)
    found = app(cli)
    for tag in (TAG, *new):
        stack.server.hincrby(wire.stats_key(tag), "received:prediction", -20)
    assert 5.5 < found["received_per_min"] <= 6.0
    assert found["former_shards"] == [1]


def test_a_full_redis_notes_nothing(stack: Stack) -> None:
    """At maxmemory the note is refused, and the drain is as it was: each row written, and no error."""
    log(stack, 5)
    stack.server.config_set("maxmemory", 1)
    try:
        drained = asyncio.run(drain_all(stack.settings))
    finally:
        stack.server.config_set("maxmemory", 0)
    assert (drained.rows, drained.error) == (5, None)
    assert not stack.server.exists(HISTORY)
    log(stack, 1)
    stack.drain()
    assert stack.server.xlen(HISTORY) == 1


def test_something_else_at_its_key(stack: Stack, cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    """It is told by name in the line of each drain, the drain goes on, and `apps` does not know the rates."""
    log(stack, 1)
    stack.server.set(HISTORY, "mine", ex=600)
    assert stack.drain().rows == 1
    assert f"{HISTORY} is a string, not a stream; rename or delete it" in capsys.readouterr().out
    assert app(cli)["received_per_min"] is None
    assert stack.server.get(HISTORY) == b"mine"


def test_what_somebody_wrote_among_the_counters(stack: Stack) -> None:
    """Text is left out, and thousands of fields do not stop a note."""
    log(stack, 1)
    notes = {f"note:{number}": number for number in range(5_000)}
    stack.server.hset(wire.stats_key(TAG), mapping={"note": "see ticket 12"} | notes)
    stack.drain()
    ((_, fields),) = stack.server.xrange(HISTORY)
    assert b"note" not in fields
    assert len(fields) <= COUNTERS_MAX + 1
    stack.server.delete(wire.stats_key(TAG), HISTORY)
    stack.server.delete(*stack.server.keys("joinback:{loans}:*"))


def test_a_worker_notes(stack: Stack, spawn: Callable[..., Any]) -> None:
    """The process does so tick by tick, while something comes; a quiet tag costs nothing, and its history ends."""
    process = spawn("-m", "joinback_worker", "worker", JOINBACK_INTERVAL_S="1")
    for turn in (1, 2):
        log(stack, 1)
        wait_for(lambda turn=turn: stack.server.xlen(HISTORY) >= turn)
    wait_for(lambda: stack.books().pending == 0)
    process.terminate()
    process.wait(PATIENCE_S)
    assert stack.server.xlen(HISTORY) == 2


def test_a_redis_that_hung_up() -> None:
    """Without an answer the note is left out, and nothing is raised."""

    async def run() -> str | None:
        with embedded_valkey() as url:
            buffer = connect(Settings(redis_url=url))
            source = Source(buffer, TAG)
            assert await source.note() is None
        try:
            return await source.note()
        finally:
            await buffer.aclose()

    assert asyncio.run(run()) is None


# --- the rates, purely ------------------------------------------------------------------------------------------


def at(minutes: float, **counters: int) -> Snapshot:
    return Snapshot(NOW + timedelta(minutes=minutes), {name.replace("__", ":"): n for name, n in counters.items()})


@given(st.integers(0, 10**9), st.integers(0, 10**6), st.integers(0, 10**6), st.floats(3, 10_000))
def test_a_rate_is_what_came_per_minute(before: int, more: int, rows: int, minutes: float) -> None:
    """Of all kinds together, whatever the counters began with."""
    first = at(0, received__prediction=before, received__feedback=before, rows=before)
    then = at(minutes, received__prediction=before + more, received__feedback=before + more, rows=before + rows)
    found = rates(then, first, is_quiet=False)
    assert found is not None
    assert found.received_per_min == pytest.approx(2 * more / minutes, abs=1e-3)
    assert found.rows_per_min == pytest.approx(rows / minutes, abs=1e-3)


def test_what_is_not_known() -> None:
    """Without a snapshot, or with counters that were lost since, a tag has no rate, unless nothing came to it."""
    now = at(5, received__prediction=3)
    for before in (None, at(0, received__prediction=4), at(0, received__prediction=3, rows=1)):
        assert rates(now, before, is_quiet=False) is None
        assert rates(now, before, is_quiet=True) == Rates()
    assert summed([Rates(1, 2), None]) is None
    assert summed([Rates(1, 2), Rates(3, 4)]) == Rates(4, 6)
    assert summed([]) == Rates()


def test_entries_as_redis_returns_them() -> None:
    """The id is the time; what is no number is left out, and no value ends the reading."""
    entry = (b"1764374400000-0", {b"rows": b"2", b"note": b"x", b"\xff": b"1", b"huge": b"9" * 5_000})
    (read,) = snapshots([entry])
    assert read.at == datetime.fromtimestamp(1764374400, tz=UTC)
    assert read.rows == 2
    assert "huge" not in read.counters
    assert RATE_OVER_S_MIN >= 60
