"""The reducers, as a table and against Python's own arithmetic."""

import math
from typing import Any, get_args

import msgspec
import pytest
from events import feedback, prediction, record
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from ruled import policy, reducing

from joinback_worker.law.reduce import Reducer, reduce
from joinback_worker.law.row import project


def reduced(reducer: Reducer, *values: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(reduce(reducer, [Raw(msgspec.json.encode(v)) for v in values])))


@pytest.mark.parametrize(
    ("reducer", "values", "result"),
    [
        ("last", [1, None, "x"], "x"),
        ("last", [1, None], None),
        ("first", ["x", 2], "x"),
        ("sum", [1, 2, 3], 6),
        ("sum", [0.1] * 10, 1.0),
        ("sum", [True, False, True], 2),
        ("sum", [1, None, "5", [2]], 1),
        ("sum", [None, "x"], None),
        ("sum", [1e308, 1e308], None),
        ("mean", [1, 2], 1.5),
        ("mean", [True, False, False, False], 0.25),
        ("mean", [None], None),
        ("min", [3, 1.5, 2], 1.5),
        ("max", [3, 1.5, None, "9"], 3),
        ("max", ["a"], None),
        ("count", [1, None, False, "x"], 3),
        ("count", [None], 0),
        ("majority", ["a", "b", "a"], "a"),
        ("majority", ["a", "b"], "b"),
        ("majority", ["b", "a", "a", "b", "c"], "b"),
        ("majority", [None, None, 1], None),
    ],
)
def test_reducers(reducer: Reducer, values: list[Any], result: Any) -> None:
    """Each reducer makes of these values this one."""
    assert reduced(reducer, *values) == result


def test_a_number_beyond_a_double_is_no_number() -> None:
    """What JSON allows and no double holds has no part in arithmetic."""
    assert reduce("sum", [Raw(b"1e999"), Raw(b"2")]) == 2
    digits = Raw(b"9" * 400)
    for reducer in ("sum", "mean", "min", "max"):
        assert reduce(reducer, [digits, Raw(b"2")]) == 2
        assert reduce(reducer, [digits]) is None
    assert reduce("mean", [Raw(b"9" * 308)] * 3) == pytest.approx(1e308)


@given(st.lists(st.integers(-(2**60), 2**60), min_size=1))
def test_integers_are_summed_exactly(values: list[int]) -> None:
    """No integer is rounded on its way through a sum."""
    assert reduce("sum", [Raw(str(value).encode()) for value in values]) == sum(values)


@given(st.lists(st.floats(-1e100, 1e100), min_size=1))
def test_sums_of_floats_do_not_depend_on_order(values: list[float]) -> None:
    """Floats are summed without rounding in between."""
    raws = [Raw(msgspec.json.encode(value)) for value in values]
    assert reduce("sum", raws) == reduce("sum", raws[::-1]) == math.fsum(values)


@pytest.mark.parametrize("reducer", get_args(Reducer))
def test_an_event_counts_once(reducer: Reducer) -> None:
    """In a row each field has its own reducer, by the order of the events, and no event counts twice."""
    events = {
        "prediction:p": prediction(0),
        "feedback:b": feedback(20, x=5, y=5),
        "feedback:a": feedback(10, x=2, y=2),
        "feedback:c": feedback(30, x=2, y=2),
    }
    row, _ = project(record(events), policy(**reducing(x=reducer)))
    assert row.feedback is not None
    expected = {"last": 2, "first": 2, "sum": 9, "mean": 3, "min": 2, "max": 5, "count": 3, "majority": 2}
    assert msgspec.json.decode(row.feedback) == {"x": expected[reducer], "y": 2}
