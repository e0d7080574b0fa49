"""The join's law. Pure: no I/O, no clock, no logging.

A record is a set of events, and merging two records is the union of their sets: commutative, associative,
idempotent. So the order, the number of times and the batches in which events arrive cannot change the
record, and a row (`row.py`) is a function of the record alone.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

from msgspec import Struct

from joinback import wire
from joinback.errors import NewerWireVersion, UndecodableEvent

E = TypeVar("E", bound=wire.Event)


class Record(Struct, kw_only=True):
    """All events of one join key, by kind and event id."""

    application: str
    join_key: str
    predictions: dict[str, wire.Prediction] = {}
    feedback: dict[str, wire.Feedback] = {}
    retractions: dict[str, wire.Retraction] = {}

    @property
    def has_events(self) -> bool:
        return bool(self.predictions or self.feedback or self.retractions)

    @property
    def two_sided(self) -> bool:
        return bool(self.predictions and self.feedback)


class Folded(NamedTuple):
    """A record as read from its hash, and what in the hash is no part of it."""

    record: Record
    payloads: dict[str, bytes]
    """The hash itself: field -> bytes."""
    bad: dict[str, str]
    """Fields that are no event, and why."""
    newer: set[str]
    """Fields that a later client wrote: left where they are until the worker is upgraded."""


def fold(application: str, join_key: str, fields: Iterable[tuple[str, bytes]]) -> Folded:
    """Read a record from its hash: `<kind>:<event_id>` and JSON, in any order."""
    record = Record(application=application, join_key=join_key, predictions={}, feedback={}, retractions={})
    by_kind: dict[str, dict[str, Any]] = {
        "prediction": record.predictions,
        "feedback": record.feedback,
        "retraction": record.retractions,
    }
    payloads = {field: payload for field, payload in fields if not field.startswith(f"{wire.LATE}:")}
    bad: dict[str, str] = {}
    newer: set[str] = set()
    for field, payload in payloads.items():
        kind, _, event_id = field.partition(":")
        try:
            if not (event_id and event_id.isprintable()):
                raise UndecodableEvent("the field is not <kind>:<event_id>")
            event = wire.decode_event(kind, payload)
        except UndecodableEvent as error:
            bad[field] = str(error)
        except NewerWireVersion:
            newer.add(field)
        else:
            by_kind[kind][event_id] = event
    return Folded(record, payloads, bad, newer)


def merge(a: Record, b: Record) -> Record:
    """The union of two records of one join key."""
    return Record(
        application=a.application,
        join_key=a.join_key,
        predictions=_union(a.predictions, b.predictions),
        feedback=_union(a.feedback, b.feedback),
        retractions=_union(a.retractions, b.retractions),
    )


def _union(a: Mapping[str, E], b: Mapping[str, E]) -> dict[str, E]:
    union = {**a, **b}
    for event_id in a.keys() & b.keys():
        if a[event_id] != b[event_id]:
            # An event is immutable, so this is a producer's fault; still, both orders must give one answer.
            union[event_id] = min(a[event_id], b[event_id], key=wire.encode)
    return union
