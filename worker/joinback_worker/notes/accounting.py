"""The books: received = in rows + pending + dead + duplicates + unemitted + erased.

The scripts that move events count them. Every accepted event has one pending entry, and the script that deletes the
entry counts the event under another term. So a crash, a repetition or a second worker cannot make the counters wrong,
and a difference means that events were lost.
"""

from collections.abc import Mapping, Sequence
from shlex import quote

from msgspec import field

from joinback import wire
from joinback_worker.totals import Totals

from .foreign import Foreign, in_its_place

NAME_SHOWN = 100
"""The characters of a foreign counter's name that are shown: one line."""


def is_counted(name: str) -> bool:
    """Return whether this field of a tag's stats hash is a term of the equation, or part of one."""
    return name.startswith(("received:", "dead:")) or name in ("in_rows", "duplicates", "unemitted", "erased")


class Accounting(Totals, kw_only=True):
    """Where every event is that Redis received, as counts. `difference` is 0 unless events were lost."""

    largest_of = frozenset({"oldest_pending_s"})

    received: int = 0
    in_rows: int = 0
    pending: int = 0
    dead: int = 0
    duplicates: int = 0
    unemitted: int = 0
    """Events acknowledged without a row, because their record had only one side, with JOINBACK_EMIT=joined."""
    erased: int = 0
    """Events acknowledged without a row, because their join key was erased."""
    oldest_pending_s: float = 0.0
    """The age of the oldest pending entry; 0 if none is pending."""
    dead_by_reason: dict[str, int] = field(default_factory=dict)
    troubles: list[Foreign] = field(default_factory=list)
    """What cannot be counted because somebody else wrote it there."""

    @classmethod
    def of(cls, counters: Mapping[str, int], *, pending: int, oldest_pending_s: float) -> "Accounting":
        """Return the books of one tag from the counters of its stats hash."""
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
        """Received events that no other term counts: more than 0 if events were lost, less if counters were."""
        elsewhere = self.in_rows + self.pending + self.dead + self.duplicates + self.unemitted + self.erased
        return self.received - elsewhere

    def summary(self) -> dict[str, int]:
        """Return the terms of the equation and `difference`, by name; `unemitted` and `erased` only if not 0."""
        names = ("received", "in_rows", "pending", "dead", "duplicates")
        counts = {name: getattr(self, name) for name in names}
        counts |= {name: count for name in ("unemitted", "erased") if (count := getattr(self, name))}
        return counts | {"difference": self.difference}


def books_of(tag: str, pending: int | bytes, flat: Sequence[bytes] | bytes, oldest_pending_s: float) -> Accounting:
    """Return the books of a tag from what account.lua returned.

    `pending`: the number of pending entries, or the name of the wrong type at that key. `flat`: counter, value, ...,
    or the name of the wrong type at that key.
    """
    stats = wire.stats_key(tag)
    troubles: list[Foreign] = []
    if isinstance(pending, bytes):
        troubles.append(in_its_place(wire.pending_key(tag), pending, "stream"))
        pending = 0
    if isinstance(flat, bytes):
        troubles.append(in_its_place(stats, flat, "hash"))
        flat = []
    counts, foreign = {}, []
    for name, value in zip(flat[::2], flat[1::2], strict=True):
        try:
            counts[name.decode(errors="backslashreplace")] = int(value)
        except ValueError:
            foreign.append(name.decode(errors="backslashreplace"))
    books = Accounting.of(counts, pending=pending, oldest_pending_s=oldest_pending_s)
    books.troubles = troubles + [_among(stats, name, books.difference) for name in foreign]
    return books


def _among(stats: str, name: str, difference: int) -> Foreign:
    """Return that a counter is not a number: it counted as 0 so far."""
    says, key = f"{name[:NAME_SHOWN]!r} in {stats} is not a number", f"{quote(stats)} {quote(name)}"
    if not is_counted(name):
        return Foreign(says, "delete it", f"HDEL {key}")
    number = max(0, -difference if name.startswith("received:") else difference)
    does = f"set it to the number that brings the difference to 0, now {number}"
    return Foreign(says, does, f"HSET {key} {number}")
