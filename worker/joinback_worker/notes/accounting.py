"""The books: received = in rows + pending + dead + duplicates + erased, counted by the scripts that move the events.

Every accepted event has one pending entry; deleting that entry is what counts the event elsewhere. So the
counters cannot drift through a crash, a repetition or a second worker, and a difference means a loss.
"""

from collections.abc import Mapping, Sequence

from msgspec import field

from joinback import wire
from joinback_worker.totals import Totals


def is_counted(name: str) -> bool:
    """Whether the identity counts this field of a tag's stats hash."""
    return name.startswith(("received:", "dead:")) or name in ("in_rows", "duplicates", "unemitted", "erased")


class Accounting(Totals, kw_only=True):
    """Where every event went that Redis received. `difference` is 0 unless something was lost."""

    largest_of = frozenset({"oldest_pending_s"})

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
    dead_by_reason: dict[str, int] = field(default_factory=dict)
    troubles: list[str] = field(default_factory=list)
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
        elsewhere = self.in_rows + self.pending + self.dead + self.duplicates + self.unemitted + self.erased
        return self.received - elsewhere

    def summary(self) -> dict[str, int]:
        """The identity's terms and its difference, by name."""
        names = ("received", "in_rows", "pending", "dead", "duplicates")
        counts = {name: getattr(self, name) for name in names}
        counts |= {name: count for name in ("unemitted", "erased") if (count := getattr(self, name))}
        return counts | {"difference": self.difference}


def books_of(tag: str, pending: int | bytes, flat: Sequence[bytes] | bytes, oldest_pending_s: float) -> Accounting:
    """Return the books of a tag from what a script read: in place of each part the name of a type that is foreign."""
    stats, troubles = wire.stats_key(tag), []
    if isinstance(pending, bytes):
        troubles.append(f"{wire.pending_key(tag)} is a {pending.decode()}, not a stream; rename or delete it")
        pending = 0
    if isinstance(flat, bytes):
        troubles.append(f"{stats} is a {flat.decode()}, not a hash; rename or delete it")
        flat = []
    counts = {}
    for name, value in zip(flat[::2], flat[1::2], strict=True):
        try:
            counts[name.decode(errors="backslashreplace")] = int(value)
        except ValueError:
            shown = name.decode(errors="backslashreplace")[:100]
            fix = "HSET it to the number that brings the difference to 0" if is_counted(shown) else "HDEL it"
            troubles.append(f"{shown!r} in {stats} is no number; {fix}")
    books = Accounting.of(counts, pending=pending, oldest_pending_s=oldest_pending_s)
    books.troubles = troubles
    return books
