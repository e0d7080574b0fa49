"""The record: what is known of one join key. Pure, like all of the law.

A record is a set of events, and merging two records is the union of their sets: commutative, associative,
idempotent. So the order, the number of times and the batches in which events arrive cannot change the
record, and a row (`row.py`) is a function of the record alone.
"""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import NamedTuple, TypeVar

from msgspec import Struct, structs

from joinback import wire

CLOCK_SKEW_MAX = timedelta(minutes=5)
"""An event further ahead of its client's clock is ordered by that clock. NTP holds clocks far closer."""

E = TypeVar("E", bound=wire.Event)


class Record(Struct, kw_only=True, gc=False):
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
    def fields(self) -> set[str]:
        """`<kind>:<event_id>` of each event."""
        kinds: tuple[tuple[str, Iterable[str]], ...] = (
            ("prediction", self.predictions),
            ("feedback", self.feedback),
            ("retraction", self.retractions),
        )
        return {f"{kind}:{event_id}" for kind, ids in kinds for event_id in ids}

    @property
    def two_sided(self) -> bool:
        return bool(self.predictions and self.feedback)


class Rejected(NamedTuple):
    """An event that becomes a dead letter: a bad one leaves its record, a late one stays and is marked."""

    join_key: str
    field: str
    reason: str
    detail: str
    payload: bytes
    mark: str = ""
    """The record's field that says so, if the event stays; whoever sets it writes the letter, and counts it."""


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
    if len(union) == len(a) + len(b):
        return union
    for event_id in a.keys() & b.keys():
        if a[event_id] != b[event_id]:
            # An event is immutable, so this is a producer's fault; still, both orders must give one answer.
            union[event_id] = min(a[event_id], b[event_id], key=lambda event: digest(wire.encode(event)))
    return union


def digest(encoded: bytes) -> int:
    """Which of two events under one id counts: the one with the smaller digest, in Python and in SQL. 63 bits."""
    return int.from_bytes(blake2b(encoded, digest_size=8).digest()) >> 1


def admit(known: Record | None, incoming: Record, events_max: int = wire.RECORD_EVENTS_MAX) -> tuple[Record, set[str]]:
    """Merge what is new into what is known, up to so many feedback events and retractions.

    Returns the record and the fields of new events that found no place, the latest first to go. What a row
    holds already stays: an event that was taken in is never given up.
    """
    record = incoming if known is None else merge(known, incoming)
    excess = len(record.feedback) + len(record.retractions) - events_max
    if excess <= 0:
        return record, set()
    if known is None:
        known = Record(application=incoming.application, join_key=incoming.join_key)
    new: list[tuple[datetime, str]] = []
    for kind, mine, theirs in (
        ("feedback", record.feedback, known.feedback),
        ("retraction", record.retractions, known.retractions),
    ):
        new += [(effective_at(event), f"{kind}:{id_}") for id_, event in mine.items() if id_ not in theirs]
    overflow = {field for _, field in sorted(new, reverse=True)[:excess]}
    return without(record, overflow), overflow


def without(record: Record, fields: Collection[str]) -> Record:
    """The record but for these feedback events and retractions, named as `Record.fields` names them."""
    if not fields:
        return record
    return structs.replace(
        record,
        feedback={id_: e for id_, e in record.feedback.items() if f"feedback:{id_}" not in fields},
        retractions={id_: e for id_, e in record.retractions.items() if f"retraction:{id_}" not in fields},
    )


def effective_at(event: wire.Event) -> datetime:
    """The time that orders the event. One clock set to 2030 moves nothing but its own events."""
    if event.at <= event.logged_at:
        return event.at
    # A difference of times cannot overflow, as a sum near the year 9999 would.
    return event.logged_at if event.at - event.logged_at > CLOCK_SKEW_MAX else event.at


def in_order(events: Mapping[str, E]) -> list[tuple[str, E]]:
    """By time, then event id: a total order, the same for everybody."""
    if len(events) < 2:
        return list(events.items())
    return sorted(events.items(), key=lambda item: (effective_at(item[1]), item[0]))
