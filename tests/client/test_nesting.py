"""How deep an event may be nested: no deeper than every store can read, on any Python."""

import json
import sqlite3
from contextlib import closing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import joinback
from joinback import nesting, wire
from joinback.errors import NewerWireVersion, UndecodableEvent
from joinback.testing import capture


def nested(levels: int) -> Any:
    value: Any = {"a": "[{"}
    for level in range(levels - 1):
        value = [value] if level % 2 else {"b": value, "c": "}"}
    return value


def bytes_nested(levels: int) -> bytes:
    """The same as JSON, by no encoder that may end sooner."""
    return b"[" * levels + b'"]\\"["' + b"]" * levels


@pytest.mark.parametrize(("levels", "is_too_deep"), [(1, False), (900, False), (901, True), (50_000, True)])
def test_the_limit(levels: int, is_too_deep: bool) -> None:
    """Levels are counted exactly, however many there are; brackets in texts are none."""
    assert nesting.is_too_deep(bytes_nested(levels)) is is_too_deep
    assert nesting.is_too_deep(b"[" + b",".join([bytes_nested(3)] * 1_000) + b"]") is False


def depth(value: Any) -> int:
    """The levels of a value, told another way."""
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


@given(st.recursive(st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_any_value(value: Any) -> None:
    """Whatever a value holds, wrapped until it is as deep as allowed it passes, and one level more does not."""
    wraps = nesting.NESTING_MAX - depth(value)
    payload = b"[" * wraps + json.dumps(value).encode() + b"]" * wraps
    assert not nesting.is_too_deep(payload)
    assert nesting.is_too_deep(b"[" + payload + b"]")


def test_every_event_that_passes_can_be_read_in_sql() -> None:
    """SQLite reads a cell that holds an event of the deepest kind a few levels down."""
    cell = '{"feedback:a":{"feedback":' + bytes_nested(nesting.NESTING_MAX).decode() + "}}"
    with closing(sqlite3.connect(":memory:")) as database:
        assert database.execute("select json_extract(?, '$.\"feedback:a\".feedback') is not null", [cell]).fetchone()


@pytest.mark.parametrize(
    "parts", [{"inputs": nested(3_000), "outputs": 0}, {"feedback": {"a": nested(20_000)}}], ids=["plain", "whole"]
)
def test_a_deep_value_is_a_counted_drop(parts: dict[str, Any]) -> None:
    """A value that is nested too deep drops its event, told as `unencodable`, and nothing else."""
    client = joinback.Client()
    with capture(client) as events, pytest.raises(joinback.InvalidEvent, match="levels deep"):
        client.log_record("loans", join_key="k", **parts)
    assert events == []


def test_another_producers_deep_event() -> None:
    """A worker does not read such an event of another producer: it would fail every query. A newer one may be right."""
    start = b'{"v":%d,"at":"2026-11-23T11:00:00Z","logged_at":"2026-11-23T11:00:00Z","inputs":'
    end = b',"outputs":0}'
    deep = bytes_nested(950)
    with pytest.raises(UndecodableEvent, match="levels deep"):
        wire.decode_event("prediction", start % 1 + deep + end)
    with pytest.raises(NewerWireVersion):
        wire.decode_event("prediction", start % 99 + deep + end)
