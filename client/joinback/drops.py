"""Why an event is dropped: the reasons that `stats()` counts, and the exception that carries one."""

from typing import Literal, get_args

DropReason = Literal[
    # The buffer held `buffer_events_max` events or `buffer_bytes_max` bytes.
    "buffer_full",
    # The call was wrong: a missing side, a bad join key, a wrong type. The log line says which.
    "invalid",
    # A value has no form in JSON; the log line names its path.
    "unencodable",
    # The event is larger than wire.EVENT_BYTES_MAX.
    "too_large",
    # Somebody asked for it: the key is outside the application's sample.
    "sampled_out",
    # Somebody asked for it: `before_send` returned None, or redaction left no feedback.
    "filtered",
    # A redaction or `before_send` raised. The event may hold what must not leave the process, so it stays.
    "hook_failed",
    # The environment or a URL is wrong, so there is no Redis to send to.
    "misconfigured",
    # The record's key in Redis holds something that is not a hash.
    "wrong_type",
    # Still undelivered when the client was closed.
    "undelivered",
    # It was in a file of the spool that is damaged.
    "spool_damaged",
    # Logged after close().
    "closed",
    # A fault of Joinback; the log has the traceback.
    "internal_error",
]
DROP_REASONS: tuple[DropReason, ...] = get_args(DropReason)
WANTED: frozenset[str] = frozenset({"sampled_out", "filtered"})
"""Drops that somebody asked for. They are counted, but not logged."""
WRONG_CALLS: frozenset[str] = frozenset({"invalid", "unencodable", "too_large", "hook_failed"})
"""Drops at the call, because the event itself was wrong. They do not make `flush` return False."""
LOST: frozenset[str] = frozenset(DROP_REASONS) - WANTED - WRONG_CALLS
"""Drops of events that Redis should have. They make `flush` return False."""


class NotLogged(Exception):
    """The event cannot be logged. It is counted under `reason`, and the message explains it in the log."""

    def __init__(self, reason: DropReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
