"""Which feedback events a person means: all of the conditions that are given must hold. Pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Raw, Struct

from joinback import wire
from joinback.errors import JoinbackError

KINDS = "tags.NAME=, feedback.FIELD=, version= or environment="


class Condition(Struct, frozen=True):
    """A part of the event, and the value it must have."""

    part: str
    name: str
    """Of a tag or a feedback field; empty for a version and an environment."""
    text: str
    """As it was given: a value fits if it is this text, or is this JSON."""

    def holds(self, event: wire.Feedback) -> bool:
        if self.part in ("version", "environment"):
            return bool(getattr(event, self.part) == self.text)
        values: Mapping[str, Raw] = event.tags if self.part == "tags" else event.feedback
        return self.name in values and fits(msgspec.json.decode(values[self.name]), self.text)


def condition(given: str) -> Condition:
    """Return what `tags.batch=2026-11` says. Raises JoinbackError."""
    name, equals, text = given.partition("=")
    part, dot, inner = name.partition(".")
    if equals and ((part in ("tags", "feedback") and inner) or (part in ("version", "environment") and not dot)):
        return Condition(part, inner, text)
    raise JoinbackError(f"--where {given!r} is no condition; write {KINDS}")


class Filter(Struct, frozen=True, kw_only=True):
    """The conditions on a feedback event; what is None or empty says nothing."""

    fields: Sequence[str] = ()
    """It tells one of these at least."""
    where: Sequence[Condition] = ()
    begin: datetime | None = None
    end: datetime | None = None
    """Its `at` is `begin` or later, and before `end`."""
    source: str | None = None
    event_ids: Sequence[str] = ()
    join_keys: Sequence[str] = ()

    @property
    def is_empty(self) -> bool:
        """Whether it names a field at most: that would be all that was ever told of it."""
        return not (self.where or self.begin or self.source is not None or self.event_ids or self.join_keys)

    def holds(self, join_key: str, event_id: str, event: wire.Feedback) -> bool:
        """Return whether the event is meant."""
        return (
            (not self.join_keys or join_key in self.join_keys)
            and (not self.event_ids or event_id in self.event_ids)
            and (not self.fields or any(name in event.feedback for name in self.fields))
            and (self.begin is None or event.at >= self.begin)
            and (self.end is None or event.at < self.end)
            and (self.source is None or event.source == self.source)
            and all(condition.holds(event) for condition in self.where)
        )


def fits(value: Any, text: str) -> bool:
    """Whether a value is this text, or is this JSON."""
    if value == text and isinstance(value, str):
        return True
    try:
        told = msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return False
    # In Python true is 1.
    return bool(value == told) and isinstance(value, bool) == isinstance(told, bool)
