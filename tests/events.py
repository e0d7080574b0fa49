"""Events for tests: hypothesis strategies, and short ways to write one down."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec import Raw, structs

from joinback import wire
from joinback_worker.law.record import Record
from joinback_worker.law.record_hash import read_hash

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def prediction(seconds: float = 0, **fields: Any) -> bytes:
    body = {"v": 1, "at": at(seconds), "logged_at": at(seconds), "inputs": {"a": 1}, "outputs": 0.5} | fields
    return msgspec.json.encode(body)


def feedback(seconds: float = 60, /, *by: str, **values: Any) -> bytes:
    """`by` is the source, if one is told."""
    body = {"v": 1 + len(by), "at": at(seconds), "logged_at": at(seconds), "feedback": values}
    return msgspec.json.encode(body | ({"source": by[0]} if by else {}))


def retraction(seconds: float = 120, fields: list[str] | None = None, /, **named: list[str]) -> bytes:
    """`named` are `event_ids` and `retraction_ids`."""
    body = {"v": 2 if named else 1, "at": at(seconds), "logged_at": at(seconds), "fields": fields}
    return msgspec.json.encode(body | named)


def record(fields: Mapping[str, bytes], join_key: str = "k") -> Record:
    folded = read_hash("loans", join_key, fields.items())
    assert not folded.bad
    return folded.record


_seconds = st.integers(-1_000, 1_000)
_times = st.tuples(_seconds, _seconds).map(lambda pair: {"at": at(pair[0]), "logged_at": at(pair[1])})
_json = st.sampled_from(
    [Raw(b"null"), Raw(b"1"), Raw(b"true"), Raw(b'"x"'), Raw(b'"12"'), Raw(b'"TRUE"'), Raw(b'{"a":[1]}')]
)
_names = st.sampled_from(["a", "b", "c"])

predictions = st.builds(
    lambda times, inputs, outputs, version: wire.Prediction(
        v=1, inputs=inputs, outputs=outputs, version=version, **times
    ),
    _times,
    _json,
    _json,
    st.sampled_from([None, "1", "2"]),
)
SOURCES = [None, "human", "rule", "model"]
feedbacks = st.builds(
    lambda times, values, source: wire.Feedback(v=2 if source else 1, feedback=values, source=source, **times),
    _times,
    st.dictionaries(_names, _json, min_size=1),
    st.sampled_from(SOURCES),
)
_ids = st.sampled_from("abcdef")
_named = st.none() | st.lists(_ids, unique=True, max_size=3)
retractions = st.builds(
    lambda times, fields, ids, undone: wire.Retraction(
        v=1 if ids is None and undone is None else 2, fields=fields, event_ids=ids, retraction_ids=undone, **times
    ),
    _times,
    st.none() | st.lists(_names, unique=True, max_size=2),
    _named,
    _named,
)
records = st.builds(
    lambda p, f, r: Record(application="loans", join_key="k", predictions=p, feedback=f, retractions=r),
    st.dictionaries(_ids, predictions, max_size=3),
    st.dictionaries(_ids, feedbacks, max_size=4),
    st.dictionaries(_ids, retractions, max_size=3),
)
single_records = st.builds(
    lambda p, f: Record(application="loans", join_key="k", predictions=p, feedback=f),
    st.dictionaries(_ids, predictions, max_size=1),
    st.dictionaries(
        _ids, feedbacks | st.builds(lambda event: structs.replace(event, feedback={}), feedbacks), max_size=1
    ),
)
"""Of one prediction and one feedback event at most."""
plain_records = st.builds(
    lambda p, f, r: Record(application="loans", join_key="k", predictions=p, feedback=f, retractions=r),
    st.dictionaries(_ids, predictions, max_size=3),
    st.dictionaries(_ids, feedbacks, max_size=4),
    st.dictionaries(
        _ids,
        st.builds(lambda r: structs.replace(r, v=1, event_ids=None, retraction_ids=None), retractions),
        max_size=2,
    ),
)
"""Without retractions that name events."""
RULES: list[dict[str, Any]] = [
    {},
    {"labels": ["a", "b"], "feedback": {"a": {"sources": ["human", "rule"]}, "b": {"type": "int", "reducer": "sum"}}},
    {"maturity_s": 1, "labels": ["b"], "feedback": {"a": {"type": "bool", "default": False}, "b": {"default": "no"}}},
    {"join_window_s": 300, "feedback": {
        "a": {"type": "str", "reducer": "first", "default": "?", "maturity_s": 1},
        "b": {"sources": ["model"], "reducer": "count"},
    }},
    {"join_window_s": 3_153_600_000, "feedback": {
        "b": {"reducer": "count", "default": 0, "maturity_s": 3_153_600_000},
    }},
]  # fmt: skip
"""Tables of one application, as in joinback.toml. What matures, has, or will not while anybody tests."""
