"""The law of the join: merging records is a semilattice, whatever is in them."""

from events import feedback, prediction, records, retraction
from hypothesis import given
from hypothesis.strategies import integers

from joinback_worker.law.record import Record, admit, merge
from joinback_worker.law.record_hash import read_hash


@given(records, records)
def test_merge_is_commutative(a: Record, b: Record) -> None:
    """Which side came first does not matter, even when an event id was used twice."""
    assert merge(a, b) == merge(b, a)


@given(records, records, records)
def test_merge_is_associative(a: Record, b: Record, c: Record) -> None:
    """How events were batched does not matter."""
    assert merge(merge(a, b), c) == merge(a, merge(b, c))


@given(records)
def test_merge_is_idempotent(a: Record) -> None:
    """How often events arrive does not matter."""
    assert merge(a, a) == a


@given(records, records)
def test_merge_only_grows(a: Record, b: Record) -> None:
    """No event of either side is lost."""
    union = merge(a, b)
    for side in (a, b):
        assert side.predictions.keys() <= union.predictions.keys()
        assert side.feedback.keys() <= union.feedback.keys()
        assert side.retractions.keys() <= union.retractions.keys()


def test_fold_sorts_events_by_kind() -> None:
    """A hash becomes a record: each field under its kind, by its event id."""
    folded = read_hash(
        "loans",
        "k",
        [("feedback:b", feedback(a=1)), ("prediction:a", prediction()), ("retraction:c", retraction())],
    )
    assert list(folded.record.predictions) == ["a"]
    assert list(folded.record.feedback) == ["b"]
    assert list(folded.record.retractions) == ["c"]
    assert not folded.bad
    assert not folded.newer


def test_one_bad_event_costs_only_itself() -> None:
    """Undecodable, misnamed and newer events are told apart from the good one, which stays."""
    newer = feedback(a=1).replace(b'"v":1', b'"v":9')
    fields = [
        ("feedback:good", feedback(a=1)),
        ("feedback:torn", b'{"v":1,'),
        ("feedback:newer", newer),
        ("feedback:", feedback(a=1)),
        ("feedback", feedback(a=1)),
        ("opinion:x", feedback(a=1)),
        ("feedback:\udcff", feedback(a=1)),
        ("prediction:x", feedback(a=1)),
    ]
    folded = read_hash("loans", "k", fields)
    assert list(folded.record.feedback) == ["good"]
    assert folded.newer == {"feedback:newer"}
    assert set(folded.bad) == {field for field, _ in fields} - {"feedback:good", "feedback:newer"}
    assert folded.payloads == dict(fields)
    # The form is right; the id is not.
    assert folded.bad["feedback:\udcff"].detail == "the event id in the field is not printable text"
    assert folded.bad["feedback:"].detail == folded.bad["feedback"].detail == "the field is not <kind>:<event_id>"


@given(records, records, integers(0, 6))
def test_admit_keeps_what_is_known_and_tells_the_rest(known: Record, incoming: Record, events_max: int) -> None:
    """A full record gives up nothing it held; every new event is in it or told, and the latest go first."""
    record, overflow = admit(known, incoming, events_max)
    whole = merge(known, incoming)
    assert record.predictions == whole.predictions
    held = {f"feedback:{id_}" for id_ in record.feedback} | {f"retraction:{id_}" for id_ in record.retractions}
    all_ = {f"feedback:{id_}" for id_ in whole.feedback} | {f"retraction:{id_}" for id_ in whole.retractions}
    assert held | overflow == all_
    assert not held & overflow
    assert known.feedback.keys() <= record.feedback.keys()
    assert known.retractions.keys() <= record.retractions.keys()
    if overflow:
        assert len(held) == max(events_max, len(known.feedback) + len(known.retractions))


@given(records, records)
def test_admit_is_merge_while_there_is_room(known: Record, incoming: Record) -> None:
    """Below the cap the law is the plain union."""
    assert admit(known, incoming) == (merge(known, incoming), set())
    assert admit(None, incoming) == (incoming, set())
