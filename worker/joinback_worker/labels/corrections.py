"""Corrected labels: labels of one key, time and source with another value.

Of two events of the same time the larger event id would win, and that is chance. So a correction gets a time one
microsecond after the label that it corrects. With it goes a retraction, by event id, of the fields that both labels
have: else a sum or a first value would count both. The ids of both events come from the lines, so a repeated import
sends neither again. If the line that was corrected is imported again, it is reported as corrected, for it would change
nothing.
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


class Imported(Struct):
    """A feedback event of an earlier import, or of an earlier line of this one."""

    event_id: str
    at: datetime
    fields: Mapping[str, bytes]
    """Name -> value, as JSON in its canonical form."""
    source: str | None
    taken_back: set[str]
    """Those of its fields that a correction takes back."""


def as_imported(label: Label) -> Imported:
    """Return the event that this label becomes, for the labels after it."""
    fields = {name: canonical_json(value) for name, value in label.fields.items()}
    return Imported(label.event_id, label.at, fields, label.source, set())


def imported_in(record: Record) -> list[Imported]:
    """Return the feedback events of a record that came from imports."""
    found = {
        id_: Imported(id_, event.at, {n: canonical_text(v) for n, v in event.feedback.items()}, event.source, set())
        for id_, event in record.feedback.items()
        if id_.startswith(IMPORTED)
    }
    own = {id_: event for id_, event in record.retractions.items() if id_.startswith(IMPORTED)}
    for retraction in standing(own):
        for id_ in retraction.event_ids or ():
            if id_ in found:
                found[id_].taken_back.update(found[id_].fields if retraction.fields is None else retraction.fields)
    return list(found.values())


def corrected(label: Label, imported: Sequence[Imported]) -> Label:
    """Return the label with a time after the events that it contradicts, and with the fields that it takes back.

    Only events that were imported for the label's own time are looked at. It adds to their `taken_back`.
    """
    others = [other for other in imported if _is_of_its_moment(label, other)]
    rivals = [other.at for other in others if _contradicts(label, other)]
    corrects = {}
    for other in others:
        if other.source == label.source and (shared := (label.fields.keys() & other.fields.keys()) - other.taken_back):
            other.taken_back |= shared
            corrects[other.event_id] = tuple(sorted(shared))
    at = max(rivals) + _STEP if rivals else label.at
    return structs.replace(label, at=at, corrects=corrects) if rivals or corrects else label


def same_in(label: Label, imported: Sequence[Imported]) -> Imported | None:
    """Return the event with the same values as this label; None if there is none.

    Its id may differ: in an earlier import the column may have had another type.
    """
    fields = None
    for other in imported:
        if other.event_id == label.event_id:
            return other
    for other in imported:
        if _is_of_its_moment(label, other) and other.source == label.source:
            fields = fields or {name: canonical_json(value) for name, value in label.fields.items()}
            if fields == other.fields:
                return other
    return None


def corrections_of(label: Label, own: Imported, imported: Iterable[Imported]) -> list[str]:
    """Return the ids of the events that corrected this label after it was imported as `own`."""
    return [
        other.event_id
        for other in imported
        if other is not own
        and other.source == own.source
        and _is_of_its_moment(label, other)
        and _contradicts(label, other)
        and other.at > own.at
    ]


def retraction_id(old: str, new: str) -> str:
    """Return the id of the retraction by which the event `new` takes back fields of the event `old`."""
    return f"{IMPORTED}{hashlib.sha256(f'{old} {new}'.encode()).hexdigest()[:32]}"


def _is_of_its_moment(label: Label, other: Imported) -> bool:
    return other.event_id != label.event_id and other.event_id.startswith(label.moment)


def _contradicts(label: Label, other: Imported) -> bool:
    return any(name in other.fields and other.fields[name] != canonical_json(v) for name, v in label.fields.items())
