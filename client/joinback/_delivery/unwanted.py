"""The count of unwanted drops, by reason and application."""

from collections import defaultdict
from typing import TypeAlias

from joinback import wire
from joinback.drops import DropReason

DropKey: TypeAlias = tuple[str, str]
"""Reason and application. The application is empty for drops without one."""

DROPS_APART_MAX = 100
"""The most pairs that are counted apart, as many as a person can read. Further applications are counted as one."""


class Unwanted:
    """The numbers of events whose drop nobody asked for. Any thread may use it, without a lock, as `Buffer`."""

    def __init__(self) -> None:
        self._counts: defaultdict[DropKey, int] = defaultdict(int)

    def count(self, reason: DropReason, application: str, events: int = 1) -> None:
        """Add so many events. `application` is as it was logged, so it may not be a valid name."""
        is_name = application.isprintable() and len(application) <= wire.APPLICATION_BYTES_MAX
        drop = (reason, application if is_name else "")
        if len(self._counts) >= DROPS_APART_MAX and drop not in self._counts:
            drop = (reason, "")
        self._counts[drop] += events

    def counts(self) -> dict[DropKey, int]:
        """Return the counts since the client's `init`, or since the fork."""
        return dict(self._counts)
