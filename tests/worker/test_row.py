"""The row of a record: the rules of the join as tables, and its round trip through a sink."""

from typing import Any

import msgspec
import pytest
from events import NOON, RULES, at, feedback, prediction, record, records, retraction, single_records
from hypothesis import given
from hypothesis import strategies as st
from ruled import policy

from joinback_worker.law.joining import late_news
from joinback_worker.law.record import Record, merge
from joinback_worker.law.row import Row, project, project_any, project_plain, unfold
from joinback_worker.law.rules import Policy

DAY_S = 86_400
POLICY = Policy()


def row_of(**fields: bytes) -> Row:
    """`prediction_a=...` is the field `prediction:a`."""
    return project(record({name.replace("_", ":", 1): body for name, body in fields.items()}), POLICY)[0]


def folded(row: Row) -> Any:
    return None if row.feedback is None else msgspec.json.decode(row.feedback)


@given(records)
def test_a_row_holds_its_record(a: Record) -> None:
    """A sink can rebuild the record from the row: nothing is lost on the way."""
    if a.has_events:
        assert unfold(project(a, POLICY)[0]) == a


@given(records, records)
def test_merging_into_a_row_is_merging_the_records(a: Record, b: Record) -> None:
    """Feedback that finds only the row gives the same row as feedback that found the record."""
    if a.has_events:
        assert project(merge(unfold(project(a, POLICY)[0]), b), POLICY) == project(merge(a, b), POLICY)


@given(single_records, st.sampled_from(RULES), st.none() | st.integers(-1_000, 2_000))
def test_the_plain_way_is_the_law(a: Record, rules: dict[str, Any], age_s: int | None) -> None:
    """What nearly all records take, and what any record could take, give the same row and the same late feedback."""
    by = policy(None if age_s is None else at(age_s), **rules)
    assert project_plain(a, by) == project_any(a, by) == project(a, by)


@given(records, st.sampled_from(RULES))
def test_no_other_record_takes_the_plain_way(a: Record, rules: dict[str, Any]) -> None:
    """Whatever a record holds, its row is what the law in full says."""
    by = policy(at(2_000), **rules)
    assert project(a, by) == project_any(a, by)


def test_a_joined_row() -> None:
    """Prediction and feedback give one row with both sides, and the delay between them."""
    row = row_of(
        prediction_p=prediction(0, version="2", environment="production", tags={"region": "eu"}),
        feedback_f=feedback(90, repaid=True),
    )
    assert row.status == "joined"
    assert (row.inputs, row.outputs) == (b'{"a":1}', b"0.5")
    assert (row.version, row.environment, row.tags) == ("2", "production", b'{"region":"eu"}')
    assert folded(row) == {"repaid": True}
    assert row.predicted_at == row.logged_at == NOON
    assert row.feedback_at == row.first_feedback_at == at(90)
    assert row.feedback_delay_s == 90
    assert row.prediction_event_id == "p"
    assert row.conflicts is None


def test_a_prediction_alone() -> None:
    """Without feedback the row is there, and says so."""
    row = row_of(prediction_p=prediction())
    assert (row.status, row.feedback, row.feedback_delay_s) == ("predicted", None, None)


def test_an_orphan() -> None:
    """Feedback without a prediction is a row too."""
    row = row_of(feedback_f=feedback(a=1))
    assert (row.status, folded(row), row.inputs, row.feedback_delay_s) == ("orphan", {"a": 1}, None, None)


def test_the_first_prediction_wins() -> None:
    """By time, then event id; the others are listed whole, and no label is multiplied."""
    row = row_of(
        prediction_z=prediction(0, outputs="first"),
        prediction_b=prediction(1, outputs="later"),
        prediction_a=prediction(1, outputs="tie"),
    )
    assert row.outputs == b'"first"'
    assert row.conflicts is not None
    conflicts = msgspec.json.decode(row.conflicts)
    assert [(field, event["outputs"]) for field, event in conflicts.items()] == [
        ("prediction:a", "tie"),
        ("prediction:b", "later"),
    ]


def test_a_tie_goes_to_the_smaller_event_id() -> None:
    """Equal times are decided the same way everywhere."""
    assert row_of(prediction_b=prediction(outputs=2), prediction_a=prediction(outputs=1)).outputs == b"1"


def test_each_field_keeps_its_last_value() -> None:
    """Feedback events merge field by field, by their own times and not by arrival."""
    row = row_of(
        feedback_late=feedback(30, repaid=False, note="c"),
        feedback_early=feedback(10, repaid=True, days=3),
        feedback_mid=feedback(20, repaid=None),
    )
    assert folded(row) == {"repaid": False, "days": 3, "note": "c"}
    assert row.feedback_events is not None
    assert list(msgspec.json.decode(row.feedback_events)) == ["feedback:early", "feedback:mid", "feedback:late"]


def test_an_explicit_null_is_a_value() -> None:
    """Null overwrites; an absent field does not."""
    assert folded(row_of(feedback_a=feedback(1, x=1, y=1), feedback_b=feedback(2, x=None))) == {"x": None, "y": 1}


def test_feedback_may_precede_its_prediction() -> None:
    """A negative delay is legal and shown."""
    assert row_of(feedback_f=feedback(-60, a=1), prediction_p=prediction(0)).feedback_delay_s == -60


@pytest.mark.parametrize(
    ("taken_back", "left"),
    [
        (retraction(25), {"a": 3}),
        (retraction(20), {"a": 3}),
        (retraction(15), {"a": 3, "b": 2}),
        (retraction(25, ["a"]), {"a": 3, "b": 2}),
        (retraction(35, ["a"]), {"b": 2}),
        (retraction(25, ["b"]), {"a": 3}),
        # At the very moment of what it takes back.
        (retraction(20, ["b"]), {"a": 3}),
        (retraction(30, ["a"]), {"b": 2}),
        (retraction(25, []), {"a": 3, "b": 2}),
        (retraction(35), None),
    ],
)
def test_retraction(taken_back: bytes, left: dict[str, int] | None) -> None:
    """A retraction removes what its fields said up to its own time, inclusive; later feedback stands."""
    row = row_of(
        prediction_p=prediction(),
        feedback_1=feedback(10, a=1),
        feedback_2=feedback(20, b=2),
        feedback_3=feedback(30, a=3),
        retraction_r=taken_back,
    )
    assert folded(row) == left
    assert row.status == ("joined" if left else "predicted")
    assert row.feedback_events is not None
    assert len(msgspec.json.decode(row.feedback_events)) == 4


def test_a_clock_in_the_future_moves_nothing_else() -> None:
    """An event more than five minutes ahead of its client's clock is ordered by that clock, kept as sent, flagged."""
    wild = feedback(0, a="wild").replace(b'"at":"2026', b'"at":"2036')
    row = row_of(feedback_wild=wild, feedback_sane=feedback(10, a="sane"))
    assert folded(row) == {"a": "sane"}
    assert row.clock_skew
    assert row.feedback_events is not None
    assert b"2036" in row.feedback_events
    assert not row_of(feedback_f=feedback(0, a=1)).clock_skew


def test_five_minutes_ahead_is_no_skew() -> None:
    """The tolerance is inclusive."""
    event = {"v": 1, "at": at(300), "logged_at": at(0), "feedback": {"a": 1}}
    row = row_of(feedback_f=msgspec.json.encode(event))
    assert not row.clock_skew
    assert row.feedback_at == at(300)


def test_feedback_past_the_window_has_no_say() -> None:
    """Past the join window feedback is told as late, with its lateness, and does not join."""
    six_months = 180 * DAY_S
    events = {
        "prediction:p": prediction(0),
        "feedback:in": feedback(six_months, a=1),
        "feedback:out": feedback(six_months + 5, a=2),
    }
    row, late = project(record(events), POLICY)
    assert folded(row) == {"a": 1}
    assert [(event.field, event.reason, event.detail) for event in late] == [
        ("feedback:out", "after_window", "5 s after the join window")
    ]


def test_late_feedback_is_told_once() -> None:
    """Told when it comes, or when its prediction comes; not again with each later event."""
    late_record = record({"prediction:p": prediction(0), "feedback:out": feedback(181 * DAY_S, a=2)})
    _, late = project(late_record, POLICY)
    assert late_news(record({"feedback:out": feedback(181 * DAY_S, a=2)}), late) == late
    assert late_news(record({"prediction:p": prediction(0)}), late) == late
    assert late_news(record({"feedback:new": feedback(1, a=2)}), late) == []


MATURE = policy(at(1_100), maturity_s=1_000, feedback={"repaid": {"default": False}})


@pytest.mark.parametrize(
    ("seconds", "events", "status", "said", "is_default"),
    [
        (99, {}, "unlabelled", {"repaid": False}, True),
        (100, {}, "predicted", None, False),
        (0, {"feedback:f": feedback(500, repaid=True)}, "joined", {"repaid": True}, False),
        (0, {"feedback:f": feedback(50, a=1), "retraction:r": retraction(60)}, "unlabelled", {"repaid": False}, True),
    ],
)
def test_maturity(
    seconds: int, events: dict[str, bytes], status: str, said: dict[str, Any] | None, is_default: bool
) -> None:
    """A prediction older than the bound, without standing feedback, is unlabelled and says the default."""
    row, _ = project(record({"prediction:p": prediction(seconds)} | events), MATURE)
    assert (row.status, folded(row), row.default_fields == b'["repaid"]') == (status, said, is_default)
    assert unfold(row) == record({"prediction:p": prediction(seconds)} | events)


def test_maturity_without_a_default() -> None:
    """Unlabelled, and no feedback."""
    row, _ = project(record({"prediction:p": prediction(0)}), policy(at(1_100), maturity_s=1_000))
    assert (row.status, row.feedback, row.default_fields) == ("unlabelled", None, None)


def test_an_orphan_does_not_mature() -> None:
    """Without a prediction there is nothing to close."""
    assert project(record({"retraction:r": retraction(0)}), MATURE)[0].status == "orphan"


@pytest.mark.parametrize("year", [b"0001", b"9999"])
def test_the_ends_of_time(year: bytes) -> None:
    """Times at the ends of the calendar are folded like any other."""
    body = feedback(0, a=1).replace(b"2026", year)
    row = row_of(prediction_p=prediction(0), feedback_f=body)
    assert row.status in ("joined", "predicted")


ADS = policy(
    feedback={"bought": {"sources": ["human", "rule"]}, "n": {"type": "int", "reducer": "sum"}}, labels=["bought"]
)


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ({"feedback:f": feedback(1, "human", bought=1), "feedback:g": feedback(2, "model", bought=2)}, {"bought": 1}),
        ({"feedback:f": feedback(1, "rule", bought=1), "feedback:g": feedback(2, "human", bought=2)}, {"bought": 2}),
        ({"feedback:f": feedback(1, bought=1), "feedback:g": feedback(2, "who", bought=2)}, {"bought": 2}),
        ({"feedback:f": feedback(1, "human", n=1), "feedback:g": feedback(2, n="2")}, {"n": 3}),
        (
            {
                "feedback:f": feedback(1, "human", bought=1),
                "feedback:g": feedback(2, "rule", bought=2),
                "retraction:r": retraction(3, event_ids=["f"]),
            },
            {"bought": 2},
        ),
    ],
)
def test_the_best_source_is_believed(events: dict[str, bytes], said: dict[str, Any]) -> None:
    """Of several sources the best that stands; ties by time; all values together where sources are not ranked."""
    assert folded(project(record(events), ADS)[0]) == said


def test_the_delay_is_that_of_the_labels() -> None:
    """A fast signal is no label: neither the status nor the delay is its."""
    clicked = record({"prediction:p": prediction(), "feedback:f": feedback(1, clicked=True)})
    row, _ = project(clicked, ADS)
    assert (row.status, row.feedback_delay_s, row.first_feedback_at) == ("predicted", None, at(1))
    events = {
        "prediction:p": prediction(),
        "feedback:f": feedback(1, clicked=True),
        "feedback:g": feedback(9, bought=1),
    }
    row, _ = project(record(events), ADS)
    assert (row.status, row.feedback_delay_s) == ("joined", 9)
    assert row.field_times is not None
    assert msgspec.json.decode(row.field_times) == {
        "bought": {"first": "2026-11-23T12:00:09.000000Z", "last": "2026-11-23T12:00:09.000000Z"},
        "clicked": {"first": "2026-11-23T12:00:01.000000Z", "last": "2026-11-23T12:00:01.000000Z"},
    }


CLICKS = {"feedback:f": feedback(1, n=3), "feedback:g": feedback(2, n=400), "feedback:h": feedback(3, n=2)}


@pytest.mark.parametrize(
    ("retractions", "total"),
    [
        ({}, 405),
        ({"retraction:r": retraction(4, event_ids=["g"])}, 5),
        ({"retraction:r": retraction(4, event_ids=["g"]), "retraction:u": retraction(5, retraction_ids=["r"])}, 405),
        ({"retraction:r": retraction(4, event_ids=["g", "h"])}, 3),
        # Up to its time, as one without names; and that taken back.
        ({"retraction:r": retraction(2)}, 2),
        ({"retraction:r": retraction(2), "retraction:u": retraction(3, retraction_ids=["r"])}, 405),
        # An earlier one cannot, and none itself.
        ({"retraction:r": retraction(4, event_ids=["g"]), "retraction:u": retraction(3, retraction_ids=["r"])}, 5),
        ({"retraction:r": retraction(4, event_ids=["g"], retraction_ids=["r"])}, 5),
        # Taken back, and that taken back: it stands again.
        (
            {
                "retraction:r": retraction(4, event_ids=["g"]),
                "retraction:u": retraction(5, retraction_ids=["r"]),
                "retraction:v": retraction(6, retraction_ids=["u"]),
            },
            5,
        ),
        ({"retraction:r": retraction(4, event_ids=[])}, 405),
    ],
)
def test_one_event_can_be_taken_back(retractions: dict[str, bytes], total: int) -> None:
    """A retraction that names events takes back these alone, and may itself be taken back by a later one."""
    row, _ = project(record({"prediction:p": prediction()} | CLICKS | retractions), ADS)
    assert folded(row) == {"n": total}
