"""The count of what was dropped unwanted, by reason and application."""

from collections import defaultdict
from typing import TypeAlias

from joinback import wire
from joinback.drops import DropReason

Drop: TypeAlias = tuple[str, str]
"""Reason and application; the application is empty for drops that name none."""

DROPS_APART_MAX = 100
"""So many applications that lose events at once are a person's to tell apart; the others are counted as one."""


class Unwanted:
    """How many events were dropped that nobody asked to drop. Any thread may use it; as `Buffer`, without a lock."""

    def __init__(self) -> None:
        self._counts: defaultdict[Drop, int] = defaultdict(int)

    def count(self, reason: DropReason, application: str, events: int = 1) -> None:
        """Count so many. `application` is as it was logged, so it may be no name at all."""
        is_name = application.isprintable() and len(application) <= wire.APPLICATION_BYTES_MAX
        drop = (reason, application if is_name else "")
        if len(self._counts) >= DROPS_APART_MAX and drop not in self._counts:
            drop = (reason, "")
        self._counts[drop] += events

    def counts(self) -> dict[Drop, int]:
        """Return what was counted since the process began, or was forked."""
        return dict(self._counts)
