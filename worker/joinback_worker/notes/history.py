"""The books over time: each drain of a tag appends its counters to a stream. Rates and curves are made from it.

Pure: the caller reads the entries from Redis, and passes them as redis-py returns them.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from msgspec import Struct

from .counters import counter

Entry = tuple[bytes, Mapping[bytes, bytes]]
"""An entry of the stream: its id, which begins with Redis's time in ms, and its fields."""

RATE_OVER_S_MIN = 180.0
"""The shortest time over which a rate is computed. Over less, it would depend on when the last drain was: drains come
every five minutes."""


class Snapshot(Struct, frozen=True):
    """A tag's counters at one moment, by their names in `joinback:{tag}:stats`, and `pending`."""

    at: datetime
    counters: Mapping[str, int]

    @property
    def received(self) -> int:
        """Events received, of all kinds."""
        return sum(number for name, number in self.counters.items() if name.startswith("received:"))

    @property
    def rows(self) -> int:
        """Rows written. A row counts each time it is written."""
        return self.counters.get("rows", 0)


class Rates(Struct, frozen=True):
    """How many events came per minute and how many rows were written, for one tag or several together."""

    received_per_min: float = 0.0
    rows_per_min: float = 0.0


def snapshot(at: datetime, fields: Mapping[bytes, bytes]) -> Snapshot:
    """Return the counters among these fields; what Redis cannot count on from is left out."""
    counters = {}
    for name, value in fields.items():
        if (number := counter(value)) is not None:
            counters[name.decode(errors="replace")] = number
    return Snapshot(at, counters)


def snapshots(entries: Iterable[Entry]) -> list[Snapshot]:
    """Return a snapshot per entry, in their order. A curve shows the differences between neighbours."""
    return [snapshot(_time_of(entry_id), fields) for entry_id, fields in entries]


def rates(now: Snapshot, before: Snapshot | None, *, is_quiet: bool) -> Rates | None:
    """Return the rates of a tag between two snapshots; None if they are not known.

    `before` is the newest snapshot that is at least RATE_OVER_S_MIN old, or None. `is_quiet`: nothing came to the tag
    for that time; without a usable `before` its rates are 0 then.
    """
    if before is not None:
        minutes = (now.at - before.at).total_seconds() / 60
        received, rows = now.received - before.received, now.rows - before.rows
        # If a counter is smaller than before, the counters were lost and began anew.
        if minutes > 0 and received >= 0 and rows >= 0:
            return Rates(received / minutes, rows / minutes)
    return Rates() if is_quiet else None


def summed(of_tags: Sequence[Rates | None]) -> Rates | None:
    """Return the sum of the rates of several tags; None if one of them is not known."""
    known = [rate for rate in of_tags if rate is not None]
    if len(known) < len(of_tags):
        return None
    return Rates(sum(rate.received_per_min for rate in known), sum(rate.rows_per_min for rate in known))


def _time_of(entry_id: bytes) -> datetime:
    return datetime.fromtimestamp(int(entry_id.partition(b"-")[0]) / 1000, tz=UTC)
