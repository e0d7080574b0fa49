"""From Python values to JSON: each rule of the table in joinback.values, and the path where none applies."""

import array
import collections
import dataclasses
import enum
import json
import math
import re
import types
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import attrs
import msgspec
import numpy as np
import pandas as pd
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

import joinback
from joinback import values
from joinback.testing import capture

NAIVE = datetime(2026, 1, 2, 3, 4, 5, 678)  # noqa: DTZ001 - the point of it


class Colour(enum.Enum):
    RED = ("r", 1)


class Level(enum.IntEnum):
    HIGH = 3


class Grade(enum.StrEnum):
    A = "a"


@dataclasses.dataclass
class Loan:
    amount: int
    at: Any = None


@attrs.define
class House:
    price: int
    at: Any = None


class Person(pydantic.BaseModel):
    name: str
    at: datetime | None = None


class Car(msgspec.Struct):
    doors: int
    at: Any = None


class Pair(collections.namedtuple("Pair", "a b")):
    pass


class Frozen(datetime):
    """As freezegun makes them."""


FRAME = pd.DataFrame({"a": [1, 2], "b": [0.5, None], "t": [pd.Timestamp(2026, 1, 1), pd.NaT]})
ISO = "2026-01-02T03:04:05.000678Z"

RULES: list[tuple[object, object]] = [
    (None, None),
    (True, True),
    (2**80, 2**80),
    (-0.5, -0.5),
    (math.nan, None),
    (math.inf, None),
    (-math.inf, None),
    ("é😀\x00", "é😀\x00"),
    ([1, (2, 3)], [1, [2, 3]]),
    (NAIVE, ISO),
    (NAIVE.replace(tzinfo=UTC), ISO),
    (NAIVE.replace(tzinfo=timezone(timedelta(hours=2))), "2026-01-02T03:04:05.000678+02:00"),
    ([{"deep": NAIVE}], [{"deep": ISO}]),
    (Frozen(2026, 1, 2), "2026-01-02T00:00:00Z"),
    (date(2026, 1, 2), "2026-01-02"),
    (time(3, 4), "03:04:00"),
    (timedelta(seconds=90), "PT90S"),
    (Decimal("1.50"), "1.50"),
    (Decimal("NaN"), "NaN"),
    (UUID(int=1), str(UUID(int=1))),
    (b"ab", "YWI="),
    (bytearray(b"ab"), "YWI="),
    (memoryview(b"ab"), "YWI="),
    ({1}, [1]),
    (frozenset("a"), ["a"]),
    ({NAIVE}, [ISO]),
    (Colour.RED, ["r", 1]),
    (Level.HIGH, 3),
    (Grade.A, "a"),
    (Loan(1), {"amount": 1, "at": None}),
    (Loan(1, NAIVE), {"amount": 1, "at": ISO}),
    (House(1, NAIVE), {"price": 1, "at": ISO}),
    (Person(name="x", at=NAIVE), {"name": "x", "at": ISO}),
    (Car(4, NAIVE), {"doors": 4, "at": ISO}),
    (Pair(1, NAIVE), [1, ISO]),
    (types.MappingProxyType({"a": 1}), {"a": 1}),
    (collections.Counter("aab"), {"a": 2, "b": 1}),
    (collections.deque([1]), [1]),
    (range(3), [0, 1, 2]),
    (array.array("d", [0.5]), [0.5]),
    (np.float64(0.5), 0.5),
    (np.float32(0.5), 0.5),
    (np.int64(3), 3),
    (np.bool_(True), True),
    (np.str_("é"), "é"),
    (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
    (np.array([0.5, np.nan]), [0.5, None]),
    (np.datetime64("2026-01-02T03:04:05.000678"), ISO),
    (np.datetime64("NaT", "ns"), None),
    (np.array(["2026-01-02"], dtype="M8[ns]"), ["2026-01-02T00:00:00Z"]),
    (np.timedelta64(90, "s"), "PT90S"),
    (pd.Timestamp("2026-01-02 03:04:05.000678"), ISO),
    (pd.Timestamp("2026-01-02", tz="Europe/Paris"), "2026-01-02T00:00:00+01:00"),
    (pd.NaT, None),
    (pd.NA, None),
    (pd.Timedelta(seconds=90), "PT90S"),
    (FRAME, [{"a": 1, "b": 0.5, "t": "2026-01-01T00:00:00Z"}, {"a": 2, "b": None, "t": None}]),
    (FRAME.iloc[0], {"a": 1, "b": 0.5, "t": "2026-01-01T00:00:00Z"}),
    (FRAME["a"], [1, 2]),
    (FRAME["t"], ["2026-01-01T00:00:00Z", None]),
    (pd.Categorical(["x"]), ["x"]),
    (pd.Index([1, 2]), [1, 2]),
    ({None: 1, True: 2, (1, 2): 3, 1.5: 4, Grade.A: 5}, {"None": 1, "True": 2, "(1, 2)": 3, "1.5": 4, "a": 5}),
    ({NAIVE: 1}, {"2026-01-02T03:04:05.000678": 1}),
    ("a\ud800b", "a\ufffdb"),
    ({"\ud800": 1}, {"\ufffd": 1}),
    ("2026-01-02T03:04:05", "2026-01-02T03:04:05"),
]


def stored(value: object) -> Any:
    client = joinback.Client()
    with capture(client) as events:
        client.log_record("loans", inputs={"x": value}, outputs=0)
    return events[0].inputs["x"]


@pytest.mark.parametrize(("value", "expected"), RULES, ids=lambda value: type(value).__name__)
def test_a_rule(value: object, expected: object) -> None:
    """Each kind of value becomes the JSON that the table says, by the quick way and by the thorough one."""
    payload = values.encode(values.plain({"x": value}))
    # The standard library's reader, since msgspec's turns integers beyond 64 bits into floats.
    assert json.loads(payload)["x"] == expected
    if expected != 2**80:
        assert stored(value) == expected


class Lazy:
    """An object that fails when looked at."""

    def __getattr__(self, name: str) -> object:
        raise RuntimeError("do not look")


cyclic: dict[str, Any] = {}
cyclic["items"] = [1, cyclic]
deep: Any = 1
for _ in range(5_000):
    deep = [deep]


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (object(), "inputs.x: an object cannot"),
        ([1, {"b": object()}], "inputs.x[1].b: an object cannot"),
        (lambda: 1, "inputs.x: a function cannot"),
        (iter([1]), "inputs.x: a list_iterator cannot"),
        (1 + 2j, "inputs.x: a complex cannot"),
        (range(10**12), "inputs.x: a range cannot"),
        (Loan(1, object()), "inputs.x.at: an object cannot"),
        (Lazy(), "inputs.x: a Lazy cannot be written as JSON; convert it first (RuntimeError)"),
        (cyclic, "inputs.x.items[1]: a dict that contains itself"),
        # By which limit depends on where Python's own encoder ends.
        (deep, "levels deep"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_no_rule(value: object, path: str) -> None:
    """What has no rule raises with its path inside the event, and is never half written."""
    client = joinback.Client()
    with capture(client) as events, pytest.raises(joinback.InvalidEvent, match=re.escape(path)):
        client.log_record("loans", inputs={"x": value}, outputs=0)
    assert events == []


def test_the_table_is_whole() -> None:
    """Every rule that is documented stands in one table, and the table in the module's docstring."""
    assert values.__doc__ is not None
    assert len(re.findall(r"^\| .* \| .* \|$", values.__doc__, re.MULTILINE)) > 15


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_json_is_itself(value: Any) -> None:
    """Any JSON value comes back as it went in, by the quick way and by the thorough one."""
    assert msgspec.json.decode(values.encode(values.plain(value))) == value
    assert stored(value) == value


@given(st.datetimes() | st.datetimes(timezones=st.timezones()))
def test_no_time_is_naive(when: datetime) -> None:
    """Whatever datetime is logged, what is stored names its offset, and the same moment."""
    read = datetime.fromisoformat(stored([when])[0])
    aware = when.replace(tzinfo=UTC) if when.tzinfo is None else when
    assert read.utcoffset() is not None
    assert abs(read - aware) < timedelta(minutes=1)  # offsets of the 19th century have seconds, which ISO drops
