"""The books: received = in rows + pending + dead + duplicates + unemitted + erased.

The scripts that move events count them. Every accepted event has one pending entry, and the script that deletes the
entry counts the event under another term. So a crash, a repetition or a second worker cannot make the counters wrong,
and a difference means that events were lost.
"""

from collections.abc import Iterator, Mapping, Sequence
from shlex import quote

from msgspec import field

from joinback import wire
from joinback_worker.totals import Totals

from .counters import counter
from .foreign import Foreign, in_its_place
from .history import Snapshot

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
        text = name.decode(errors="backslashreplace")
        if (number := counter(value)) is None:
            foreign.append((text, value))
        else:
            counts[text] = number
    books = Accounting.of(counts, pending=pending, oldest_pending_s=oldest_pending_s)
    books.troubles = troubles + [_among(stats, *one, books.difference) for one in foreign]
    return books


def lost(tag: str, books: Accounting, letters: int, now: Snapshot, noted: Snapshot | None) -> Iterator[Foreign]:
    """Yield that the counters of a tag were deleted, if more is known than they count: a loss before would go unseen.

    `letters`: the dead letters that are there. `noted`: the counters at the end of the last drain.
    """
    stats = wire.stats_key(tag)
    if books.troubles:
        return
    if noted is not None and not books.difference and now.received < noted.received:
        kept = {name: n for name, n in noted.counters.items() if name != "pending" and not name.startswith("feedback_")}
        says = f"{stats} counts {now.received:,} events, and at the last drain {noted.received:,}: it was deleted since"
        yield Foreign(says, "find out by whom; then bring back what the last drain noted", _added(stats, kept, now))
    elif letters > books.dead:
        says = f"{stats} counts {books.dead:,} dead letters, and {letters:,} are there: it was deleted"
        missing = dict.fromkeys(("received:unknown", "dead:unknown"), letters - books.dead)
        yield Foreign(says, "find out by whom; then count these letters again", _added(stats, missing, now))


def _added(stats: str, counters: Mapping[str, int], now: Snapshot) -> str:
    """Return the command that adds these to the counters, in one step."""
    pairs = (f"{quote(name)} {number + now.counters.get(name, 0)}" for name, number in sorted(counters.items()))
    return f"HSET {quote(stats)} {' '.join(pairs)}"


def _among(stats: str, name: str, value: bytes, difference: int) -> Foreign:
    """Return that a counter is not a number, or none that Redis can count on from: it counted as 0 so far."""
    what = "is a number that Redis cannot count on from" if value.lstrip(b"-").isdigit() else "is not a number"
    says, key = f"{name[:NAME_SHOWN]!r} in {stats} {what}", f"{quote(stats)} {quote(name)}"
    if not is_counted(name):
        return Foreign(says, "delete it", f"HDEL {key}")
    number = max(0, -difference if name.startswith("received:") else difference)
    does = f"set it to the number that brings the difference to 0, now {number}"
    return Foreign(says, does, f"HSET {key} {number}")
