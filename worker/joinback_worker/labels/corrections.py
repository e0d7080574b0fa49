"""Corrected labels: of one key, time and source, with another value. By the law the larger event id would win: chance.

So a correction is told a microsecond after what it corrects, and with it a retraction, by event id, of the fields that
both tell: a sum or a first value would else count both. The ids of both come from the lines, so each is told once; and
the line that was corrected, imported again, is told as contradicted, for it changes nothing.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from msgspec import Struct, structs

from joinback_worker.law.counting import standing
from joinback_worker.law.record import Record

from .plan import IMPORTED, Label
from .same_value import canonical_json, canonical_text

_STEP = timedelta(microseconds=1)


class Told(Struct):
    """An event of an earlier import, or of an earlier line of this one."""

    event_id: str
    at: datetime
    fields: Mapping[str, bytes]
    """Each value as JSON, in its canonical form."""
    source: str | None
    taken: set[str]
    """Of its fields, those that a correction took back."""


def as_told(label: Label) -> Told:
    """Return what this label is to those that come after it."""
    fields = {name: canonical_json(value) for name, value in label.fields.items()}
    return Told(label.event_id, label.at, fields, label.source, set())


def told_in(record: Record) -> list[Told]:
    """Return what earlier imports told of one join key."""
    found = {
        id_: Told(id_, event.at, {n: canonical_text(v) for n, v in event.feedback.items()}, event.source, set())
        for id_, event in record.feedback.items()
        if id_.startswith(IMPORTED)
    }
    own = {id_: event for id_, event in record.retractions.items() if id_.startswith(IMPORTED)}
    for retraction in standing(own):
        for id_ in retraction.event_ids or ():
            if id_ in found:
                found[id_].taken.update(found[id_].fields if retraction.fields is None else retraction.fields)
    return list(found.values())


def corrected(label: Label, told: Sequence[Told]) -> Label:
    """Return the label, later than all it contradicts at its own time, and with what it takes back of them."""
    others = [other for other in told if _is_of_its_moment(label, other)]
    rivals = [other.at for other in others if _contradicts(label, other)]
    corrects = {}
    for other in others:
        if other.source == label.source and (shared := (label.fields.keys() & other.fields.keys()) - other.taken):
            other.taken |= shared
            corrects[other.event_id] = tuple(sorted(shared))
    at = max(rivals) + _STEP if rivals else label.at
    return structs.replace(label, at=at, corrects=corrects) if rivals or corrects else label


def same_in(label: Label, told: Iterable[Told]) -> Told | None:
    """Return the event that says what this label says, whatever its id: a column may have been of another type."""
    fields = None
    for other in told:
        if other.event_id == label.event_id:
            return other
    for other in told:
        if _is_of_its_moment(label, other) and other.source == label.source:
            fields = fields or {name: canonical_json(value) for name, value in label.fields.items()}
            if fields == other.fields:
                return other
    return None


def corrections_of(label: Label, own: Told, told: Iterable[Told]) -> list[str]:
    """Return the event ids by which this label, told before as `own`, was corrected since."""
    return [
        other.event_id
        for other in told
        if other is not own
        and other.source == own.source
        and _is_of_its_moment(label, other)
        and _contradicts(label, other)
        and other.at > own.at
    ]


def retraction_id(old: str, new: str) -> str:
    """Return the id of the event by which one label takes back what another told."""
    return f"{IMPORTED}{hashlib.sha256(f'{old} {new}'.encode()).hexdigest()[:32]}"


def _is_of_its_moment(label: Label, other: Told) -> bool:
    return other.event_id != label.event_id and other.event_id.startswith(label.moment)


def _contradicts(label: Label, other: Told) -> bool:
    return any(name in other.fields and other.fields[name] != canonical_json(v) for name, v in label.fields.items())
