"""log_records loses nothing and invents nothing: room, ids, times, keys, missing cells, wrong columns."""

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import numpy as np
import pandas as pd
import polars
import pyarrow
import pytest
from conftest import PATIENCE_S, Stack
from events import NOON
from hypothesis import given
from hypothesis import strategies as st
from ruled import policy

import joinback
from joinback._delivery.buffer import PATIENT_SHARE, Buffer
from joinback.drops import NotLogged
from joinback.patience import Patience
from joinback.sampling import keeps
from joinback.settings import Settings
from joinback.testing import Event, capture
from joinback_worker.law.record_hash import read_hash
from joinback_worker.law.row import project

NOWHERE = "redis://127.0.0.1:1/0"
NAN = float("nan")


@pytest.fixture
def offline() -> Iterator[joinback.Client]:
    client = joinback.Client().init(NOWHERE)
    yield client
    client.close(0)


def logged(client: joinback.Client, **columns: Any) -> list[Event]:
    with capture(client) as events:
        client.log_records("loans", **columns)
    return events


def dropped(client: joinback.Client) -> dict[str, int]:
    return {reason: number for reason, number in client.stats()["dropped"].items() if number}


# --- room -------------------------------------------------------------------------------------------------


def test_more_events_than_the_buffer_holds(settings: Settings) -> None:
    """A call of many times the buffer's events waits for Redis as it goes, and all of them arrive."""
    client = joinback.Client().init(settings.redis_url, buffer_events_max=1_000, strict=True)
    number = 20_000
    keys = client.log_records("loans", inputs=range(number), outputs=range(number), feedback=[{"y": 1}] * number)
    assert len(set(keys)) == number
    assert client.flush(PATIENCE_S)
    assert (client.stats()["sent"], dropped(client)) == (number * 2, {})
    client.close()


def test_more_bytes_than_the_buffer_holds(settings: Settings) -> None:
    """Twenty features a record fill the buffer by bytes, and wait all the same; so does an event of nearly 1 MiB."""
    client = joinback.Client().init(settings.redis_url, buffer_bytes_max=2 << 20, strict=True)
    frame = pd.DataFrame(np.random.default_rng(1).random((10_000, 20)), columns=[f"f{n}" for n in range(20)])
    client.log_records("loans", inputs=frame, outputs=[0.5] * 10_000)
    client.log_records("loans", inputs=["x" * 1_000_000] * 20, outputs=[0.5] * 20)
    assert client.flush(PATIENCE_S)
    assert (client.stats()["sent"], dropped(client)) == (10_020, {})
    client.close()


def test_patience_ends(caplog: pytest.LogCaptureFixture) -> None:
    """While Redis is away the call ends after `wait_s`; what had no room is counted, and the log says so at once."""
    client = joinback.Client().init(NOWHERE, buffer_events_max=1_000)
    keys = client.log_records("loans", inputs=range(3_000), outputs=range(3_000), wait_s=0.1)
    assert len(set(keys)) == 3_000
    assert (dropped(client), client.stats()["buffered"]) == ({"buffer_full": 2_100}, 900)
    assert "dropped an event (buffer_full): the buffer is full and nothing left it for 0.1 s" in caplog.text
    # Not a wait for each of the records: the patience was the call's.
    client.close(0)


def test_patience_ends_if_strict() -> None:
    """With strict=True a record without room raises, and the message says how many were logged."""
    client = joinback.Client().init(NOWHERE, buffer_events_max=1_000, strict=True)
    with pytest.raises(joinback.InvalidEvent, match=r"record 901 of 3000: the buffer is full .* were logged"):
        client.log_records("loans", inputs=range(3_000), outputs=range(3_000), wait_s=0)
    assert client.stats()["logged"] == 900
    client.close(0)


def test_others_have_room_meanwhile(wait_until: Callable[..., None]) -> None:
    """A call that waits leaves a quarter of the buffer to what other threads log; and close() ends its wait."""
    client = joinback.Client().init(NOWHERE, buffer_events_max=1_000)
    call = threading.Thread(
        target=client.log_records,
        args=("loans",),
        kwargs={"inputs": range(2_000), "outputs": range(2_000), "wait_s": 60.0},
    )
    call.start()
    wait_until(lambda: client.stats()["buffered"] == 1_000 * PATIENT_SHARE)
    client.log_record("ads", inputs=1, outputs=1, join_key="a")
    client.log_record("ads", feedback={"y": 1}, join_key="a")
    assert (client.stats()["buffered"], dropped(client)) == (752, {})
    client.close(0)
    call.join(20)
    assert not call.is_alive()
    stats = client.stats()
    assert stats["logged"] == sum(stats["dropped"].values()) == 2_002


class SlowBuffer(Buffer):
    """From which one event leaves each 20 seconds of a clock of its own; or none, once it is stuck."""

    clock_s = 0.0
    is_stuck = False

    def wait_freed(self, freed_events: int, timeout_s: float) -> None:
        self.clock_s += min(timeout_s, 20)
        if not self.is_stuck:
            self.free(self.take(1, 10))


def test_patience_is_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever leaves the buffer shows that somebody is at work: the wait begins anew, however long the call is."""
    buffer = SlowBuffer(events_max=4, bytes_max=1_000, wake_at=100)
    monkeypatch.setattr("joinback.patience.time.monotonic", lambda: buffer.clock_s)
    patience, event = Patience(wait_s=30), ("loans", "k", "feedback:1", b"{}")
    for _ in range(20):
        buffer.wait_for_room(2, True, patience)
        buffer.put(event, 2, True)
    assert (buffer.clock_s, buffer.stats()["dropped"]["buffer_full"]) == (17 * 20, 0)
    buffer.is_stuck = True
    for _ in range(2):
        with pytest.raises(NotLogged, match="full"):
            buffer.wait_for_room(2, True, patience)
    # Once for the call, and not for each of its records.
    assert buffer.clock_s == 17 * 20 + 30
    # Feedback may fill what predictions may not.
    buffer.wait_for_room(2, False, patience)
    buffer.is_stuck = False
    buffer.free(buffer.take(1, 10))
    buffer.wait_for_room(2, True, patience)


def test_who_waits_is_woken() -> None:
    """What leaves the buffer wakes the one who waits for it, also if it went to the spool and is not settled."""
    buffer = Buffer(events_max=4, bytes_max=1_000, wake_at=100)
    for _ in range(3):
        buffer.put(("loans", "k", "feedback:1", b"{}"), 2, False)

    waiting = threading.Thread(target=buffer.wait_for_room, args=(2, True, Patience(wait_s=3_600)), daemon=True)
    waiting.start()
    assert buffer.wake.wait(PATIENCE_S)
    buffer.free(buffer.take(1, 10))
    waiting.join(20)
    assert not waiting.is_alive()


def test_the_spool_makes_room(tmp_path: Path) -> None:
    """With a spool a call without Redis fills the disk, not its patience: the spooling begins below its share."""
    client = joinback.Client().init(NOWHERE, buffer_events_max=1_000, spool_dir=tmp_path)
    client.log_records("loans", inputs=range(5_000), outputs=range(5_000), wait_s=20)
    assert (client.stats()["buffered"], dropped(client)) == (5_000, {})
    client.close(0)


def test_an_event_larger_than_the_share_goes_alone() -> None:
    """An event that would never fit into a call's share of the buffer is taken when nothing else waits."""
    buffer = SlowBuffer(events_max=10, bytes_max=100, wake_at=100)
    buffer.wait_for_room(90, False, Patience(wait_s=60))
    assert buffer.clock_s == 0


@pytest.mark.parametrize("wait_s", [-1, NAN, "5", None])
def test_a_wrong_wait(offline: joinback.Client, wait_s: Any) -> None:
    """A wait that is no number of seconds is told, not guessed."""
    with capture(offline), pytest.raises(joinback.InvalidEvent, match="wait_s must be a number of seconds"):
        offline.log_records("loans", inputs=[1], outputs=[1], wait_s=wait_s)


def test_closed_or_misconfigured(monkeypatch: pytest.MonkeyPatch) -> None:
    """After close() each record is counted, and its key comes back; a name that is none is one drop."""
    client = joinback.Client().init(NOWHERE)
    client.close(0)
    assert client.log_records("loans", inputs=[1, 2], outputs=[1, 2], join_keys=["a", "b"]) == ["a", "b"]
    assert dropped(client) == {"closed": 2}
    assert client.log_records("", inputs=[1, 2], outputs=[1, 2]) == []
    assert dropped(client) == {"closed": 2, "invalid": 1}
    monkeypatch.setenv("JOINBACK_REDIS_URL", "http://nowhere")
    unset = joinback.Client()
    unset.log_records("loans", inputs=[1, 2], outputs=[1, 2])
    assert dropped(unset) == {"misconfigured": 2}


# --- ids, versions, tags ------------------------------------------------------------------------------------


def test_a_cell_run_twice(stack: Stack) -> None:
    """With event_ids a repeated call is duplicates: no conflict, no second label."""
    frame = pd.DataFrame({"id": [1, 2], "amount": [900, 100], "repaid": [True, False]})
    for _ in range(2):
        stack.client.log_records(
            "loans",
            inputs=frame[["amount"]],
            outputs=[0.1, 0.2],
            feedback=frame["repaid"],
            join_keys=frame["id"],
            event_ids="backfill-" + frame["id"].astype(str),
        )
    stack.drain()
    assert [(row["join_key"], row["conflicts"]) for row in stack.rows()] == [("1", None), ("2", None)]
    assert stack.books().duplicates == 4
    assert '"feedback:backfill-1"' in stack.row("1")["feedback_events"]


def test_versions_and_tags_are_columns_too(offline: joinback.Client) -> None:
    """Rows of several models need one call; tags are one dict for all, or a column in which a gap is no tag."""
    events = logged(
        offline,
        inputs=[1, 2, 3],
        outputs=[1, 2, 3],
        feedback=[None, None, {"y": 1}],
        versions=pd.Series(["1.0", "2.0", None], name="model"),
        tags=pd.DataFrame({"shop": ["s1", None, "s3"], "day": [1, 2, 3]}),
    )
    assert [(event.version, event.tags) for event in events] == [
        ("1.0", {"shop": "s1", "day": 1}),
        ("2.0", {"day": 2}),
        (None, {"shop": "s3", "day": 3}),
        (None, {"shop": "s3", "day": 3}),
    ]
    assert [e.version for e in logged(offline, inputs=[1, 2, 3], outputs=[1, 2, 3], versions=[1, 1.5, "x"])] == [
        "1",
        "1.5",
        "x",
    ]
    (event,) = logged(offline, inputs=[1], outputs=[1], version=1, tags={"shop": "s1"})
    assert (event.version, event.tags) == ("1", {"shop": "s1"})


def test_samples_are_those_of_single_calls(offline: joinback.Client) -> None:
    """Predictions follow the rate that this process was told, feedback the published one, as in log_record."""
    keys = [f"k{n}" for n in range(200)]
    offline.set_sample_rate("ads", 0.3)
    assert offline.log_records("ads", inputs=keys, outputs=keys, join_keys=keys) == keys
    assert offline.stats()["buffered"] == sum(keeps("ads", key, 0.3) for key in keys)
    offline._funnel._rates._published["loans"] = 0.2
    before = offline.stats()["buffered"]
    offline.log_records("loans", feedback=[{"y": 1}] * 200, join_keys=keys)
    assert offline.stats()["buffered"] - before == sum(keeps("loans", key, 0.2) for key in keys)


# --- times --------------------------------------------------------------------------------------------------

FOUR = datetime(2026, 1, 2, 4, tzinfo=UTC)


@pytest.mark.parametrize(
    "column",
    [
        ["2026-01-02T04:00:00Z"],
        [" 2026-01-02 05:00+01:00 "],
        ["20260102T040000"],
        pd.Series(["2026-01-02T04:00:00.000000000Z"]),
        pd.Series(pd.to_datetime(["2026-01-02T06:00+02:00"])),
        pd.array(pd.to_datetime(["2026-01-02T04"], utc=True)),
        np.array(["2026-01-02T04"], dtype="M8[ns]"),
        [np.datetime64("2026-01-02T04", "ns")],
        polars.Series("t", [datetime(2026, 1, 2, 4)]),  # noqa: DTZ001
        pyarrow.array([datetime(2026, 1, 2, 5, tzinfo=timezone(timedelta(hours=1)))]),
        pyarrow.chunked_array([["2026-01-02T04:00"]]),
    ],
    ids=lambda column: type(column).__name__,
)
def test_times(offline: joinback.Client, column: Any) -> None:
    """Datetimes of any library and ISO 8601 text are times; without a zone they are UTC."""
    (event,) = logged(offline, inputs=[1], outputs=[1], timestamps=column)
    assert event.at == FOUR


@pytest.mark.parametrize("column", [["2026-01-02"], ["20260102"], [date(2026, 1, 2)], ["2026-W01-5"]])
def test_days(offline: joinback.Client, column: Any) -> None:
    """A day is its midnight in UTC."""
    (event,) = logged(offline, inputs=[1], outputs=[1], timestamps=column)
    assert event.at == datetime(2026, 1, 2, tzinfo=UTC)


# --- missing cells ------------------------------------------------------------------------------------------

LABELS = [
    pd.DataFrame({"y": [1.0, NAN], "z": [None, None]}),
    pd.DataFrame({"y": pd.array([1, None], dtype="Int64")}),
    pd.DataFrame({"y": pd.array([1, None], dtype="int64[pyarrow]")}),
    pd.DataFrame({"y": pd.Categorical([1, None])}),
    pd.DataFrame({"y": pd.arrays.SparseArray([1.0, NAN])}),
    pd.DataFrame({"y": np.array([1, None], dtype=object)}),
    pd.DataFrame({"y": [1, 2], "t": pd.to_datetime([None, None])}).assign(y=[1, None]),
    pd.Series([1, None], name="y"),
    pd.Series([1, None], name="y", dtype="Int8"),
    pd.Series([{"y": 1}, None]),
    polars.DataFrame({"y": [1, None]}),
    polars.DataFrame({"y": [1.0, NAN]}),
    polars.Series("y", [1, None]),
    pyarrow.table({"y": [1, None], "z": pyarrow.nulls(2)}),
    pyarrow.RecordBatch.from_pydict({"y": [1, None]}),
    np.array([(1.0,), (NAN,)], dtype=[("y", "f8")]),
    np.array([{"y": 1}, None], dtype=object),
    [{"y": 1, "z": np.float32(NAN), "t": np.datetime64("NaT", "ns")}, {"y": NAN}],
    [{"y": 1, "z": pd.NA, "t": pd.NaT}, {"y": Decimal("nan")}],
    [{"y": 1}, None],
    [{"y": 1}, {}],
]


@pytest.mark.parametrize("column", LABELS, ids=lambda column: type(column).__name__)
def test_a_missing_label_says_nothing(offline: joinback.Client, column: Any) -> None:
    """A missing cell is left out of its feedback, and a record without any label is no feedback at all."""
    events = logged(offline, inputs=[1, 2], outputs=[1, 2], feedback=column, join_keys=["a", "b"])
    assert [(e.kind, e.join_key, e.feedback) for e in events if e.kind == "feedback"] == [("feedback", "a", {"y": 1})]
    assert [e.join_key for e in events if e.kind == "prediction"] == ["a", "b"]
    with capture(offline) as events:
        assert offline.log_records("loans", feedback=column, join_keys=["a", "b"]) == ["a", "b"]
    assert [e.feedback for e in events] == [{"y": 1}]


def test_a_label_that_is_false(offline: joinback.Client) -> None:
    """0, False and "" are labels; an explicit None in a dict is the value null, in a Series of dicts too."""
    rows: list[Any] = [{"y": 0}, {"y": False}, {"y": ""}, {"y": None}, {"y": [None]}]
    for column in (rows, pd.Series(rows)):
        events = logged(offline, feedback=column, join_keys=list("abcde"))
        assert [event.feedback for event in events] == rows


def test_missing_features_are_null(offline: joinback.Client) -> None:
    """A gap among inputs and outputs is a null of the prediction, whatever table it stands in."""
    columns = [
        pd.Series([0.5, NAN]),
        pd.Series([0.5, None], dtype=object),
        pd.Series([0.5, None], dtype="Float64"),
        polars.Series([0.5, None]),
        pyarrow.array([0.5, None]),
        np.array([0.5, None], dtype=object),
    ]
    for column in columns:
        events = logged(offline, inputs=column, outputs=column)
        assert [(event.inputs, event.outputs) for event in events] == [(0.5, 0.5), (None, None)]


def test_labels_that_come_day_by_day(stack: Stack) -> None:
    """Tomorrow's table of labels erases nothing of today's, and a prediction without labels stays unlabelled."""
    client = stack.client
    client.log_records("loans", inputs=[1, 2], outputs=[1, 2], join_keys=["a", "b"])
    client.log_records(
        "loans", feedback=pd.DataFrame({"clicked": [1, NAN], "bought": [NAN, NAN]}), join_keys=["a", "b"]
    )
    client.log_records(
        "loans", feedback=pd.DataFrame({"clicked": [NAN, NAN], "bought": [True, None]}), join_keys=["a", "b"]
    )
    stack.drain()
    assert msgspec.json.decode(stack.row("a")["feedback"]) == {"clicked": 1, "bought": True}
    assert (stack.row("b")["status"], stack.row("b")["feedback"]) == ("predicted", None)


# --- keys ---------------------------------------------------------------------------------------------------

UUID_7 = UUID(int=7)


@pytest.mark.parametrize(
    ("column", "keys"),
    [
        (["01007", "1007.0"], ["01007", "1007.0"]),
        ([1007, np.int64(1008)], ["1007", "1008"]),
        ([np.uint8(7), UUID_7], ["7", str(UUID_7)]),
        ([Decimal(1007), Decimal("1008.00")], ["1007", "1008"]),
        (pd.Series([1007.0, 2.0**53 - 1]), ["1007", "9007199254740991"]),
        (np.array([7, 8]), ["7", "8"]),
        (np.array(["a", "b"]), ["a", "b"]),
        (pd.Series(pd.Categorical([7, 8])), ["7", "8"]),
        (polars.Series([7, 8]), ["7", "8"]),
        (pyarrow.array([7, 8]), ["7", "8"]),
    ],
    ids=str,
)
def test_a_key_is_its_text(offline: joinback.Client, column: Any, keys: list[str]) -> None:
    """Any integral key is its digits, so that it meets the one that a service logged; text stays as it is."""
    events = logged(offline, feedback=[{"y": 1}] * 2, join_keys=column)
    assert [event.join_key for event in events] == keys


def test_a_missing_key(offline: joinback.Client) -> None:
    """A prediction without a key gets one; one empty id beside it turns no other into a fraction."""
    keys = offline.log_records("loans", inputs=[1, 2, 3], outputs=[1, 2, 3], join_keys=pd.Series([1007, None, 1009]))
    assert (keys[0], len(keys[1]), keys[2]) == ("1007", 32, "1009")
    assert offline.log_records("loans", inputs=[1, None], outputs=[1, None], join_keys=["a", ""]) == ["a", ""]
    assert offline.stats()["logged"] == 4


FEEDBACK: dict[str, Any] = {"feedback": [{"y": 1}] * 3}
PREDICTIONS: dict[str, Any] = {"inputs": [1, 2, 3], "outputs": [1, 2, 3]}
WRONG: list[tuple[dict[str, Any], str]] = [
    (FEEDBACK | {"join_keys": pd.Series([1, NAN, 3])}, r"join_keys: 1 of 3 .* index 1: missing, and feedback needs"),
    (FEEDBACK | {"join_keys": ["a", "b", ""]}, "join_keys: 1 of 3 .* index 2: missing"),
    (FEEDBACK, "join_keys: 3 of 3 .* index 0: missing"),
    (FEEDBACK | {"join_keys": pd.Series([1, 2.5, 3.5])}, "join_keys: 2 of 3 .* index 1: a float with a fraction; read"),
    (FEEDBACK | {"join_keys": [1, 2, 2.0**53]}, "join_keys: 1 of 3 .* index 2: a float that has lost digits"),
    (
        {"feedback": pd.DataFrame({"y": [1, 2]}, index=[2, 1]), "join_keys": pd.Series(["a", "b"], index=[1, 2])},
        "feedback and join_keys have one index in two orders; bring them into one order",
    ),
    (FEEDBACK | {"join_keys": np.ones(3, "f4")}, "join_keys is float32, which has lost digits"),
    (FEEDBACK | {"join_keys": [1, 2, float("inf")]}, "a float that has lost digits"),
    (FEEDBACK | {"join_keys": [Decimal("1.5"), 1, Decimal("inf")]}, "2 of 3 .* a Decimal with a fraction"),
    (FEEDBACK | {"join_keys": [1, True, np.True_]}, "join_keys: 2 of 3 .* index 1: it is of type bool; use integers"),
    (FEEDBACK | {"join_keys": [b"a", ("a",), None]}, "join_keys: 2 of 3 .* index 0: it is of type bytes"),
    (FEEDBACK | {"join_keys": ["a", "b\n", "c" * 2_000]}, "join_keys: 2 of 3 .* index 1: it must be printable text"),
    (FEEDBACK | {"join_keys": pd.DataFrame({"id": [1, 2, 3]})}, "join_keys is a whole DataFrame; give one column"),
    (
        PREDICTIONS | {"timestamps": ["2026-01-02", "today", "1612120112345"]},
        "timestamps: 2 of 3 .* index 1: the text is not",
    ),
    (PREDICTIONS | {"timestamps": [1_700_000_000] * 3}, "timestamps: 3 of 3 .* index 0: it is of type int"),
    (PREDICTIONS | {"timestamps": [NOON, NOON, "2026-13-01"]}, "timestamps: 1 of 3 .* index 2"),
    (PREDICTIONS | {"event_ids": ["a", None, "c"]}, "event_ids: 1 of 3 .* index 1: missing; give each record its own"),
    (PREDICTIONS | {"event_ids": ["a", "b", "c" * 2_000]}, "event_ids: 1 of 3 .* printable text of 1 to"),
    (PREDICTIONS | {"versions": [1, [2], "3"]}, "versions: 1 of 3 .* index 1: it is of type list"),
    (PREDICTIONS | {"versions": [1, 2, 3], "version": "1"}, "give version or versions, not both"),
    (PREDICTIONS | {"tags": ["a", {"b": 1}, None]}, "tags: 1 of 3 .* index 0"),
    (PREDICTIONS | {"feedback": [{"y": 1}, 5, "x"]}, "feedback: 2 of 3 .* index 1: a value of type int has no name"),
    (PREDICTIONS | {"feedback": np.array([1, 2, 3])}, "feedback: 3 of 3 .* index 0: .* a Series with a name"),
    ({"inputs": [1, 2, 3]}, "outputs: 3 of 3 .* index 0: a prediction needs both"),
    ({"outputs": [1, 2, 3]}, "inputs: 3 of 3 .* a prediction needs both"),
    ({"inputs": [1, 2, 3], "outputs": [1, None, 3]}, "outputs: 1 of 3 .* index 1: a prediction needs both"),
    ({"join_keys": [1, 2, 3]}, "nothing to log"),
    (PREDICTIONS | {"join_keys": iter("abc")}, r"join_keys must be a list.*; make one with list\(…\)"),
    (PREDICTIONS | {"feedback": {"y": [1, 2, 3]}}, r"feedback must be a list.*; make one .*pandas.DataFrame\(…\)"),
    (
        PREDICTIONS | {"feedback": polars.LazyFrame({"y": [1, 2, 3]})},
        r"must be a list.*; collect\(\) it first",
    ),
    (
        PREDICTIONS | {"feedback": pyarrow.Table.from_arrays([pyarrow.array([1] * 3)] * 2, names=["y", "y"])},
        "several columns of one name",
    ),
]


@pytest.mark.parametrize(("columns", "told"), WRONG, ids=[told[:40] for _, told in WRONG])
def test_a_wrong_column_is_one_error(offline: joinback.Client, columns: dict[str, Any], told: str) -> None:
    """A column with wrong cells is one drop that counts and places them, without their values; nothing is logged."""
    with capture(offline) as events, pytest.raises(joinback.InvalidEvent, match=told):
        offline.log_records("loans", **columns)
    assert events == []
    assert offline.log_records("loans", **columns) == []
    assert (offline.stats()["buffered"], dropped(offline)) == (0, {"invalid": 1})


def test_a_wrong_value_is_its_records(offline: joinback.Client) -> None:
    """A value that is no JSON drops its own event; if strict, the message says which record it is."""
    inputs = [1, object(), 3]
    assert offline.log_records("loans", inputs=inputs, outputs=[1] * 3, join_keys=["a", "b", "c"]) == ["a", "b", "c"]
    assert (offline.stats()["buffered"], dropped(offline)) == (2, {"unencodable": 1})
    with capture(offline) as events, pytest.raises(joinback.InvalidEvent, match="record 2 of 3: inputs: an object"):
        offline.log_records("loans", inputs=inputs, outputs=[1] * 3)
    assert len(events) == 1


# --- a table and its rows ---------------------------------------------------------------------------------------

_features = st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False) | st.text(max_size=3)
_labels = st.dictionaries(st.sampled_from("abc"), _features, min_size=1)
_keys = st.integers() | st.uuids() | st.text("abc", min_size=1, max_size=3)
_rows = st.lists(
    st.fixed_dictionaries(
        {
            "side": st.sampled_from(["prediction", "feedback", "both"]),
            "inputs": st.dictionaries(st.sampled_from("xy"), _features),
            "outputs": _features.filter(lambda value: value is not None),
            "feedback": _labels,
            "join_key": _keys,
            "event_id": st.text("ef", min_size=1, max_size=3),
            "timestamp": st.none() | st.datetimes(timezones=st.just(UTC)),
            "version": st.none() | st.integers(0, 9) | st.sampled_from(["a", 1.5]),
            "tags": st.none() | st.dictionaries(st.sampled_from("st"), st.text(max_size=2), min_size=1),
        }
    ),
    max_size=8,
)


def told(events: list[Event]) -> list[dict[str, Any]]:
    """Events without what the clock adds."""
    found = []
    for event in events:
        fields = msgspec.to_builtins(event)
        if event.at == event.logged_at:
            del fields["at"]
        found.append({name: value for name, value in fields.items() if name != "logged_at"})
    return found


@given(_rows)
def test_a_table_is_its_rows_one_by_one(rows: list[dict[str, Any]]) -> None:
    """log_records is log_record for each row, for whatever a list of Python's values can hold."""
    client = joinback.Client()
    hidden = {"prediction": ("feedback",), "feedback": ("inputs", "outputs"), "both": ()}
    rows = [{name: None if name in hidden[row["side"]] else value for name, value in row.items()} for row in rows]
    with capture(client) as one_by_one:
        keys = [client.log_record("loans", **{k: v for k, v in row.items() if k != "side"}) for row in rows]
    names = {"join_key": "join_keys", "event_id": "event_ids", "timestamp": "timestamps", "version": "versions"}
    columns = {names.get(name, name): [row[name] for row in rows] for name in rows[0] if name != "side"} if rows else {}
    with capture(client) as at_once:
        assert client.log_records("loans", **(columns or {"inputs": [], "outputs": []})) == keys
    assert told(at_once) == told(one_by_one)
    # The order of one record's events is that of the rows.
    assert all(a.logged_at <= b.logged_at for a, b in pairwise(at_once))


_cells = st.none() | st.integers(0, 3)
_tables = st.lists(
    st.lists(st.tuples(st.sampled_from("kl"), _cells, _cells, st.integers(0, 5)), min_size=1, max_size=5), max_size=4
)
MAKERS: dict[str, Callable[[dict[str, list[Any]]], Any]] = {
    "pandas": pd.DataFrame,
    "Int64": lambda data: pd.DataFrame(data).astype("Int64"),
    "polars": lambda data: polars.DataFrame(data, schema={"a": polars.Int64, "b": polars.Int64}),
    "arrow": lambda data: pyarrow.table({name: pyarrow.array(items, "int64") for name, items in data.items()}),
}


def rows_of(events: list[Event]) -> dict[str, Any]:
    """What the law makes of the feedback of these events, by join key."""
    found: dict[str, dict[str, bytes]] = {}
    for event in events:
        body = {"v": 1, "at": event.at, "logged_at": event.logged_at, "feedback": event.feedback}
        found.setdefault(event.join_key, {})[f"feedback:{event.event_id}"] = msgspec.json.encode(body)
    window = policy(join_window_s=1_000)
    rows = [project(read_hash("loans", key, fields.items()).record, window)[0] for key, fields in found.items()]
    return {row.join_key: (row.status, msgspec.json.decode(row.feedback or b"null")) for row in rows}


@pytest.mark.parametrize("kind", MAKERS)
@given(tables=_tables)
def test_missing_cells_change_no_fold(kind: str, tables: list[list[tuple[str, Any, Any, int]]]) -> None:
    """However tables of labels overlap, their rows are those of the cells that are there, said one by one."""
    client = joinback.Client()
    spoken: dict[str, dict[str, Any]] = {}
    last: dict[tuple[str, str], tuple[datetime, int, Any]] = {}
    with capture(client) as events:
        for number, table in enumerate(tables):
            times = [NOON + timedelta(seconds=second) for _, _, _, second in table]
            ids = [f"{number}-{n}" for n in range(len(table))]
            frame = MAKERS[kind]({"a": [row[1] for row in table], "b": [row[2] for row in table]})
            client.log_records(
                "loans", feedback=frame, join_keys=[row[0] for row in table], timestamps=times, event_ids=ids
            )
            for (key, a, b, _), at, event_id in zip(table, times, ids, strict=True):
                for field, cell in (("a", a), ("b", b)):
                    if cell is not None:
                        last[key, field] = max(last.get((key, field), (at, "", None)), (at, event_id, cell))
    for (key, field), (_, _, cell) in last.items():
        spoken.setdefault(key, {})[field] = cell
    assert rows_of(events) == {key: ("orphan", fields) for key, fields in spoken.items()}
