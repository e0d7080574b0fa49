"""Corrected labels: of one key and time, with another value. By the law the larger event id would win, which is chance.

So a correction is told a microsecond after what it corrects. Its event id is still that of the line, so it is told
once; and the line that it corrected, imported again, is told as contradicted, for it changes nothing.
"""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, NamedTuple

from msgspec import structs

from joinback import wire

from .plan import Label

_STEP = timedelta(microseconds=1)


class Told(NamedTuple):
    """An event of an earlier import."""

    event_id: str
    event: wire.Feedback


def corrected(label: Label, told: Iterable[Told]) -> Label:
    """Return the label, later than all it contradicts at its own time."""
    rivals = [other.event.at for other in told if _is_rival(label, other)]
    return structs.replace(label, at=max(rivals) + _STEP) if rivals else label


def is_contradicted(label: Label, told: Iterable[Told]) -> bool:
    """Whether this label, which was told before, was corrected since."""
    events = list(told)
    own = [other.event.at for other in events if other.event_id == label.event_id]
    return bool(own) and any(_is_rival(label, other) and other.event.at > own[0] for other in events)


def _is_rival(label: Label, other: Told) -> bool:
    return (
        other.event_id != label.event_id
        and other.event_id.startswith(label.moment)
        and _contradicts(label.fields, other.event.feedback)
    )


def _contradicts(fields: Mapping[str, Any], others: Mapping[str, wire.Json]) -> bool:
    return any(name in others and bytes(others[name]) != wire.encode(value) for name, value in fields.items())
