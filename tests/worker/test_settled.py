"""Redis gets its memory back: a record that the sink has whole is kept for a short while, and nothing is lost by it."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import redis
from conftest import PATIENCE_S, Cli, Stack
from events import feedback, prediction

from joinback import wire
from joinback.settings import Settings
from joinback_worker.connection.connect import connect
from joinback_worker.drain.cycle import drain
from joinback_worker.drain.drained import Drained
from joinback_worker.drain.pace import Pace
from joinback_worker.drain.source import Source
from joinback_worker.law.record import Record
from joinback_worker.sinks import open_sink

TAG = wire.tag("loans")
SETTLED_TTL_S = 3_600
BUFFER_TTL_S = 7 * 86_400


def write(server: redis.Redis, key: str, **events: bytes) -> None:
    """As a client writes; `prediction_p=...` is the field `prediction:p`."""
    keys = wire.write_keys(TAG, [key] * len(events))
    payloads = [(field.replace("_", ":", 1), payload) for field, payload in events.items()]
    server.eval(wire.WRITE_SCRIPT, len(keys), *keys, *wire.write_arguments(TAG, BUFFER_TTL_S, payloads))


class Interrupted:
    """A sink in front of which something happens after each merge: between the load and the settling."""

    def __init__(self, sink: Any, then: Callable[[], object]) -> None:
        self.sink = sink
        self.looks_up = sink.looks_up
        self.then = then

    async def merge(self, records: Sequence[Record]) -> Any:
        merged = await self.sink.merge(records)
        self.then()
        return merged

    async def close_matured(self, application: str) -> int:
        return 0


def drain_and_then(settings: Settings, then: Callable[[], object]) -> Drained:
    async def cycle() -> Drained:
        buffer = connect(settings)
        try:
            async with open_sink(settings.sink_url) as sink:
                between: Any = Interrupted(sink, then)
                return await drain(Source(buffer, TAG), between, "loans", settled_ttl_s=SETTLED_TTL_S)
        finally:
            await buffer.aclose()

    return asyncio.run(cycle())


def ttl_of(stack: Stack, key: str) -> int:
    return int(stack.server.ttl(stack.record(key)))


# --- when a record is settled ---------------------------------------------------------------------------


def test_a_settled_record_is_kept_an_hour(stack: Stack) -> None:
    """Once the sink has all of a record's events Redis keeps it for the settled TTL; the next event renews it."""
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="a")
    stack.client.flush(PATIENCE_S)
    assert ttl_of(stack, "a") > SETTLED_TTL_S
    stack.drain()
    assert SETTLED_TTL_S - 60 < ttl_of(stack, "a") <= SETTLED_TTL_S
    stack.client.log_record("loans", feedback={"x": 1}, join_key="a")
    stack.client.flush(PATIENCE_S)
    assert ttl_of(stack, "a") > SETTLED_TTL_S
    assert stack.drain().joined == 1
    assert ttl_of(stack, "a") <= SETTLED_TTL_S


def test_a_ttl_is_never_made_longer(stack: Stack) -> None:
    """A record that has less time left keeps what it has."""
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="a")
    stack.client.flush(PATIENCE_S)
    stack.server.expire(stack.record("a"), 100)
    stack.drain()
    assert 0 < ttl_of(stack, "a") <= 100


def test_an_event_between_load_and_settling_keeps_its_record(stack: Stack) -> None:
    """What came after the load is not in the sink: its record keeps the buffer TTL until it is."""
    write(stack.server, "a", prediction_p=prediction())
    drain_and_then(stack.settings, lambda: write(stack.server, "a", feedback_f=feedback(1, x=1)))
    assert ttl_of(stack, "a") > SETTLED_TTL_S
    assert drain_and_then(stack.settings, lambda: None).joined == 1
    assert ttl_of(stack, "a") <= SETTLED_TTL_S


def test_a_record_that_expired_and_began_anew_keeps_its_time(stack: Stack) -> None:
    """As many events as were loaded are not the events that were loaded."""
    write(stack.server, "a", prediction_p=prediction())

    def forget_then_write() -> None:
        stack.server.delete(stack.record("a"))
        write(stack.server, "a", feedback_f=feedback(1, x=1))

    drain_and_then(stack.settings, forget_then_write)
    assert ttl_of(stack, "a") > SETTLED_TTL_S


def test_what_took_a_records_place_keeps_its_time(stack: Stack) -> None:
    """A key that somebody overwrote between load and settling is not ours to let go."""
    write(stack.server, "a", prediction_p=prediction())
    drain_and_then(stack.settings, lambda: stack.server.set(stack.record("a"), "somebody's", ex=BUFFER_TTL_S))
    assert ttl_of(stack, "a") > SETTLED_TTL_S
    stack.server.delete(stack.record("a"))


def torn(stack: Stack) -> None:
    write(stack.server, "a", prediction_p=prediction(), feedback_f=b"torn")


def newer(stack: Stack) -> None:
    write(stack.server, "a", prediction_p=prediction(), feedback_f=feedback(1, x=1).replace(b'"v":1', b'"v":9'))


def late(stack: Stack) -> None:
    write(stack.server, "a", prediction_p=prediction(), feedback_f=feedback(300 * 86_400, x=1))


@pytest.mark.parametrize("trouble", [torn, newer, late])
def test_a_record_in_trouble_keeps_its_time(stack: Stack, trouble: Callable[[Stack], None]) -> None:
    """Torn bytes, a newer client's event, late feedback: somebody has yet to look at that record."""
    trouble(stack)
    assert drain_and_then(stack.settings, lambda: None).rows == 1
    assert ttl_of(stack, "a") > SETTLED_TTL_S


@pytest.mark.parametrize(
    "changed",
    [{"emit": "joined"}, {"sink_url": "jsonl:///{}/lines"}, {"sink_url": "stdout:"}],
    ids=["emit=joined", "jsonl", "stdout"],
)
def test_no_sink_that_cannot_find_it_again(stack: Stack, tmp_path: Path, changed: dict[str, str]) -> None:
    """Where the sink cannot look a record up, or has not got it, only Redis can join its label."""
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="a")
    stack.drain(**{name: value.format(tmp_path) for name, value in changed.items()})
    assert ttl_of(stack, "a") > SETTLED_TTL_S


def test_a_mark_on_a_record_that_is_gone_is_not_for_ever(stack: Stack) -> None:
    """A late mark that comes after its record has gone makes a key of its own, which has a TTL of a day."""
    late(stack)
    drain_and_then(stack.settings, lambda: stack.server.delete(stack.record("a")))
    assert stack.server.hkeys(stack.record("a")) == [b"late:f"]
    assert 0 < ttl_of(stack, "a") <= wire.LATE_MARK_TTL_S


# --- entries whose record is gone -----------------------------------------------------------------------


def claim_by_the_dead(stack: Stack) -> None:
    """A worker claims all there is, and dies; its lease has run out."""
    pending = wire.pending_key(TAG)
    stack.client.flush(PATIENCE_S)
    stack.server.xreadgroup(wire.GROUP, "died", {pending: ">"})
    ids = [entry_id for entry_id, _ in stack.server.xrange(pending)]
    stack.server.xclaim(pending, wire.GROUP, "died", 0, ids, idle=3_600_000, justid=True)


def test_a_ttl_that_runs_out_under_a_dead_workers_claim_loses_nothing(stack: Stack) -> None:
    """The sink has the event, whoever brought it there: the entry counts as in a row, not as a loss."""
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="a")
    claim_by_the_dead(stack)
    stack.client.log_record("loans", feedback={"x": 1}, join_key="a")
    assert stack.drain().claimed == 2  # the dead one's, and the new one
    # The same again, but now Redis has let the record go.
    stack.client.log_record("loans", feedback={"x": 2}, join_key="a", event_id="second")
    claim_by_the_dead(stack)
    write(stack.server, "a", feedback_third=feedback(2, x=3))
    pending = wire.pending_key(TAG)
    ((dead_id, _),) = [e for e in stack.server.xrange(pending) if e[1][b"id"] == b"second"]
    stack.server.xclaim(pending, wire.GROUP, "died", 0, [dead_id], idle=0, justid=True)
    assert stack.drain().claimed == 1
    stack.server.delete(stack.record("a"))
    stack.server.xclaim(pending, wire.GROUP, "died", 0, [dead_id], idle=3_600_000, justid=True)
    drained = stack.drain()
    assert (drained.claimed, drained.dead) == (1, 0)
    assert (stack.books().in_rows, stack.books().difference) == (4, 0)


def test_an_event_that_the_row_has_not_is_still_told(stack: Stack) -> None:
    """A record that was evicted with an event that no row has is a loss, though its row is there."""
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="a")
    stack.drain()
    stack.client.log_record("loans", feedback={"x": 1}, join_key="a")
    stack.client.flush(PATIENCE_S)
    stack.server.delete(stack.record("a"))
    assert stack.drain().dead == 1
    assert stack.books().dead_by_reason == {"record_missing": 1}


def test_an_entry_of_yesterdays_client(stack: Stack) -> None:
    """An entry without an id, whose record is gone, is told as before: nobody knows which event it was."""
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="a")
    stack.drain()
    stack.server.delete(stack.record("a"))
    stack.server.xadd(wire.pending_key(TAG), {"key": "a", "kind": "prediction"})
    stack.server.hincrby(wire.stats_key(TAG), "received:prediction", 1)
    assert stack.drain().dead == 1
    assert stack.books().dead_by_reason == {"record_missing": 1}


def test_a_row_that_somebody_edited_hides_no_loss(stack: Stack) -> None:
    """A row that cannot be read proves nothing of an event, and stops nobody."""
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="a")
    stack.drain()
    stack.server.delete(stack.record("a"))
    stack.execute("UPDATE records SET inputs = 'see ticket 12'")
    stack.server.xadd(wire.pending_key(TAG), {"key": "a", "kind": "prediction", "id": "p"})
    stack.server.hincrby(wire.stats_key(TAG), "received:prediction", 1)
    assert (stack.drain().error, stack.books().dead_by_reason) == (None, {"record_missing": 1})


def test_two_thousand_late_labels(
    stack: Stack, cli: Cli, wait_until: Callable[..., None], spawn: Callable[..., Any]
) -> None:
    """With a settled TTL of a second Redis forgets 2,000 predictions; their labels join all the same, by the worker."""
    keys = [f"loan_{n}" for n in range(2_000)]
    worker = spawn("-m", "joinback_worker", "worker", JOINBACK_SETTLED_TTL_S="1", JOINBACK_INTERVAL_S="1")
    for key in keys:
        stack.client.log_record("loans", inputs={"n": key}, outputs=0.5, join_key=key)
    assert stack.client.flush(PATIENCE_S)
    records = wire.record_key(TAG, "*")
    wait_until(lambda: stack.books().pending == 0 and not next(stack.server.scan_iter(records, count=9_999), None))
    for key in keys:
        stack.client.log_record("loans", feedback={"repaid": True}, join_key=key)
    assert stack.client.flush(PATIENCE_S)
    wait_until(lambda: stack.books().pending == 0)
    worker.terminate()
    assert worker.wait(PATIENCE_S) == 0
    assert {row["status"] for row in stack.rows()} == {"joined"}
    assert len(stack.rows()) == 2_000
    books = stack.books()
    assert (books.in_rows, books.dead, books.difference) == (4_000, 0, 0)


def test_the_next_batch_is_merged_while_the_last_one_is_shortened(stack: Stack) -> None:
    """No merge waits until Redis has shortened the records of the batch before; all of them are when the drain ends."""
    for n in range(20):
        stack.client.log_record("loans", inputs=n, outputs=0, join_key=f"k{n}")
    assert stack.client.flush(PATIENCE_S)

    async def cycle() -> Drained:
        buffer = connect(stack.settings)
        source = Source(buffer, TAG, claim_entries=7)
        second_merge, merges, shorten = asyncio.Event(), 0, source.shorten

        async def after_the_second_merge(*arguments: Any) -> None:
            await asyncio.wait_for(second_merge.wait(), PATIENCE_S)
            await shorten(*arguments)

        def merged() -> None:
            nonlocal merges
            merges += 1
            if merges == 2:
                second_merge.set()

        source.shorten = after_the_second_merge  # type: ignore[method-assign]
        try:
            async with open_sink(stack.settings.sink_url) as sink:
                between: Any = Interrupted(sink, merged)
                return await drain(source, between, "loans", settled_ttl_s=SETTLED_TTL_S, pace=Pace(7))
        finally:
            await buffer.aclose()

    drained = asyncio.run(cycle())
    assert (drained.error, drained.rows) == (None, 20)
    assert all(0 < stack.server.ttl(wire.record_key(TAG, f"k{n}")) <= SETTLED_TTL_S for n in range(20))


def test_a_redis_that_fails_while_it_shortens(stack: Stack) -> None:
    """A record that could not be shortened keeps its TTL; the drain goes on, and the rows and the books are right."""
    stack.client.log_record("loans", inputs=1, outputs=0, join_key="k")
    assert stack.client.flush(PATIENCE_S)

    async def cycle() -> Drained:
        buffer = connect(stack.settings)
        source = Source(buffer, TAG)

        async def fails(*_: Any) -> None:
            raise redis.ConnectionError("planned")

        source.shorten = fails  # type: ignore[method-assign]
        try:
            async with open_sink(stack.settings.sink_url) as sink:
                return await drain(source, sink, "loans", settled_ttl_s=SETTLED_TTL_S)
        finally:
            await buffer.aclose()

    drained = asyncio.run(cycle())
    assert (drained.error, drained.rows) == (None, 1)
    assert stack.server.ttl(wire.record_key(TAG, "k")) > SETTLED_TTL_S
