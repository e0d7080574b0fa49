"""What the sender makes of plain predictions: the same events and the same command as of any others."""

import copy
from datetime import UTC, datetime, timedelta
from unittest import mock

from hypothesis import example, given
from hypothesis import strategies as st

import joinback
from joinback import wire
from joinback._delivery import Funnel
from joinback._delivery.buffer import Buffer
from joinback._delivery.plain import BATCH_MAX, FRAME_BYTES, EventIds, Middles, Plain, PlainBatch, size_of
from joinback._delivery.writer import call_of
from joinback.options import Options

SECOND_NS = 1_000_000_000
NOW_NS = 1_795_000_000 * SECOND_NS
MIDDLES = Middles("test")

at_ns = st.integers(NOW_NS, NOW_NS + 3 * SECOND_NS) | st.integers(0, (1 << 63) - 1) | st.just(NOW_NS)
joins = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=6)
parts = st.sampled_from([b"1", b'{"a":"b"}', '"é"'.encode(), b"[" + b"0," * 60 + b"0]"])
versions = st.sampled_from([None, "1.0", '"', "é"])
events = st.builds(
    lambda name, key, at, version, tags, inputs, outputs: plain(
        name, key, at, MIDDLES.of(version, tags), inputs, outputs
    ),
    *(st.sampled_from(["loans", "clicks"]), joins, at_ns, versions),
    *(st.sampled_from([None, {}, {"region": "eu"}]), parts, parts),
)


def plain(name: str, key: str, at: int, middle: bytes, inputs: bytes, outputs: bytes) -> Plain:
    return name, key, at, FRAME_BYTES + len(middle) + len(inputs) + len(outputs), middle, inputs, outputs


def one(at: int) -> Plain:
    return plain("loans", "k", at, MIDDLES.of("1.0", None), b"1", b"2")


@given(st.lists(events, min_size=1, max_size=9))
# In one second, at its very beginning, over its end, and with a clock that goes back.
@example([one(NOW_NS + 1_000), one(NOW_NS + 999_999_999)])
@example([one(NOW_NS), one(NOW_NS + 500)])
@example([one(NOW_NS + 5), one(NOW_NS + SECOND_NS)])
@example([one(NOW_NS + 5_000), one(NOW_NS - 1)])
def test_the_pieces_are_the_events(taken: list[Plain]) -> None:
    """The command in pieces has the bytes of the command that is made of the batch's events one by one."""
    batch = PlainBatch(taken, EventIds().start())
    assert call_of("loans", 60, batch).packed() == call_of("loans", 60, list(batch)).packed()
    assert batch.size == size_of(list(batch)) == sum(event[3] for event in taken)
    assert [event[1] for event in batch] == list(batch.join_keys) == [event[1] for event in taken]


@given(st.lists(events, min_size=1, max_size=9))
@example([one(NOW_NS)])
def test_a_worker_reads_what_was_written(taken: list[Plain]) -> None:
    """Each event has the time of its call, to the microsecond, and the same bytes when it is written again."""
    for (_, _, ns, *_), (_, _, field, payload) in zip(taken, PlainBatch(taken, EventIds().start()), strict=True):
        event = wire.decode_event(field.partition(":")[0], payload)
        assert wire.encode(event) == payload
        late = event.at - (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=ns // 1_000))
        # The first microsecond of a second counts as its second: msgspec would leave .000000 out.
        assert late == timedelta(microseconds=1 if ns % SECOND_NS < 1_000 else 0)
        assert event.logged_at == event.at


@given(st.lists(events, min_size=1, max_size=9), st.data())
def test_an_event_is_the_same_in_any_group(taken: list[Plain], data: st.DataObject) -> None:
    """By application or by shard: each event is in its group once, with its id and its bytes."""
    batch = PlainBatch(taken, EventIds().start())
    names = data.draw(st.lists(st.sampled_from("abc"), min_size=len(taken), max_size=len(taken)))
    groups = batch.grouped(names)
    assert sorted(event for group in groups.values() for event in group) == sorted(batch)
    for name, group in groups.items():
        assert list(group) == [event for event, own in zip(batch, names, strict=True) if own == name]
        assert call_of("loans", 60, group).packed() == call_of("loans", 60, list(group)).packed()


def filled(calls: int) -> Buffer:
    """A buffer of so many predictions, with feedback after each tenth."""
    client = joinback.Client()
    funnel = client._funnel = Funnel(Options(buffer_events_max=10_000))
    with mock.patch.object(Funnel, "_start"):
        for n in range(calls):
            client.log_record("loans", inputs=n, outputs=2, join_key=f"k{n}")
            if n % 10 == 9:
                client.log_record("loans", feedback={"a": n}, join_key=f"k{n}")
    return funnel._buffer


def test_plain_and_other_events_keep_their_order() -> None:
    """However many are taken at once, each event comes once, in the order of the calls, under an id of its own."""
    for events_max in (1, 7, BATCH_MAX, 10_000):
        buffer, taken = filled(2_500), []
        while batch := buffer.take(events_max, 1 << 30):
            taken += batch
        keys = [event[1] for event in taken if event[2].startswith("prediction:")]
        assert keys == [f"k{n}" for n in range(2_500)]
        assert len({event[2] for event in taken}) == len(taken) == 2_750
        buffer.free(taken)
        assert buffer.fullness() == 0


def test_a_batch_of_plain_events_is_bounded_in_bytes() -> None:
    """What a batch leaves because of its bytes is the beginning of the next one, and no id comes twice."""
    buffer, taken = filled(9), []
    while batch := buffer.take(40, 300):
        assert len(batch) == 1 or size_of(batch[:-1]) < 300
        taken += batch
    assert [event[1] for event in taken] == [f"k{n}" for n in range(9)]
    assert len({event[2] for event in taken}) == 9


def test_what_a_batch_leaves_is_not_put_together() -> None:
    """A batch that is cut because of its bytes still holds pieces, and what it leaves waits as it was logged."""
    buffer = filled(9)
    buffer.take(1, 1)  # A client's first is not plain: it notes the rate.
    waiting = list(buffer._events)
    batch = buffer.take(40, 300)
    assert isinstance(batch, PlainBatch)
    assert batch._events is None
    assert list(buffer._events) == waiting[len(batch) :] != []


def test_what_two_children_inherit_has_the_same_ids() -> None:
    """A worker of uWSGI that starts anew inherits the master's events again: they are duplicates, no other events."""
    buffer = filled(15)
    twin = copy.copy(buffer)
    twin._events, twin._ids = buffer._events.copy(), copy.copy(buffer._ids)
    for _ in range(3):
        twin._events.append(twin._events[-1])
    assert list(buffer.take(10_000, 1 << 30)) == list(twin.take(10_000, 1 << 30))[:-3]
