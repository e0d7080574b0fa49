"""What a drain did, as counts."""

from joinback_worker.totals import Totals


class Drained(Totals, kw_only=True):
    """The counts of one drain, or the sum of several. They are the fields of the log line `cycle_finished`."""

    largest_of = frozenset({"oldest_pending_s"})

    claimed: int = 0
    """Entries claimed."""
    rows: int = 0
    """Rows written; one counts again for each batch that changed it."""
    joined: int = 0
    orphans: int = 0
    conflicts: int = 0
    matured: int = 0
    """Rows that the clock alone changed: no label, or no value of a field, came in time."""
    dead: int = 0
    """Dead letters written."""
    erased: int = 0
    """Entries of erased join keys."""
    released: int = 0
    """Entries claimed and given back."""
    newer: int = 0
    """Entries left pending, because a newer client wrote an event of their record."""
    unfinished: bool = False
    """The time budget ended before the pending entries did."""
    error: str | None = None
    """Why the drain stopped early, if it did. The next tick tries again."""
    sink_lost: bool = False
    """The sink was unavailable."""
    redis_lost: bool = False
    """Redis did not answer, so the worker tries again before the next aligned tick."""
    duration_s: float = 0.0
    oldest_pending_s: float = 0.0
    """The age of the oldest entry that was pending after the drain."""
