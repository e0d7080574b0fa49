"""The books over time: each drain of a tag notes its counters on a stream, from which rates and curves are drawn.

Pure: who asks Redis hands the entries over, as redis-py returns them.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime

from msgspec import Struct

Entry = tuple[bytes, Mapping[bytes, bytes]]
"""Of the stream: its id, which is the time by Redis's clock, and its fields."""

RATE_OVER_S_MIN = 180.0
"""Over less, a rate says when the last drain fell; drains come every five minutes."""


class Snapshot(Struct, frozen=True):
    """A tag's counters at one moment, by the names that `joinback:{tag}:stats` has; and `pending`."""

    at: datetime
    counters: Mapping[str, int]

    @property
    def received(self) -> int:
        return sum(number for name, number in self.counters.items() if name.startswith("received:"))

    @property
    def rows(self) -> int:
        """Rows written; each time one changes counts."""
        return self.counters.get("rows", 0)


class Rates(Struct, frozen=True):
    """Of one tag, or of several together."""

    received_per_min: float = 0.0
    rows_per_min: float = 0.0


def snapshot(at: datetime, fields: Mapping[bytes, bytes]) -> Snapshot:
    """Return the counters among these fields; what is no number is left out."""
    counters = {}
    for name, value in fields.items():
        with suppress(ValueError):
            counters[name.decode(errors="replace")] = int(value)
    return Snapshot(at, counters)


def snapshots(entries: Iterable[Entry]) -> list[Snapshot]:
    """Return them in the order of the entries. Of two neighbours the differences are a curve's."""
    return [snapshot(_time_of(entry_id), fields) for entry_id, fields in entries]


def rates(now: Snapshot, before: Snapshot | None, *, is_quiet: bool) -> Rates | None:
    """Return what came per minute between two moments of a tag; None if that is not known.

    `before` is the newest snapshot that is `RATE_OVER_S_MIN` old, so after a quiet hour the rate is that of the hour.
    Without one a tag that `is_quiet`, as nothing came to it for so long, has rates of 0.
    """
    if before is not None:
        minutes = (now.at - before.at).total_seconds() / 60
        received, rows = now.received - before.received, now.rows - before.rows
        # Less than there was: the counters were lost, and began anew.
        if minutes > 0 and received >= 0 and rows >= 0:
            return Rates(received / minutes, rows / minutes)
    return Rates() if is_quiet else None


def summed(of_tags: Sequence[Rates | None]) -> Rates | None:
    """Return the rates of all tags together; None if one is not known."""
    known = [rate for rate in of_tags if rate is not None]
    if len(known) < len(of_tags):
        return None
    return Rates(sum(rate.received_per_min for rate in known), sum(rate.rows_per_min for rate in known))


def _time_of(entry_id: bytes) -> datetime:
    return datetime.fromtimestamp(int(entry_id.partition(b"-")[0]) / 1000, tz=UTC)
