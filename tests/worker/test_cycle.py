"""The cycle on a real server and a real SQLite file: what becomes of every event, good or bad."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from conftest import PATIENCE_S, Stack
from events import feedback
from ruled import reducing

import joinback
from joinback import wire
from joinback.settings import Settings
from joinback_worker.connection.connect import connect
from joinback_worker.drain.cycle import drain
from joinback_worker.drain.drained import Drained
from joinback_worker.drain.source import Source
from joinback_worker.errors import SinkRefused, SinkUnavailable
from joinback_worker.law.record import Record
from joinback_worker.sinks import Merged, open_sink

TAG = wire.tag("loans")


def test_predict_then_feedback(stack: Stack) -> None:
    """A prediction becomes a row; its feedback, drained later, joins it."""
    stack.client.log_record("loans", inputs={"amount": 900}, outputs=0.07, join_key="loan_17", version="1")
    assert stack.drain().rows == 1
    assert stack.row("loan_17")["status"] == "predicted"
    stack.client.log_record("loans", feedback={"repaid": True}, join_key="loan_17")
    drained = stack.drain()
    assert (drained.claimed, drained.rows, drained.joined) == (1, 1, 1)
    row = stack.row("loan_17")
    assert (row["status"], row["inputs"], row["outputs"]) == ("joined", '{"amount":900}', "0.07")
    assert (row["feedback"], row["row_version"]) == ('{"repaid":true}', 2)
    assert stack.books().pending == 0


def test_feedback_before_its_prediction(stack: Stack) -> None:
    """Feedback that comes first is a row at once, an orphan, which heals when the prediction comes."""
    stack.client.log_record("loans", feedback={"repaid": True}, join_key="loan_17")
    assert stack.drain().orphans == 1
    assert stack.row("loan_17")["status"] == "orphan"
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="loan_17")
    assert stack.drain().joined == 1
    assert stack.row("loan_17")["status"] == "joined"


def test_late_join_after_redis_forgot(stack: Stack) -> None:
    """Feedback that outlives the record's TTL finds its prediction in the sink, and changes nothing else."""
    stack.client.log_record("loans", inputs={"amount": 900}, outputs=0.07, join_key="loan_17", version="1")
    stack.drain()
    before = stack.row("loan_17")
    stack.server.delete(stack.record("loan_17"))  # as its TTL would
    stack.client.log_record("loans", feedback={"repaid": True}, join_key="loan_17")
    stack.drain()
    after = stack.row("loan_17")
    changed = {name for name in before if before[name] != after[name]}
    assert after["status"] == "joined"
    assert changed == {
        "status", "feedback", "field_times", "feedback_at", "first_feedback_at", "feedback_delay_s",
        "feedback_events", "matures_at", "updated_at", "row_version",
    }  # fmt: skip


def test_late_prediction_after_redis_forgot(stack: Stack) -> None:
    """The mirror: an orphan row waits in the sink for its prediction."""
    stack.client.log_record("loans", feedback={"repaid": True}, join_key="loan_17")
    stack.drain()
    stack.server.delete(stack.record("loan_17"))
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="loan_17")
    stack.drain()
    assert stack.row("loan_17")["status"] == "joined"
    assert stack.row("loan_17")["feedback"] == '{"repaid":true}'


@pytest.mark.parametrize("first", ["prediction", "feedback"])
def test_the_ttl_really_runs_out(stack: Stack, wait_until: Callable[..., None], first: str) -> None:
    """What came first is drained and expires, what comes then still joins it.

    The prediction was made almost six months before its feedback, and Redis holds nothing of it any more.
    """
    now = datetime.now(UTC)
    sides: dict[str, dict[str, Any]] = {
        "prediction": {"inputs": {"amount": 900}, "outputs": 0.07, "timestamp": now - timedelta(days=179)},
        "feedback": {"feedback": {"repaid": True}, "timestamp": now},
    }
    client = joinback.Client().init(stack.settings.redis_url, buffer_ttl_s=60, strict=True)
    client.log_record("loans", join_key="loan_17", **sides.pop(first))
    assert client.flush(PATIENCE_S)
    assert stack.drain().rows == 1
    # The minute passes in no time, whatever the machine took over the drain.
    assert 0 < stack.server.ttl(stack.record("loan_17")) <= 60
    stack.server.pexpire(stack.record("loan_17"), 1)
    wait_until(lambda: not stack.server.exists(stack.record("loan_17")))
    (second,) = sides.values()
    client.log_record("loans", join_key="loan_17", **second)
    assert client.flush(PATIENCE_S)
    assert stack.drain().joined == 1
    row = stack.row("loan_17")
    assert (row["status"], row["inputs"], row["feedback"]) == ("joined", '{"amount":900}', '{"repaid":true}')
    assert row["feedback_delay_s"] == 179 * 86_400
    client.close()


def test_maturity_needs_no_traffic(stack: Stack) -> None:
    """An application without a single new event closes its predictions when they mature; feedback then still wins."""
    old = datetime.now(UTC) - timedelta(hours=2)
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="old", timestamp=old)
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="young")
    rule = {"loans": {"maturity_s": 3_600, "feedback": {"repaid": {"default": False}}}}
    stack.drain()
    assert stack.row("old")["status"] == "predicted"
    drained = stack.drain(rule)
    assert (drained.claimed, drained.matured) == (0, 1)
    assert (stack.row("old")["status"], stack.row("old")["feedback"]) == ("unlabelled", '{"repaid":false}')
    assert stack.row("young")["status"] == "predicted"
    stack.client.log_record("loans", feedback={"repaid": True}, join_key="old")
    stack.drain(rule)
    row = stack.row("old")
    assert (row["status"], row["feedback"], row["default_fields"]) == ("joined", '{"repaid":true}', None)


def test_reducers_by_application(stack: Stack) -> None:
    """Each application has its own reducers, and a repeated event counts once."""
    for application in ("ads", "loans"):
        for n, event_id in enumerate(["a", "b", "b", "c"]):
            stack.client.log_record(application, feedback={"clicks": n + 1}, join_key="k", event_id=event_id)
    stack.drain({"ads": reducing(clicks="sum")})
    assert [(row["application"], row["feedback"]) for row in stack.rows()] == [
        ("ads", '{"clicks":7}'),
        ("loans", '{"clicks":4}'),
    ]
    assert stack.books().duplicates == 2


def test_a_drain_without_news_writes_nothing(stack: Stack) -> None:
    """The same events again, as after a crash, neither change the row nor its version."""
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="loan_17")
    stack.drain()
    before = stack.row("loan_17")
    stack.server.xadd(wire.pending_key(TAG), {"key": "loan_17", "kind": "prediction"})
    stack.server.hincrby(wire.stats_key(TAG), "received:prediction", 1)
    assert stack.drain().rows == 1
    assert stack.row("loan_17") == before


def test_many_chunks(stack: Stack) -> None:
    """More entries than a chunk holds are drained in one cycle."""
    for n in range(2_500):
        stack.client.log_record("loans", inputs=n, outputs=0, join_key=f"loan_{n}")
    drained = stack.drain()
    assert (drained.claimed, drained.rows) == (2_500, 2_500)
    assert len(stack.rows()) == 2_500


def test_two_applications_do_not_meet(stack: Stack) -> None:
    """A join key is unique within its application only."""
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="17")
    stack.client.log_record("cards{}/%", feedback={"ok": True}, join_key="17")
    stack.drain()
    assert [(row["application"], row["status"]) for row in stack.rows()] == [
        ("cards{}/%", "orphan"),
        ("loans", "predicted"),
    ]


def test_a_dead_workers_claim_is_taken_over(stack: Stack) -> None:
    """Entries that a worker claimed and never settled are claimed by another once the lease has run out."""
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="loan_17")
    stack.client.flush(PATIENCE_S)
    stack.server.xreadgroup(wire.GROUP, "died", {wire.pending_key(TAG): ">"})
    assert stack.drain().claimed == 0
    ((entry_id, _),) = stack.server.xrange(wire.pending_key(TAG))
    stack.server.xclaim(wire.pending_key(TAG), wire.GROUP, "died", 0, [entry_id], idle=3_600_000, justid=True)
    assert stack.drain().claimed == 1
    assert stack.row("loan_17")["status"] == "predicted"


def test_no_consumer_stays_behind(stack: Stack) -> None:
    """A cycle leaves the group as it found it, or XINFO CONSUMERS would grow by a line each tick."""
    stack.client.log_record("loans", inputs=1, outputs=2)
    for _ in range(3):
        stack.drain()
    assert stack.server.xinfo_consumers(wire.pending_key(TAG), wire.GROUP) == []


def test_a_lost_group_comes_back(stack: Stack) -> None:
    """Somebody destroyed the consumer group: it is made again, from the stream's start."""
    stack.client.log_record("loans", inputs=1, outputs=2)
    stack.client.flush(PATIENCE_S)
    stack.server.xgroup_destroy(wire.pending_key(TAG), wire.GROUP)
    assert stack.drain().rows == 1


# --- bad input ------------------------------------------------------------------------------------------


def test_an_undecodable_event_becomes_a_dead_letter(stack: Stack) -> None:
    """A torn event in a hash moves to the dead letters with its bytes; its neighbours become rows."""
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="loan_17")
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="loan_18")
    stack.client.log_record("loans", feedback={"a": 1}, join_key="loan_17", event_id="torn")
    stack.client.flush(PATIENCE_S)
    stack.server.hset(stack.record("loan_17"), "feedback:torn", b'{"v":1,\xff')
    drained = stack.drain()
    assert (drained.rows, drained.dead) == (2, 1)
    assert stack.row("loan_17")["status"] == "predicted"
    (letter,) = stack.dead()
    assert (letter["key"], letter["event"], letter["reason"]) == ("loan_17", "feedback:torn", "undecodable")
    assert letter["bytes"].startswith('{"v":1,')
    assert not stack.server.hexists(stack.record("loan_17"), "feedback:torn")
    assert stack.books().dead_by_reason == {"undecodable": 1}
    assert stack.books().in_rows == 2


def test_a_record_with_nothing_but_rubbish(stack: Stack) -> None:
    """Also when no good event is left."""
    stack.client.log_record("loans", feedback={"a": 1}, join_key="loan_17", event_id="torn")
    stack.client.flush(PATIENCE_S)
    stack.server.hset(stack.record("loan_17"), "feedback:torn", "rubbish")
    assert (stack.drain().dead, stack.rows()) == (1, [])
    assert stack.books().in_rows == 0


def test_a_wrong_type_at_the_record(stack: Stack) -> None:
    """A record key overwritten by somebody is a dead letter; the rest of the chunk goes on."""
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="loan_17")
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="loan_18")
    stack.client.flush(PATIENCE_S)
    stack.server.set(stack.record("loan_17"), "mine now", ex=60)
    drained = stack.drain()
    assert (drained.rows, drained.dead) == (1, 1)
    assert [(letter["key"], letter["reason"]) for letter in stack.dead()] == [("loan_17", "wrong_type")]


def test_a_record_that_is_gone(stack: Stack) -> None:
    """A record that expired or was evicted before it was drained is told, not forgotten."""
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="loan_17")
    stack.client.flush(PATIENCE_S)
    stack.server.delete(stack.record("loan_17"))
    assert stack.drain().dead == 1
    assert stack.books().dead_by_reason == {"record_missing": 1}


def test_an_entry_without_a_key(stack: Stack) -> None:
    """A pending entry that names nothing readable is a dead letter."""
    stack.client.log_record("loans", inputs=1, outputs=2)
    stack.client.flush(PATIENCE_S)
    stack.server.xadd(wire.pending_key(TAG), {"hello": "world"})
    stack.server.xadd(wire.pending_key(TAG), {"key": b"\xff"})
    stack.server.hincrby(wire.stats_key(TAG), "received:feedback", 2)
    assert stack.drain().dead == 2
    assert stack.books().dead_by_reason == {"unreadable_entry": 2}


def test_an_event_of_a_newer_client_waits(stack: Stack) -> None:
    """What a newer client wrote stays pending until the worker is upgraded; its known neighbours become a row."""
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="loan_17")
    stack.client.log_record("loans", feedback={"a": 1}, join_key="loan_17", event_id="new")
    stack.client.flush(PATIENCE_S)
    body = stack.server.hget(stack.record("loan_17"), "feedback:new")
    stack.server.hset(stack.record("loan_17"), "feedback:new", body.replace(b'"v":1', b'"v":9'))
    drained = stack.drain()
    assert (drained.rows, drained.newer, drained.dead) == (1, 2, 0)
    assert stack.row("loan_17")["status"] == "predicted"
    assert stack.books().pending == 2


def test_feedback_past_the_window_is_a_dead_letter(stack: Stack) -> None:
    """Too late is not silent: the letter has the lateness, the row stays as it was."""
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="loan_17")
    stack.drain()
    late = feedback(0, repaid=True).replace(b"2026-11-23", b"2027-11-23")
    stack.server.hset(stack.record("loan_17"), "feedback:late", late)
    stack.server.xadd(wire.pending_key(TAG), {"key": "loan_17", "kind": "feedback"})
    stack.server.hincrby(wire.stats_key(TAG), "received:feedback", 1)
    assert stack.drain().dead == 1
    (letter,) = stack.dead()
    assert letter["reason"] == "after_window"
    assert int(letter["detail"].split()[0]) > 100 * 86_400
    assert (stack.row("loan_17")["status"], stack.row("loan_17")["feedback"]) == ("predicted", None)
    assert stack.drain().dead == 0


# --- sinks in trouble -----------------------------------------------------------------------------------


class Troubled:
    """The test's sink in front of a real one: refuses some join keys, or everything for a while."""

    def __init__(self, sink: Any, refuses: Sequence[str] = (), unavailable: bool = False) -> None:
        self.sink = sink
        self.looks_up = sink.looks_up
        self.refuses = refuses
        self.unavailable = unavailable

    async def merge(self, records: Sequence[Record]) -> Merged:
        if self.unavailable:
            raise SinkUnavailable("down for a while")
        if any(record.join_key in self.refuses for record in records):
            raise SinkRefused("poison")
        merged: Merged = await self.sink.merge(records)
        return merged

    async def close_matured(self, application: str) -> int:
        return 0

    async def get(self, application: str, join_keys: Sequence[str]) -> Any:
        return await self.sink.get(application, join_keys)


def drain_through(settings: Settings, **trouble: Any) -> Drained:
    async def cycle() -> Drained:
        redis = connect(settings)
        try:
            async with open_sink(settings.sink_url) as sink:
                return await drain(Source(redis, TAG), Troubled(sink, **trouble), "loans")  # type: ignore[arg-type]
        finally:
            await redis.aclose()

    return asyncio.run(cycle())


def test_an_unavailable_sink_costs_nothing(stack: Stack) -> None:
    """Nothing is acknowledged; the claim is released, so that the next tick takes it at once."""
    for n in range(3):
        stack.client.log_record("loans", inputs=n, outputs=0, join_key=f"loan_{n}")
    stack.client.flush(PATIENCE_S)
    drained = drain_through(stack.settings, unavailable=True)
    assert (drained.claimed, drained.released, drained.error) == (3, 3, "down for a while")
    assert stack.books().pending == 3
    assert stack.drain().rows == 3


def test_poison_rows_are_bisected_out(stack: Stack) -> None:
    """Of a chunk with two records the sink refuses, those two become dead letters and the rest becomes rows."""
    for n in range(20):
        stack.client.log_record("loans", inputs=n, outputs=0, join_key=f"loan_{n}", event_id="e")
    stack.client.flush(PATIENCE_S)
    drained = drain_through(stack.settings, refuses=["loan_3", "loan_11"])
    assert (drained.rows, drained.dead) == (18, 2)
    assert len(stack.rows()) == 18
    letters = {letter["key"]: letter for letter in stack.dead()}
    assert set(letters) == {"loan_3", "loan_11"}
    assert letters["loan_3"]["reason"] == "sink_refused"
    assert msgspec.json.decode(letters["loan_3"]["bytes"])["inputs"] == 3
    assert stack.books().in_rows == 18


@pytest.mark.parametrize("at_maxmemory", [False, True])
def test_a_full_redis_can_be_drained(stack: Stack, at_maxmemory: bool) -> None:
    """At maxmemory, when draining matters most, claim, settle, dead letters and counters all work."""
    for n in range(5):
        stack.client.log_record("loans", inputs=n, outputs=0, join_key=f"loan_{n}")
    stack.client.flush(PATIENCE_S)
    stack.server.hset(stack.record("loan_0"), "feedback:x", "rubbish")
    stack.server.config_set("maxmemory", 1 if at_maxmemory else 0)
    try:
        drained = stack.drain()
    finally:
        stack.server.config_set("maxmemory", 0)
    assert (drained.error, drained.rows, drained.dead) == (None, 5, 1)
    assert stack.books().pending == 0


# --- JOINBACK_EMIT --------------------------------------------------------------------------------------


def test_emit_joined_writes_only_two_sided_records(stack: Stack) -> None:
    """With emit=joined a row appears when its second side does, in either order, and the books balance."""
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="a")
    stack.client.log_record("loans", feedback={"x": 1}, join_key="b")
    assert stack.drain(emit="joined").rows == 0
    assert stack.books().unemitted == 2
    stack.client.log_record("loans", feedback={"x": 1}, join_key="a")
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="b")
    assert stack.drain(emit="joined").joined == 2
    assert [row["status"] for row in stack.rows()] == ["joined", "joined"]


def test_emit_joined_still_corrects_a_row(stack: Stack) -> None:
    """Feedback whose record has left Redis still reaches the row that was joined."""
    stack.client.log_record("loans", inputs=1, outputs=2, feedback={"x": 1}, join_key="a")
    stack.drain(emit="joined")
    stack.server.delete(stack.record("a"))
    stack.client.log_record("loans", feedback={"x": 2}, join_key="a")
    stack.drain(emit="joined")
    assert stack.row("a")["feedback"] == '{"x":2}'
