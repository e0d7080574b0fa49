"""Which values of a record's feedback count. Pure.

A value counts if its event came within the join window and no retraction takes it back. Where the rules of its field
rank sources, only the values of the best source count. Each is turned into the declared type if that loses nothing.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from msgspec import Raw

from joinback import wire

from .declared import reconciled
from .record import Record, Rejected, effective_at, in_order
from .rules import Rules

Ordered = Sequence[tuple[str, wire.Feedback]]
"""Feedback events as (event id, event), by time and then event id."""


class ValidValue(NamedTuple):
    """A value that counts, and the effective time of its event."""

    at: datetime
    value: Raw


def valid_values(
    ordered: Ordered, retractions: Mapping[str, wire.Retraction], rules: Rules
) -> dict[str, list[ValidValue]]:
    """Return the values that count, by field, in the order of their events. A field without one is left out.

    `ordered` is the feedback within the join window.
    """
    valid: defaultdict[str, list[ValidValue]] = defaultdict(list)
    ranked: dict[str, int] = {}
    taken = _Taken(retractions) if retractions else None
    fields = rules.feedback
    for event_id, event in ordered:
        at = effective_at(event)
        for name, value in event.feedback.items():
            if taken is not None and taken.back(event_id, at, name):
                continue
            if fields and (field := fields.get(name)) is not None:
                value = reconciled(field.scalar, value)
                if field.sources:
                    rank = field.rank(event.source)
                    best = ranked.setdefault(name, rank)
                    if rank > best:
                        continue
                    if rank < best:
                        ranked[name] = rank
                        valid[name].clear()
            valid[name].append(ValidValue(at, value))
    return valid


class _Taken:
    """What the retractions of one record take back."""

    def __init__(self, retractions: Mapping[str, wire.Retraction]) -> None:
        self._until: dict[str | None, datetime] = {}
        """Field (None: every field) -> the time up to which its values are taken back."""
        self._events: defaultdict[str, set[str | None]] = defaultdict(set)
        """Feedback event -> its fields (None: every field) that are taken back, whatever its time."""
        for retraction in standing(retractions):
            names: Iterable[str | None] = [None] if retraction.fields is None else retraction.fields
            if retraction.event_ids is None and retraction.retraction_ids is None:
                at = effective_at(retraction)
                for name in names:
                    self._until[name] = max(at, self._until.get(name, at))
            for event_id in retraction.event_ids or ():
                self._events[event_id].update(names)

    def back(self, event_id: str, at: datetime, field: str) -> bool:
        """Return whether this event's value of the field is taken back. `at`: the event's effective time."""
        if self._events and not self._events.get(event_id, _NO_FIELDS).isdisjoint((None, field)):
            return True
        return any(name in self._until and at <= self._until[name] for name in (None, field))


_NO_FIELDS: frozenset[str | None] = frozenset()


def is_taken_back(record: Record, event_id: str, fields: Collection[str]) -> bool:
    """Return whether retractions take back every field of this feedback event, or those of its fields in `fields`.

    Raises KeyError if the record does not hold the event.
    """
    taken, event = _Taken(record.retractions), record.feedback[event_id]
    names = event.feedback.keys() & set(fields) if fields else event.feedback
    return all(taken.back(event_id, effective_at(event), name) for name in names)


def standing(retractions: Mapping[str, wire.Retraction]) -> list[wire.Retraction]:
    """Return the retractions that no later one takes back, the latest first.

    Only a later one, by time and then event id, can take one back. So there is always exactly one answer.
    """
    void: set[str] = set()
    found = []
    for event_id, retraction in reversed(in_order(retractions)):
        if event_id not in void:
            void.update(retraction.retraction_ids or ())
            found.append(retraction)
    return found


def within_window(
    record: Record, ordered: Ordered, winner: wire.Prediction | None, join_window_s: float
) -> tuple[Ordered, list[Rejected]]:
    """Return the feedback that came within the join window, and that which came too late to count, as dead letters.

    `ordered` is the record's feedback, `winner` its prediction; without a prediction nothing is late.
    """
    if winner is None or not ordered:
        return ordered, []
    window = timedelta(seconds=join_window_s)
    predicted_at = effective_at(winner)
    on_time: list[tuple[str, wire.Feedback]] = []
    late: list[Rejected] = []
    for event_id, event in ordered:
        delay = effective_at(event) - predicted_at
        if delay <= window:
            on_time.append((event_id, event))
            continue
        detail = f"{(delay - window).total_seconds():.0f} s after the join window"
        field, mark = f"feedback:{event_id}", f"{wire.LATE}:{event_id}"
        late.append(Rejected(record.join_key, field, "after_window", detail, wire.encode(event), mark))
    return on_time, late
