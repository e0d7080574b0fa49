"""One consistent look at a tag, by one script: its books, its pending events, and its history."""

from datetime import UTC, datetime
from typing import Any

from msgspec import Struct
from redis.asyncio import Redis

from joinback import wire
from joinback_worker.connection.scripts import Script
from joinback_worker.drain.group import LEASE_S, PARKED, process_of
from joinback_worker.notes.accounting import Accounting, books_of, lost
from joinback_worker.notes.foreign import Foreign, in_its_place
from joinback_worker.notes.history import RATE_OVER_S_MIN, Rates, Snapshot, rates, snapshot

_glance = Script("operating/glance.lua")


class Glance(Struct, kw_only=True):
    """The state of one tag. Times are by Redis's clock."""

    at: datetime
    books: Accounting
    last_event_at: datetime | None = None
    oldest_claimable_at: datetime | None = None
    claimed: int = 0
    holders: list[str] = []
    """The workers, `host:pid`, whose claims hold."""
    waiting: int = 0
    """Pending events that wait for a newer worker."""
    oldest_waiting_at: datetime | None = None
    rates: Rates | None = None
    now: Snapshot
    a_day_ago: Snapshot
    """The counters of a day ago; those of the oldest entry, if the history was cut; none, if counting began since."""
    last_drain_at: datetime | None = None
    """The last drain that found events."""
    feedback_at: datetime | None = None
    """When the last feedback came that was drained."""
    feedback_first_at: datetime | None = None
    silence_max_s: float | None = None
    """The longest time so far between two of feedback."""
    dead_now: int = 0
    newest_letter_at: datetime | None = None
    dead_expire_in_s: float | None = None
    taken: list[Foreign] = []
    """What stands in the place of its keys, except those of its books."""

    def of_day(self, name: str) -> int:
        """Return by how much a counter grew within the day. If the counters were lost meanwhile, return its value."""
        number, before = self.now.counters.get(name, 0), self.a_day_ago.counters.get(name, 0)
        return number - before if number >= before else number


async def glance(redis: Redis, tag: str, day_s: float) -> Glance:
    """Return the state of a tag. `day_s` is the length of a day. Raises what Redis raises."""
    books, others = [wire.pending_key(tag), wire.stats_key(tag)], _others(tag)
    times_ms = [int(RATE_OVER_S_MIN * 1000), int(day_s * 1000)]
    arguments = [wire.GROUP, PARKED, *times_ms, wire.HISTORY_ENTRIES_MAX, int(LEASE_S * 1000)]
    reply = await _glance(redis, [*books, *others], arguments)
    now_ms, pending, counters, *noted, (dead_now, newest_letter, expire_ms), wrong = reply
    at = _time(int(now_ms))
    now = snapshot(at, {} if isinstance(counters, bytes) else _map(counters))
    before_rate, a_day_ago, last = (_snapshot(at, flat) for flat in noted)
    entries, last_id, oldest, claimed, waiting, oldest_waiting, holders = (
        (pending, b"", b"", 0, 0, b"", []) if isinstance(pending, bytes) else pending
    )
    last_event_at = _time_of(last_id)
    long_ago = at.timestamp() - RATE_OVER_S_MIN
    is_quiet = last_event_at is None or last_event_at.timestamp() < long_ago
    oldest_at = _time_of(oldest)
    age_s = (at - oldest_at).total_seconds() if oldest_at else 0.0
    own = books_of(tag, entries, counters, age_s)
    own.troubles += lost(tag, own, dead_now, now, last)
    return Glance(
        at=at,
        books=own,
        last_event_at=last_event_at,
        oldest_claimable_at=oldest_at,
        claimed=claimed,
        holders=sorted({process_of(consumer.decode(errors="replace")) for consumer in holders}),
        waiting=waiting,
        oldest_waiting_at=_time_of(oldest_waiting),
        rates=rates(now, before_rate, is_quiet=is_quiet),
        now=now,
        a_day_ago=a_day_ago or Snapshot(at, {}),
        last_drain_at=last.at if last else None,
        feedback_at=_noted_time(last, "feedback_at_s"),
        feedback_first_at=_noted_time(last, "feedback_first_s"),
        silence_max_s=last.counters.get("feedback_silence_max_s") if last else None,
        dead_now=dead_now,
        newest_letter_at=_time_of(newest_letter),
        dead_expire_in_s=expire_ms / 1000 if expire_ms >= 0 else None,
        taken=[
            in_its_place(key, kind, wanted) for (key, wanted), kind in zip(others.items(), wrong, strict=True) if kind
        ],
    )


def _others(tag: str) -> dict[str, str]:
    """Return the keys of a tag beside its books, and their types, in the order that the script takes them."""
    streams = (wire.history_key(tag), wire.dead_key(tag))
    hashes = (wire.fields_key(tag), wire.erased_key(tag))
    return dict.fromkeys(streams, "stream") | dict.fromkeys(hashes, "hash")


def _snapshot(at: datetime, flat: list[bytes]) -> Snapshot | None:
    return snapshot(_time_of(flat[0]) or at, _map(flat[1:])) if flat else None


def _map(flat: list[Any]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _noted_time(last: Snapshot | None, name: str) -> datetime | None:
    seconds = last.counters.get(name) if last else None
    return None if seconds is None else _time(seconds * 1000)


def _time_of(entry_id: bytes) -> datetime | None:
    milliseconds = int(entry_id.partition(b"-")[0] or 0)
    return _time(milliseconds) if milliseconds else None


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, tz=UTC)
