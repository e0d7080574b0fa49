"""The books: received = in rows + pending + dead + duplicates + erased, counted by the scripts that move the events.

Every accepted event has one pending entry; deleting that entry is what counts the event elsewhere. So the
counters cannot drift through a crash, a repetition or a second worker, and a difference means a loss.
"""

from collections.abc import Mapping

from msgspec import Struct


def is_counted(name: str) -> bool:
    """Whether the identity counts this field of a tag's stats hash."""
    return name.startswith(("received:", "dead:")) or name in ("in_rows", "duplicates", "unemitted", "erased")


class Accounting(Struct, kw_only=True):
    """Where every event went that Redis received. `difference` is 0 unless something was lost."""

    received: int = 0
    in_rows: int = 0
    pending: int = 0
    dead: int = 0
    duplicates: int = 0
    unemitted: int = 0
    """Acknowledged while its record had one side only, with JOINBACK_EMIT=joined."""
    erased: int = 0
    """Acknowledged without a row, as their join key was erased."""
    oldest_pending_s: float = 0.0
    dead_by_reason: dict[str, int] = {}
    troubles: list[str] = []
    """What stands in the books' place and cannot be counted, each with its fix."""

    @classmethod
    def of(cls, counters: Mapping[str, int], *, pending: int, oldest_pending_s: float) -> "Accounting":
        """From the counters of a tag's stats hash."""
        dead = {name.removeprefix("dead:"): n for name, n in counters.items() if name.startswith("dead:")}
        return cls(
            received=sum(n for name, n in counters.items() if name.startswith("received:")),
            in_rows=counters.get("in_rows", 0),
            pending=pending,
            dead=sum(dead.values()),
            duplicates=counters.get("duplicates", 0),
            unemitted=counters.get("unemitted", 0),
            erased=counters.get("erased", 0),
            oldest_pending_s=oldest_pending_s,
            dead_by_reason=dead,
        )

    @property
    def difference(self) -> int:
        told = self.in_rows + self.pending + self.dead + self.duplicates + self.unemitted + self.erased
        return self.received - told

    def __add__(self, other: "Accounting") -> "Accounting":
        reasons = self.dead_by_reason.keys() | other.dead_by_reason.keys()
        return Accounting(
            received=self.received + other.received,
            in_rows=self.in_rows + other.in_rows,
            pending=self.pending + other.pending,
            dead=self.dead + other.dead,
            duplicates=self.duplicates + other.duplicates,
            unemitted=self.unemitted + other.unemitted,
            erased=self.erased + other.erased,
            oldest_pending_s=max(self.oldest_pending_s, other.oldest_pending_s),
            troubles=self.troubles + other.troubles,
            dead_by_reason={r: self.dead_by_reason.get(r, 0) + other.dead_by_reason.get(r, 0) for r in reasons},
        )

    def summary(self) -> dict[str, int]:
        """The identity's terms and its difference, by name."""
        names = ("received", "in_rows", "pending", "dead", "duplicates")
        counts = {name: getattr(self, name) for name in names}
        counts |= {name: count for name in ("unemitted", "erased") if (count := getattr(self, name))}
        return counts | {"difference": self.difference}
