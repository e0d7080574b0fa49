"""The path that nearly all predictions take says what the whole path says, byte by byte."""

import re
from datetime import UTC, datetime, timedelta, timezone
from types import MappingProxyType
from typing import Any
from unittest import mock

from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import UNSET, Raw

import joinback
from joinback import nesting, wire
from joinback._delivery import Funnel
from joinback.options import Options

_TIMES = re.compile(rb'"at":"([^"]+)","logged_at":"([^"]+)"')

texts = st.text(max_size=12) | st.sampled_from(
    ["T", "2026-11-23T11:00:00", '"2026-11-23T11:00:00"', "The lone \ud800", "x" * 200, "é" * 200, "a\x1bb", "loans"]
)
times = st.datetimes(timezones=st.sampled_from([None, UTC, timezone(timedelta(hours=2))]))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts | times | st.just(object()) | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts | st.integers(), inner, max_size=3),
    max_leaves=6,
)
PLAIN: dict[str, Any] = {"inputs": {"T": 1}, "outputs": 2, "join_key": "loan_17", "version": "1.0"}
keys = st.sampled_from(["loan_17", "a\x1bb", "", "k" * 128, "k" * 129, "é" * 200, "\ud800"])
plain = st.fixed_dictionaries(
    {
        "inputs": st.fixed_dictionaries({"T": values}),
        "outputs": values | st.just("x" * wire.EVENT_BYTES_MAX),
        "join_key": keys,
        "version": st.sampled_from([None, "1.0", 2]),
    },
    optional={"tags": st.dictionaries(texts, values, max_size=2) | st.just([1]) | st.just(MappingProxyType({"a": 1}))},
)
odd = st.fixed_dictionaries(
    {
        "inputs": values,
        "outputs": values,
        "join_key": st.none() | texts | st.integers() | st.floats(),
        "version": st.none() | texts | st.integers(),
    },
    optional={
        "feedback": st.dictionaries(texts, values, max_size=2),
        "tags": st.dictionaries(texts, values, max_size=2),
        "event_id": texts,
        "timestamp": times,
        "source": texts,
    },
)


def nested(levels: int) -> Raw:
    """Arrays in arrays, as JSON already: Python's own stack would not hold them beside a test."""
    return Raw(b"[" * levels + b"1" + b"]" * levels)


Seen = tuple[str | None, list[tuple[str, str, str, bytes]], dict[str, int]]


def logged(application: Any, rate: float, redact: bool, call: dict[str, Any]) -> Seen:
    """Return the key, the events as they wait for the sender (less ids and times of our own), and the drops."""
    client = joinback.Client()
    # A key of our own is in the sample by chance.
    rates = {} if rate == 1 or call["join_key"] is None else {"loans": rate}
    hooks = None
    if redact:
        from joinback.hooks import Hooks

        hooks = Hooks(["inputs.T"], None)
    funnel = client._funnel = Funnel(Options(sample_rates=rates, environment="test", hooks=hooks))
    with mock.patch.object(Funnel, "_start"):
        # The second call meets a name that was checked before.
        for _ in range(2):
            key = client.log_record(application, **call)
    events = []
    for name, join_key, field, payload in funnel._buffer.take(10, 1 << 30):
        kind, _, identity = field.partition(":")
        if "timestamp" not in call:
            assert (match := _TIMES.search(payload)) is not None
            assert match[1] == match[2]
        own = _TIMES.sub(rb"", payload)
        events.append((name, key and join_key if call["join_key"] is not None else "", kind, own))
        assert identity
    return None if call["join_key"] is None else key, events, funnel.stats()["dropped"]


# One for each reason to take the whole path; the others come as they come.
@example("loans", 1.0, False, PLAIN)
@example("", 1.0, False, PLAIN)
@example("loans", 1e-9, False, PLAIN)
@example("loans", 1.0, True, PLAIN)
@example("loans", 1.0, False, PLAIN | {"join_key": "a\x1bb"})
@example("loans", 1.0, False, PLAIN | {"join_key": "é" * 300})
@example("loans", 1.0, False, PLAIN | {"version": 2})
@example("loans", 1.0, False, PLAIN | {"tags": {"region": "eu", 1: "T"}})
@example("loans", 1.0, False, PLAIN | {"tags": [1]})
@example("loans", 1.0, False, PLAIN | {"tags": MappingProxyType({"a": 1})})
@example("loans", 1.0, False, PLAIN | {"inputs": {"T": datetime(2026, 11, 23)}})  # noqa: DTZ001 - the point
@example("loans", 1.0, False, PLAIN | {"inputs": {"T": "\ud800"}})
@example("loans", 1.0, False, PLAIN | {"outputs": "x" * wire.EVENT_BYTES_MAX})
# Up to the limit of nesting, which counts the event itself, and beyond it.
@example("loans", 1.0, False, PLAIN | {"inputs": nested(nesting.NESTING_MAX - 1)})
@example("loans", 1.0, False, PLAIN | {"outputs": nested(nesting.NESTING_MAX)})
@example("loans", 1.0, False, PLAIN | {"tags": {"a": nested(nesting.NESTING_MAX - 1)}})
@example("loans", 1.0, False, PLAIN | {"tags": {}, "version": '"\u00e9"'})
@example("loans", 1.0, False, PLAIN | {"tags": {"T": datetime(2026, 11, 23)}})  # noqa: DTZ001 - the point
@example("loans", 1.0, False, PLAIN | {"version": "\ud800"})
@example("loans", 1.0, False, PLAIN | {"inputs": UNSET})
@settings(max_examples=200)
@given(st.sampled_from(["loans", "", "é" * 150]) | texts, st.sampled_from([1.0, 1e-9]), st.booleans(), plain | odd)
def test_the_plain_path_is_the_whole_path(application: str, rate: float, redact: bool, call: dict[str, Any]) -> None:
    """Whatever is logged, the same key is returned, the same bytes wait, and the same drops are counted."""
    short = logged(application, rate, redact, call)
    with mock.patch.object(Funnel, "put_plain", return_value=False):
        assert logged(application, rate, redact, call) == short


def test_the_plain_path_is_taken() -> None:
    """A prediction of which nothing else is said never comes to the whole path, also with text that holds a T."""
    client = joinback.Client()
    client._funnel = Funnel(Options())
    with mock.patch.object(Funnel, "_start"):
        client.log_record("loans", inputs=1, outputs=2, join_key="k")
        with mock.patch.object(Funnel, "log") as log:
            client.log_record("loans", inputs={"text": "The best"}, outputs=2, join_key="k", version="1.0")
            client.log_record("loans", inputs=1, outputs=2, tags={"region": "eu"})
        log.assert_not_called()
    assert client.stats()["buffered"] == 3
