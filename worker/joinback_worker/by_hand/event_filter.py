"""A filter that finds the feedback events a person means: all conditions that are given must hold. Pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Raw, Struct

from joinback import wire
from joinback.errors import JoinbackError

KINDS = "tags.NAME=, feedback.FIELD=, version= or environment="


class Condition(Struct, frozen=True):
    """A value that one part of the event must have."""

    part: str
    """`tags`, `feedback`, `version` or `environment`."""
    name: str
    """The name of the tag or the feedback field; empty for version and environment."""
    text: str
    """The value as it was typed: it fits a value that is this text, or is what this text means as JSON."""

    def holds(self, event: wire.Feedback) -> bool:
        """Return whether the event has the value."""
        if self.part in ("version", "environment"):
            return bool(getattr(event, self.part) == self.text)
        values: Mapping[str, Raw] = event.tags if self.part == "tags" else event.feedback
        return self.name in values and fits(msgspec.json.decode(values[self.name]), self.text)


def condition(given: str) -> Condition:
    """Return the condition of an argument such as `tags.batch=2026-11`. Raises JoinbackError for any other form."""
    name, equals, text = given.partition("=")
    part, dot, inner = name.partition(".")
    if equals and ((part in ("tags", "feedback") and inner) or (part in ("version", "environment") and not dot)):
        return Condition(part, inner, text)
    raise JoinbackError(f"--where {given!r} is not a condition; write {KINDS}")


class Filter(Struct, frozen=True, kw_only=True):
    """The conditions on a feedback event. One that is None or empty does not count."""

    fields: Sequence[str] = ()
    """The event has at least one of these fields."""
    where: Sequence[Condition] = ()
    begin: datetime | None = None
    end: datetime | None = None
    """The event's `at` is `begin` or later, and before `end`."""
    source: str | None = None
    event_ids: Sequence[str] = ()
    join_keys: Sequence[str] = ()

    @property
    def is_empty(self) -> bool:
        """Whether it has no condition besides fields: then it would find every event that ever had them."""
        return not (self.where or self.begin or self.source is not None or self.event_ids or self.join_keys)

    def holds(self, join_key: str, event_id: str, event: wire.Feedback) -> bool:
        """Return whether all conditions hold for the event."""
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
    """Return whether a decoded value is this text, or is what this text means as JSON."""
    if value == text and isinstance(value, str):
        return True
    try:
        wanted = msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return False
    # In Python True equals 1; in JSON it does not.
    return bool(value == wanted) and isinstance(value, bool) == isinstance(wanted, bool)
