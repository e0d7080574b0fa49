"""What a drain did, in numbers."""

from msgspec import Struct, structs

_COUNTED = ("claimed", "rows", "joined", "orphans", "conflicts", "matured", "dead", "erased", "released", "newer")


class Drained(Struct, kw_only=True):
    """What one cycle did; its log line. A row counts once per chunk that touched it."""

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

    def include(self, other: "Drained") -> None:
        """Add what another cycle, or a part of this one, did."""
        for name in _COUNTED:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.unfinished = self.unfinished or other.unfinished
        self.error = self.error or other.error
        self.sink_lost = self.sink_lost or other.sink_lost
        self.redis_lost = self.redis_lost or other.redis_lost
        self.duration_s += other.duration_s
        self.oldest_pending_s = max(self.oldest_pending_s, other.oldest_pending_s)

    def __add__(self, other: "Drained") -> "Drained":
        total = structs.replace(self)
        total.include(other)
        return total
