"""log_records with every kind of column: lists, frames, series, arrays."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest

import joinback
from joinback.testing import Event, capture

NOWHERE = "redis://127.0.0.1:1/0"


@pytest.fixture
def offline() -> Iterator[joinback.Client]:
    client = joinback.Client().init(NOWHERE)
    yield client
    client.close(0)


def logged(client: joinback.Client, **columns: Any) -> list[Event]:
    with capture(client) as events:
        client.log_records("loans", **columns)
    return events


FRAME = pd.DataFrame(
    {"amount": [900, 100], "rate": [0.5, np.nan], "kind": pd.Categorical(["car", "house"]), "new": [True, False]},
    index=[7, 3],
)
ROWS = [
    {"amount": 900, "rate": 0.5, "kind": "car", "new": True},
    {"amount": 100, "rate": None, "kind": "house", "new": False},
]


def test_a_frame_is_its_rows(offline: joinback.Client) -> None:
    """Each row is an object with the types of its columns: no integer becomes a float, and NaN is null."""
    events = logged(offline, inputs=FRAME, outputs=FRAME[["rate"]], join_keys=["a", "b"])
    assert [event.inputs for event in events] == ROWS
    assert [event.outputs for event in events] == [{"rate": 0.5}, {"rate": None}]
    assert [type(event.inputs["amount"]) for event in events] == [int, int]


@pytest.mark.parametrize(
    ("column", "values"),
    [
        (pd.Series([1, 2], name="default"), [{"default": 1}, {"default": 2}]),
        (pd.Series([1, 2]), [1, 2]),
        (pd.Series([{"a": 1}, {"a": 2}], name="features"), [{"a": 1}, {"a": 2}]),
        (pd.Series(pd.to_datetime(["2026-01-02", None])), ["2026-01-02T00:00:00Z", None]),
        (pd.Series([1, None], dtype="Int64"), [1, None]),
        (pd.DataFrame([[1, 2], [3, 4]]), [{"0": 1, "1": 2}, {"0": 3, "1": 4}]),
        (np.array([0.5, np.inf]), [0.5, None]),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (np.array([{"a": 1}, "x"], dtype=object), [{"a": 1}, "x"]),
        (np.array(["2026-01-02T03", "2026-01-03"], dtype="M8[ns]"), ["2026-01-02T03:00:00Z", "2026-01-03T00:00:00Z"]),
        ([np.float32(0.5), {"a": None}], [0.5, {"a": None}]),
        ((1, 2), [1, 2]),
        (range(2), [0, 1]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_each_column_becomes(offline: joinback.Client, column: Any, values: list[Any]) -> None:
    """The rules of the table in `joinback.columns`, row by row."""
    events = logged(offline, inputs=column, outputs=column, join_keys=["a", "b"])
    assert [event.inputs for event in events] == values
    assert [event.outputs for event in events] == values


def test_a_polars_frame_is_its_rows_too(offline: joinback.Client) -> None:
    """A frame of polars, whose iteration goes by columns, is rows all the same; its Series are as pandas'."""
    import polars

    frame = polars.DataFrame({"amount": [900, 100], "kind": ["car", None]})
    events = logged(offline, inputs=frame, outputs=polars.Series([0.1, 0.2]), join_keys=polars.Series("id", ["a", "b"]))
    assert [event.inputs for event in events] == [{"amount": 900, "kind": "car"}, {"amount": 100, "kind": None}]
    assert [(event.outputs, event.join_key) for event in events] == [(0.1, "a"), (0.2, "b")]


def test_keys_and_times_are_values(offline: joinback.Client) -> None:
    """A named Series of keys or times is its values, and a missing one is as if it were not given."""
    times = pd.Series(pd.to_datetime(["2026-01-02T03:04:05.123456", None]), name="when")
    events = logged(
        offline,
        feedback=pd.DataFrame({"repaid": [True, False]}),
        join_keys=pd.Series([17, 18], name="loan_id"),
        timestamps=times,
    )
    assert [(event.join_key, event.feedback) for event in events] == [
        ("17", {"repaid": True}),
        ("18", {"repaid": False}),
    ]
    assert events[0].at == datetime(2026, 1, 2, 3, 4, 5, 123456, tzinfo=UTC)
    assert events[1].at == events[1].logged_at
    indexed = logged(offline, inputs=[1, 2], outputs=[1, 2], timestamps=pd.DatetimeIndex(["2026-01-02", "2026-01-03"]))
    assert [event.at.day for event in indexed] == [2, 3]
    assert len({event.join_key for event in indexed}) == 2
    nameless = logged(offline, inputs=[1, 2], outputs=[1, 2], join_keys=pd.Series(["a", None], name="id"))
    assert nameless[0].join_key == "a"
    assert len(nameless[1].join_key) == 32


@pytest.mark.parametrize("column", ["ab", b"ab", {"a": 1}, 7, iter([1, 2]), {1, 2}, np.array(5), object()])
def test_what_is_no_column(offline: joinback.Client, column: Any) -> None:
    """Text, a dict or an iterator is refused as a whole, with a message that says what would do."""
    with capture(offline), pytest.raises(joinback.InvalidEvent, match="inputs must be a list, a DataFrame, a Series"):
        offline.log_records("loans", inputs=column, outputs=[1, 2])
    assert offline.log_records("loans", inputs=column, outputs=[1, 2]) == []
    assert offline.stats()["dropped"]["invalid"] == 1


def test_columns_of_one_name(offline: joinback.Client) -> None:
    """A frame that would lose a column on its way is refused, not cut."""
    frame = pd.DataFrame([[1, 2]], columns=["a", "a"])
    with capture(offline), pytest.raises(joinback.InvalidEvent, match="inputs has several columns of one name"):
        offline.log_records("loans", inputs=frame, outputs=[1])


def test_different_lengths(offline: joinback.Client) -> None:
    """Nothing is logged of columns that do not fit, and one drop is counted."""
    assert offline.log_records("loans", inputs=FRAME, outputs=np.array([1])) == []
    assert offline.stats() | {"dropped": offline.stats()["dropped"]["invalid"]} == {
        "logged": 1,
        "sent": 0,
        "buffered": 0,
        "recovered": 0,
        "dropped": 1,
    }


def test_none_in_feedback(offline: joinback.Client) -> None:
    """A list of feedback may have gaps: that record is a prediction alone."""
    events = logged(offline, inputs=[1, 2], outputs=[1, 2], feedback=[None, {"ok": True}], join_keys=["a", "b"])
    assert [(event.kind, event.join_key) for event in events] == [
        ("prediction", "a"),
        ("prediction", "b"),
        ("feedback", "b"),
    ]


def test_a_frame_reaches_the_sink(stack: Any) -> None:
    """A DataFrame of predictions and one of labels become joined rows."""
    keys = stack.client.log_records("loans", inputs=FRAME, outputs=pd.Series([0.1, 0.2], name="default"))
    stack.client.log_records("loans", feedback=pd.DataFrame({"repaid": [True, False]}), join_keys=pd.Series(keys))
    stack.drain()
    found = {row["join_key"]: (row["status"], row["inputs"], row["outputs"], row["feedback"]) for row in stack.rows()}
    assert found == {
        keys[0]: ("joined", '{"amount":900,"rate":0.5,"kind":"car","new":true}', '{"default":0.1}', '{"repaid":true}'),
        keys[1]: (
            "joined",
            '{"amount":100,"rate":null,"kind":"house","new":false}',
            '{"default":0.2}',
            '{"repaid":false}',
        ),
    }
