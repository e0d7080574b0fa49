"""Conditions on records: a path into what was logged, and the value that must be there. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct

from joinback.errors import JoinbackError
from joinback_worker.by_hand.event_filter import fits
from joinback_worker.law.record import Record

PARTS = ("inputs", "outputs", "tags", "feedback")
KINDS = "inputs.PATH=, outputs.PATH=, tags.NAME=, feedback.FIELD= or join_key="


class Where(Struct, frozen=True):
    """A path into an event, and the value that must be there."""

    part: str
    path: tuple[str, ...]
    """Names of nested objects, from the outside in; empty for `join_key`."""
    text: str
    """The value as the person wrote it. A value fits if it is this text, or equals this JSON."""


def where(given: str) -> Where:
    """Return the condition of a text such as `inputs.user_id=42`. Raises JoinbackError."""
    place, equals, text = given.partition("=")
    part, *path = place.split(".")
    if equals and ((part in PARTS and path and all(path)) or (part == "join_key" and not path)):
        return Where(part, tuple(path), text)
    raise JoinbackError(f"--where {given!r} is not a condition; write {KINDS}")


def holds(conditions: Sequence[Where], record: Record) -> bool:
    """Return whether, for each condition, some event of the record meets it."""
    events = [*record.predictions.values(), *record.feedback.values()]
    parts = [{part: getattr(event, part, None) for part in PARTS} for event in events]
    return all(_holds(condition, record.join_key, parts) for condition in conditions)


def holds_of_bytes(conditions: Sequence[Where], join_key: str, event: bytes) -> bool:
    """Return the same for one event as it was logged. If it is not JSON, only its join key can meet a condition."""
    try:
        parts = msgspec.json.decode(event)
    except (ValueError, RecursionError):
        parts = None
    events = [parts] if isinstance(parts, dict) else []
    return all(_holds(condition, join_key, events) for condition in conditions)


def _holds(condition: Where, join_key: str, events: Iterable[dict[str, Any]]) -> bool:
    if condition.part == "join_key":
        return join_key == condition.text
    values = (value for event in events for value in _values(event.get(condition.part), condition.path))
    return any(fits(value, condition.text) for value in values)


def _values(value: Any, path: tuple[str, ...]) -> Iterator[Any]:
    """Yield every value at the end of the path. In a list, each element is tried. A name may itself have dots."""
    if isinstance(value, Raw):
        value = msgspec.json.decode(value)
    if isinstance(value, list):
        for element in value:
            yield from _values(element, path)
    elif not path:
        yield value
    elif isinstance(value, dict):
        for length in range(1, len(path) + 1):
            name = ".".join(path[:length])
            if name in value:
                yield from _values(value[name], path[length:])
