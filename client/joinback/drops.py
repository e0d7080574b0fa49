"""Why an event was not sent, and the count of what was dropped unwanted, by reason and application."""

from collections import defaultdict
from typing import Literal, TypeAlias, get_args

from . import wire

DropReason = Literal[
    # The buffer held `buffer_events_max` events or `buffer_bytes_max` bytes.
    "buffer_full",
    # The call was wrong: no such kind of event, a bad join key, a naive mistake. The log line says which.
    "invalid",
    # A value that JSON cannot express; the log line names its path.
    "unencodable",
    # The event is larger than wire.EVENT_BYTES_MAX.
    "too_large",
    # Wanted: the key is outside the application's sample.
    "sampled_out",
    # Wanted: `before_send` returned None.
    "filtered",
    # A redaction or `before_send` raised; the event may hold what should not leave, so it does not.
    "hook_failed",
    # The environment or a URL is wrong, so there is nowhere to send to.
    "misconfigured",
    # Something that is not a hash stands at the record's key in Redis.
    "wrong_type",
    # Still undelivered when the client was closed.
    "undelivered",
    # In a file of the spool, but damaged there.
    "spool_damaged",
    # Logged after close().
    "closed",
    # A fault of ours; the log has the traceback.
    "internal_error",
]
DROP_REASONS: tuple[DropReason, ...] = get_args(DropReason)
WANTED: frozenset[str] = frozenset({"sampled_out", "filtered"})
"""Drops that somebody asked for; they are counted, but no warning."""
WRONG_CALLS: frozenset[str] = frozenset({"invalid", "unencodable", "too_large", "hook_failed"})
"""Drops of what could not be logged, told at the call: nothing that a flush could have waited for."""
LOST: frozenset[str] = frozenset(DROP_REASONS) - WANTED - WRONG_CALLS
"""Drops of what Redis should have, and has not."""

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
