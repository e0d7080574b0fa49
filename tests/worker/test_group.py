"""The consumer group, looked after: who stays in it, what a drain takes, and what Redis 6.2 leaves behind."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest
from conftest import PATIENCE_S, Stack
from redis.asyncio import Redis

from joinback import wire
from joinback_worker.connection.connect import connect
from joinback_worker.drain.cycle import drain
from joinback_worker.drain.drained import Drained
from joinback_worker.drain.group import IDLE_CONSUMER_S, consumer_name
from joinback_worker.drain.pace import Pace
from joinback_worker.drain.source import Source
from joinback_worker.errors import SinkUnavailable
from joinback_worker.sinks import open_sink

TAG = wire.tag("loans")
PENDING = wire.pending_key(TAG)
T = TypeVar("T")


def on_buffer(stack: Stack, work: Callable[[Redis], Awaitable[T]]) -> T:
    async def run() -> T:
        buffer = connect(stack.settings)
        try:
            return await work(buffer)
        finally:
            await buffer.aclose()

    return asyncio.run(run())


def consumers(stack: Stack) -> list[str]:
    return [consumer["name"].decode() for consumer in stack.server.xinfo_consumers(PENDING, wire.GROUP)]


def log(stack: Stack, number: int = 1) -> None:
    for n in range(number):
        stack.client.log_record("loans", inputs=n, outputs=0)
    assert stack.client.flush(PATIENCE_S)


# --- consumers --------------------------------------------------------------------------------------------------


def test_one_name_per_process(stack: Stack) -> None:
    """However many ticks fail, a worker is one consumer; its name says which process it is."""
    assert consumer_name() == consumer_name()
    assert consumer_name().split(":")[1] == str(os.getpid())
    log(stack)
    for _ in range(5):
        locked = stack.drain(sink_url="sqlite:////nowhere/at/all.db")
        assert locked.error is not None

    async def fail(buffer: Redis) -> None:
        for _ in range(5):
            async with open_sink(stack.settings.sink_url) as sink:
                down: Any = Down(sink)
                assert (await drain(Source(buffer, TAG), down, "loans")).released == 1

    on_buffer(stack, fail)
    assert consumers(stack) == [consumer_name()]
    assert stack.drain().rows == 1
    assert consumers(stack) == []


class Down:
    """A sink that is not there."""

    looks_up = True

    def __init__(self, sink: Any) -> None:
        self.sink = sink

    async def merge(self, records: Any) -> Any:
        raise SinkUnavailable("down")


def test_consumers_of_killed_workers_go(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """A consumer that holds nothing and has been idle for an hour is removed; one that holds entries never is."""
    log(stack, 2)
    stack.server.xreadgroup(wire.GROUP, "holds", {PENDING: ">"}, count=1)
    stack.server.execute_command("XGROUP", "CREATECONSUMER", PENDING, wire.GROUP, "killed")
    log(stack)
    stack.drain()
    assert set(consumers(stack)) == {"holds", "killed"}
    assert IDLE_CONSUMER_S == 3_600
    monkeypatch.setattr("joinback_worker.drain.group.IDLE_CONSUMER_S", -1)
    stack.drain()
    assert consumers(stack) == ["holds"]
    assert stack.server.xpending(PENDING, wire.GROUP)["pending"] == 1


def test_without_the_right_to_look(stack: Stack) -> None:
    """A login of before, that may not list consumers, drains as ever."""
    log(stack)
    stack.server.execute_command("XGROUP", "CREATECONSUMER", PENDING, wire.GROUP, "killed")
    stack.server.execute_command("ACL", "SETUSER", "default", "-xinfo", "+xinfo|groups")
    try:
        assert stack.drain().rows == 1
    finally:
        stack.server.execute_command("ACL", "SETUSER", "default", "+@all")


def test_claims_on_what_was_trimmed_are_let_go(stack: Stack) -> None:
    """Redis 6.2 hands over a claim on an entry that the stream lost; it is acknowledged, not kept for ever."""
    log(stack, 3)
    stack.server.xreadgroup(wire.GROUP, "died", {PENDING: ">"})
    ids = [entry_id for entry_id, _ in stack.server.xrange(PENDING)]
    stack.server.xdel(PENDING, ids[1])
    stack.server.hincrby(wire.stats_key(TAG), "dead:pending_expired", 1)
    stack.server.xclaim(PENDING, wire.GROUP, "died", 0, ids, idle=3_600_000, justid=True)
    assert stack.drain().rows == 2
    assert stack.server.xpending(PENDING, wire.GROUP)["pending"] == 0
    assert [name for name in consumers(stack) if name != "died"] == []


# --- the end of a drain -----------------------------------------------------------------------------------------


def test_a_drain_takes_what_was_there_when_it_began(stack: Stack) -> None:
    """While somebody logs without end, a drain ends: with all that was pending at its start, and one claim more."""
    for n in range(3_000):
        stack.client.log_record("loans", inputs=n, outputs=0)
    stack.client.flush(PATIENCE_S)

    async def cycle(buffer: Redis) -> Drained:
        async with open_sink(stack.settings.sink_url) as sink:
            endless: Any = Endless(sink, lambda: log(stack, 700))
            return await drain(Source(buffer, TAG), endless, "loans")

    drained = on_buffer(stack, cycle)
    assert 3_000 <= drained.claimed <= 4_000
    assert not drained.unfinished
    assert stack.books().pending > 0


class Endless:
    """A sink that takes so long that more has come meanwhile."""

    def __init__(self, sink: Any, meanwhile: Callable[[], object]) -> None:
        self.sink = sink
        self.looks_up = sink.looks_up
        self.meanwhile = meanwhile

    async def merge(self, records: Any) -> Any:
        self.meanwhile()
        return await self.sink.merge(records)

    async def close_matured(self, application: str) -> int:
        return 0


def test_a_cancelled_drain_gives_back_in_a_task_that_is_not_cancelled(stack: Stack) -> None:
    """Before Python 3.11.3 a cancelled task reaches no Redis, so the claims go back by another one."""
    log(stack, 10)

    async def stop(buffer: Redis) -> None:
        source, merging, cancelled = Source(buffer, TAG), asyncio.Event(), list[int]()
        release = source.group.release

        async def released(entries: Any) -> None:
            task = asyncio.current_task()
            assert task is not None
            cancelled.append(task.cancelling())
            await release(entries)

        source.group.release = released  # type: ignore[method-assign]

        class Hung(Down):
            async def merge(self, records: Any) -> Any:
                merging.set()
                await asyncio.Event().wait()

        async with open_sink(stack.settings.sink_url) as sink:
            hung: Any = Hung(sink)
            draining = asyncio.create_task(drain(source, hung, "loans"))
            await asyncio.wait_for(merging.wait(), PATIENCE_S)
            draining.cancel()
            with pytest.raises(asyncio.CancelledError):
                await draining
        assert cancelled == [0]

    on_buffer(stack, stop)
    assert stack.drain().rows == 10


def test_a_budget_that_is_spent_gives_the_rest_back(stack: Stack) -> None:
    """What a drain claimed and had no time for is released, for whoever comes next."""
    log(stack, 3_000)

    async def cycle(buffer: Redis) -> Drained:
        async with open_sink(stack.settings.sink_url) as sink:
            return await drain(Source(buffer, TAG), sink, "loans", budget_s=0)

    drained = on_buffer(stack, cycle)
    assert (drained.unfinished, drained.error) == (True, None)
    assert drained.claimed == 1_000
    assert stack.drain().claimed == 2_000


def test_a_long_claim_keeps_its_lease(stack: Stack) -> None:
    """A claim that takes many slices is renewed between them, so that nobody takes it over."""
    log(stack, 20)

    async def cycle(buffer: Redis) -> int:
        source = Source(buffer, TAG, lease_s=60)
        claims = source.group.claims()
        entries = await anext(claims)
        ids = [entry.id for entry in entries]
        # Half a lease has passed.
        await buffer.execute_command("XCLAIM", PENDING, wire.GROUP, consumer_name(), 0, *ids, "IDLE", 30_000)
        half_a_lease_ago = time.monotonic() - 30
        assert await source.group.keep(entries, half_a_lease_ago) > half_a_lease_ago
        (first, *_) = await buffer.xpending_range(PENDING, wire.GROUP, "-", "+", 1)
        await claims.aclose()
        await source.group.release(entries)
        return int(first["time_since_delivered"])

    assert on_buffer(stack, cycle) < 20_000
    assert stack.drain().rows == 20


def test_a_drain_renews_its_claim_before_each_merge(stack: Stack) -> None:
    """Each merge begins with a look at the lease; here it is over at once."""
    log(stack, 20)
    idle: list[int] = []

    class Watched:
        def __init__(self, buffer: Redis) -> None:
            self.buffer = buffer

        async def execute_command(self, *arguments: Any, **options: Any) -> Any:
            if arguments[0] == "XCLAIM":
                idle.append(arguments[arguments.index("IDLE") + 1])
            return await self.buffer.execute_command(*arguments, **options)

    async def cycle(buffer: Redis) -> Drained:
        watched: Any = Watched(buffer)
        async with open_sink(stack.settings.sink_url) as sink:
            return await drain(Source(watched, TAG, lease_s=0, claim_entries=10), sink, "loans", pace=Pace(10))

    assert on_buffer(stack, cycle).rows == 20
    assert idle == [0, 0]
