"""Batches: what is read ahead of the sink, how large a merge becomes, and what a record may do meanwhile."""

import asyncio
import gc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from conftest import PATIENCE_S, Stack
from redis.asyncio import Redis

from joinback import wire
from joinback_worker.connection.connect import connect
from joinback_worker.drain.collecting import collector_held_back
from joinback_worker.drain.cycle import drain
from joinback_worker.drain.drained import Drained
from joinback_worker.drain.pace import MERGE_ENTRIES_MAX, MERGE_ENTRIES_MIN, MERGE_S, Pace
from joinback_worker.drain.source import Source
from joinback_worker.errors import SinkUnavailable
from joinback_worker.sinks import open_sink

TAG = wire.tag("loans")


class Watched:
    """A sink that says what it got, and does something before."""

    def __init__(self, sink: Any, before: Callable[[int], Awaitable[None]]) -> None:
        self.sink = sink
        self.looks_up = sink.looks_up
        self.before = before
        self.merged: list[int] = []

    async def merge(self, records: Any) -> Any:
        self.merged.append(len(records))
        await self.before(len(self.merged))
        return await self.sink.merge(records)

    async def close_matured(self, application: str) -> int:
        return 0

    async def get(self, application: str, join_keys: Any) -> Any:
        return await self.sink.get(application, join_keys)


def drain_watched(
    stack: Stack, pace: Pace, before: Callable[[Redis, int], Awaitable[None]], claim_entries: int = 1_000
) -> tuple[Drained, list[int]]:
    async def run() -> tuple[Drained, list[int]]:
        buffer = connect(stack.settings)
        try:
            async with open_sink(stack.settings.sink_url) as sink:
                watched: Any = Watched(sink, lambda number: before(buffer, number))
                source = Source(buffer, TAG, claim_entries=claim_entries)
                return await drain(source, watched, "loans", pace=pace), watched.merged
        finally:
            await buffer.aclose()

    return asyncio.run(run())


async def nothing(buffer: Redis, number: int) -> None:
    pass


def log(stack: Stack, number: int) -> None:
    for n in range(number):
        stack.client.log_record("loans", inputs=n, outputs=0, join_key=f"loan_{n}")
    assert stack.client.flush(PATIENCE_S)


def test_merges_grow_while_the_sink_is_quick(stack: Stack) -> None:
    """Each merge takes twice as much as the last one, up to so much; what was learned outlives the drain."""
    log(stack, 100)
    pace = Pace(10)
    drained, merged = drain_watched(stack, pace, nothing, claim_entries=10)
    assert (drained.rows, sum(merged)) == (100, 100)
    assert merged[0] == 10
    assert merged == sorted(merged[:-1]) + merged[-1:]
    assert max(merged) <= 80
    assert pace.merge_entries > 40


def test_the_size_of_a_merge() -> None:
    """Twice as much after a quick one that was full, half as much after a slow one or a failure, within its limits."""
    pace = Pace()
    pace.merged(MERGE_ENTRIES_MIN - 1, 0.1)
    assert pace.merge_entries == MERGE_ENTRIES_MIN
    for _ in range(10):
        pace.merged(pace.merge_entries, 0.1)
    assert pace.merge_entries == MERGE_ENTRIES_MAX
    pace.merged(MERGE_ENTRIES_MAX, MERGE_S / 2)
    assert pace.merge_entries == MERGE_ENTRIES_MAX
    pace.merged(100, MERGE_S + 1)
    assert pace.merge_entries == MERGE_ENTRIES_MAX // 2
    for _ in range(10):
        pace.merge_failed()
    assert pace.merge_entries == MERGE_ENTRIES_MIN


def test_the_next_batch_is_read_while_the_sink_writes(stack: Stack) -> None:
    """While the first merge goes on, the entries of the second are claimed; a failure gives both back."""
    log(stack, 30)

    async def fail(buffer: Redis, number: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                groups = await buffer.execute_command("XINFO GROUPS", wire.pending_key(TAG))
                if groups[0]["pending"] == 20:
                    break
        raise SinkUnavailable("planned")

    drained, merged = drain_watched(stack, Pace(10), fail, claim_entries=10)
    assert (merged, drained.claimed, drained.released) == ([10], 20, 20)
    assert stack.drain().rows == 30


def test_a_record_that_lost_its_past_between_two_claims(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record expires after it was read and begins anew before its second entry is: both halves reach the row."""
    stack.client.log_record("loans", inputs=1, outputs=0, join_key="loan")
    stack.client.log_record("loans", feedback={"repaid": True}, join_key="loan", event_id="f")
    assert stack.client.flush(PATIENCE_S)
    load, loaded = Source.load, []

    async def load_and_forget(self: Source, *arguments: Any, **options: Any) -> Any:
        records = await load(self, *arguments, **options)
        loaded.append(len(records))
        for field, _ in records[0] if len(loaded) == 1 else ():
            if field.startswith("prediction:"):
                stack.server.hdel(stack.record("loan"), field)
        return records

    monkeypatch.setattr(Source, "load", load_and_forget)
    drained, merged = drain_watched(stack, Pace(10), nothing, claim_entries=1)
    assert (drained.dead, merged, len(loaded)) == (0, [1, 1], 3)
    row = stack.row("loan")
    assert (row["status"], row["inputs"], row["feedback"]) == ("joined", "1", '{"repaid":true}')
    assert (stack.books().in_rows, stack.books().pending) == (2, 0)


def test_the_collector_rests_in_a_drain(stack: Stack) -> None:
    """The cycle collector is off while a sink writes, whoever else drains, and on again after the last of them."""
    log(stack, 1)
    seen: list[bool] = []

    async def look(buffer: Redis, number: int) -> None:
        seen.append(gc.isenabled())

    with collector_held_back():
        assert drain_watched(stack, Pace(), look)[0].rows == 1
        assert not gc.isenabled()
    assert gc.isenabled()
    assert seen == [False]
