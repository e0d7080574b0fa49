"""The record: all events of one join key. Pure, like all of the law.

A record is a set of events, and merging two records is the union of their sets: commutative, associative,
idempotent. So the record does not depend on the order of events, on repetitions, or on the batches they come in.
A row (`row.py`) is a function of the record and the policy alone.
"""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import NamedTuple, TypeVar

from msgspec import Struct, structs

from joinback import wire

CLOCK_SKEW_MAX = timedelta(minutes=5)
"""An event whose time is further than this ahead of its client's clock is ordered by that clock (`effective_at`).
Clocks kept by NTP differ far less."""

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
        """Whether it has a prediction and feedback."""
        return bool(self.predictions and self.feedback)


class Rejected(NamedTuple):
    """An event that becomes a dead letter. A bad one is deleted from its record in Redis; a late one stays, marked."""

    join_key: str
    field: str
    reason: str
    detail: str
    payload: bytes
    mark: str = ""
    """The field of the record that marks the event as late; empty: the event is deleted. The script that sets the mark
    writes the dead letter and counts it, so that a repetition does not count twice."""


def merge(a: Record, b: Record) -> Record:
    """Return the union of two records of one join key. It may share its dicts with them."""
    return Record(
        application=a.application,
        join_key=a.join_key,
        predictions=_union(a.predictions, b.predictions),
        feedback=_union(a.feedback, b.feedback),
        retractions=_union(a.retractions, b.retractions),
    )


def _union(a: dict[str, E], b: dict[str, E]) -> dict[str, E]:
    # Of two records that meet, one nearly always has the prediction alone, and the other the feedback.
    if not (a and b):
        return a or b
    union = {**a, **b}
    if len(union) == len(a) + len(b):
        return union
    for event_id in a.keys() & b.keys():
        if a[event_id] != b[event_id]:
            # Events are immutable, so a producer made a mistake. Still, both orders of merging must give one result.
            union[event_id] = min(a[event_id], b[event_id], key=lambda event: digest(wire.encode(event)))
    return union


def digest(encoded: bytes) -> int:
    """Return 63 bits of BLAKE2b of an encoded event. Of two events under one id the smaller digest wins.

    63 bits, so that SQL can hold and compare them as signed integers.
    """
    hasher = _HASHER.copy()
    hasher.update(encoded)
    return int.from_bytes(hasher.digest()) >> 1


_HASHER = blake2b(digest_size=8)
"""Copied for each event: to make one anew takes a fifth of a digest."""


def admit(known: Record | None, incoming: Record, events_max: int = wire.RECORD_EVENTS_MAX) -> tuple[Record, set[str]]:
    """Merge what is new into what is known, up to `events_max` feedback events and retractions.

    Return the record, and the fields (`<kind>:<event_id>`) of the new events that it has no room for: the latest ones
    are left out first. The record keeps every event it had, even if it has too many.
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
    """Return the record without these feedback events and retractions, named as `Record.fields` names them."""
    if not fields:
        return record
    return structs.replace(
        record,
        feedback={id_: e for id_, e in record.feedback.items() if f"feedback:{id_}" not in fields},
        retractions={id_: e for id_, e in record.retractions.items() if f"retraction:{id_}" not in fields},
    )


def effective_at(event: wire.Event) -> datetime:
    """Return the time that orders the event: `at`, or `logged_at` if `at` is more than CLOCK_SKEW_MAX ahead of it.

    So a mistyped time in the future does not outrank all later events. A client with a wrong clock misplaces only its
    own events.
    """
    if event.at <= event.logged_at:
        return event.at
    # A difference of two times cannot overflow; a sum near the year 9999 can.
    return event.logged_at if event.at - event.logged_at > CLOCK_SKEW_MAX else event.at


def in_order(events: Mapping[str, E]) -> list[tuple[str, E]]:
    """Return (event id, event) by effective time, then event id. The order is total, so it is the same everywhere."""
    if len(events) < 2:
        return list(events.items())
    return sorted(events.items(), key=lambda item: (effective_at(item[1]), item[0]))
