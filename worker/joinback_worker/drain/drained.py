"""What a drain did, in numbers."""

from joinback_worker.totals import Totals


class Drained(Totals, kw_only=True):
    """What one cycle did; its log line. A row counts once per chunk that touched it."""

    largest_of = frozenset({"oldest_pending_s"})

    claimed: int = 0
    rows: int = 0
    joined: int = 0
    orphans: int = 0
    conflicts: int = 0
    matured: int = 0
    """Rows that the clock alone changed: a label or a field was not told in time."""
    dead: int = 0
    erased: int = 0
    """Entries of join keys that were erased."""
    released: int = 0
    newer: int = 0
    """Entries left pending because a newer client wrote their events."""
    unfinished: bool = False
    """The time budget ran out before the pending entries did."""
    error: str | None = None
    """Why the cycle stopped early, if it did; the next tick tries again."""
    sink_lost: bool = False
    """The sink was the reason."""
    redis_lost: bool = False
    """Redis was the reason: its return is looked for before the next tick."""
    duration_s: float = 0.0
    oldest_pending_s: float = 0.0
