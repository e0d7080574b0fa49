"""Why an event is not sent: the reasons under which it is counted, and the exception that carries one."""

from typing import Literal, get_args

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


class NotLogged(Exception):
    """An event that will not be logged: counted under `reason`, explained in the log."""

    def __init__(self, reason: DropReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
