"""Ours and the bare loop: what a user of redis-py would write to claim, load and acknowledge, without any join.

Both take their turns at one backlog, so they meet the same Redis, the same data and the same caches.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from statistics import median
from typing import Any, NamedTuple

from redis.asyncio import Redis
from worker_pending import APPLICATION, TAG

from joinback import wire
from joinback.settings import Settings
from joinback_worker.connection.connect import connect
from joinback_worker.drain.cycle import drain
from joinback_worker.drain.group import Entry
from joinback_worker.drain.pace import MERGE_ENTRIES_MAX, Pace
from joinback_worker.drain.source import Source
from joinback_worker.law.row import project
from joinback_worker.law.rules import Policy
from joinback_worker.sinks import Merged, Sink

BARE_ENTRIES = 1_000


class NullSink:
    """Makes each row, and lets go of it."""

    looks_up = False

    def __init__(self) -> None:
        self._policy = Policy()

    async def merge(self, records: Sequence[Any]) -> Merged:
        merged = Merged()
        for record in records:
            row, late = project(record, self._policy)
            merged.count(row.status, row.conflicts is not None, late)
        return merged

    async def close_matured(self, application: str) -> int:
        return 0


async def bare_loop(redis: Redis, events: int) -> None:
    """Claim, load and acknowledge so many."""
    pending, prefix = wire.pending_key(TAG), wire.record_key(TAG, "").encode()
    while events > 0:
        reply = await redis.xreadgroup(wire.GROUP, "bare", {pending: ">"}, count=min(BARE_ENTRIES, events))
        if not reply:
            return
        entries = reply[0][1]
        async with redis.pipeline(transaction=False) as pipeline:
            for _, fields in entries:
                pipeline.hgetall(prefix + fields[b"key"])
            await pipeline.execute()
        ids = [entry_id for entry_id, _ in entries]
        await redis.xack(pending, wire.GROUP, *ids)
        await redis.xdel(pending, *ids)
        events -= len(entries)


async def our_drain(redis: Redis, sink: Sink, events: int, pace: Pace, settled_ttl_s: int | None = None) -> None:
    """Drain so many, as one cycle of a worker does."""
    source = Source(redis, TAG)
    claims, left = source.group.claims, events

    async def some() -> AsyncIterator[list[Entry]]:
        nonlocal left
        async for entries in claims():
            left -= len(entries)
            yield entries
            if left <= 0:
                return

    source.group.claims = some  # type: ignore[method-assign,assignment]
    drained = await drain(source, sink, APPLICATION, pace=pace, settled_ttl_s=settled_ttl_s)
    assert drained.error is None, drained.error


class Cost(NamedTuple):
    """CPU in microseconds per event."""

    worker: float
    server: float

    @property
    def both(self) -> float:
        return self.worker + self.server


async def _server_s(redis: Redis) -> float:
    told: dict[str, float] = await redis.info("cpu")
    return told["used_cpu_sys"] + told["used_cpu_user"]


async def _cost(redis: Redis, run: Callable[[], Awaitable[None]], events: int) -> Cost:
    server_s, worker_s = await _server_s(redis), time.process_time()
    await run()
    worker_s = time.process_time() - worker_s
    return Cost(worker_s / events * 1e6, (await _server_s(redis) - server_s) / events * 1e6)


async def turns(url: str, rounds: int, events: int) -> dict[str, list[Cost]]:
    """Let both take so many events in each round, in alternating order; return what each round cost."""
    ours, bare = connect(Settings(redis_url=url)), Redis.from_url(url)
    # As that of a worker that has drained before.
    pace, sink = Pace(MERGE_ENTRIES_MAX), NullSink()
    runs: dict[str, Callable[[], Awaitable[None]]] = {
        "bare": lambda: bare_loop(bare, events),
        "ours": lambda: our_drain(ours, sink, events, pace),  # type: ignore[arg-type]
    }
    costs: dict[str, list[Cost]] = {name: [] for name in runs}
    try:
        for turn in range(rounds):
            for name in sorted(runs, reverse=turn % 2 == 1):
                costs[name].append(await _cost(bare, runs[name], events))
    finally:
        await ours.aclose()
        await bare.aclose()
    return costs


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Return the median, and the least and the most."""
    return f"{median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def lines(costs: dict[str, list[Cost]]) -> list[str]:
    """Return a table of both loops, and their ratio, round by round."""
    rows = ["| | worker, µs | server, µs | both, µs |", "| --- | --- | --- | --- |"]
    for name, of in costs.items():
        cells = [spread([cost[i] for cost in of]) for i in (0, 1)] + [spread([cost.both for cost in of])]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    ratios = [
        spread([getattr(a, what) / getattr(b, what) for a, b in zip(costs["ours"], costs["bare"], strict=True)], 2)
        for what in ("worker", "server", "both")
    ]
    return [*rows, f"| ours / bare | {' | '.join(ratios)} |"]
