"""What Redis holds of one join key: its record, its pending entries with who claimed them, and its dead letters."""

from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from joinback import wire
from joinback.errors import JoinbackError
from joinback_worker.connection.scripts import Script
from joinback_worker.drain.source import Source, Unusable

from .explanation import Explanation, Waiting
from .letters import named

ENTRIES_SEARCHED = 1_000
"""The newest dead letters that are read. Each may hold an event of 1 MiB, so a full scan would cost the server too
much."""
PAGE_ENTRIES = 500
"""Pending entries that one step of the search looks at: the server serves nobody else for some two milliseconds."""
PENDING_SEARCHED = 1_000_000
"""The most pending entries of one tag that are looked at: three or four seconds."""
CLOCKS_DIFFER = timedelta(minutes=10)
"""A client's clock may be ahead of Redis's by this, so the search of the queue begins that long before the event."""

_queued = Script("operating/queued.lua")


async def look_under(redis: Redis, tag: str, found: Explanation) -> None:
    """Add to `found` what Redis holds under one tag. Raises what Redis raises."""
    key = wire.record_key(tag, found.join_key)
    held = (await Source(redis, tag).load([found.join_key]))[0]
    if isinstance(held, Unusable):
        found.unusable = held.detail
    elif held:
        found.events |= {field: payload.decode(errors="backslashreplace") for field, payload in held}
        found.expires_in_s = await redis.execute_command("TTL", key)
    try:
        await _look_at_pending(redis, tag, found)
    except ResponseError:
        found.queue_unread = True  # another type stands at its key, which `joinback status` reports
    dead = wire.dead_key(tag)
    for letter_id, fields in await _letters(redis, dead):
        if fields.get("key") == found.join_key:
            detail = named(fields.get("detail", ""), found.application)
            found.dead.append({"id": letter_id} | fields | {"detail": detail})
            found.dead_expire_in_s = await redis.execute_command("TTL", dead)


async def _look_at_pending(redis: Redis, tag: str, found: Explanation) -> None:
    """Search the queue from the time of the newest event on, then what is older, as far as the bound allows."""
    stream = wire.pending_key(tag)
    begin = _id_of_newest(found)
    looked_at = 0
    for first, last in [("-", "+")] if begin is None else [(begin, "+"), ("-", f"({begin}")]:
        async for number, entries in _pages(redis, stream, found.join_key, first, last, PENDING_SEARCHED - looked_at):
            looked_at += number
            found.pending += [await _waiting(redis, stream, *entry) for entry in entries]
    found.pending.sort(key=lambda one: one.at)
    length = int(await redis.execute_command("XLEN", stream))
    found.queue_looked_at += looked_at
    # Entries that came or went meanwhile do not count.
    found.queue_entries += looked_at if looked_at < PENDING_SEARCHED else max(length, looked_at)


def _id_of_newest(found: Explanation) -> str | None:
    """Return the id in the queue from which the newest event of the record may wait; None if it has no event."""
    logged_at = []
    for field, text in found.events.items():
        with suppress(JoinbackError):
            logged_at.append(wire.decode_event(field.partition(":")[0], text.encode(errors="replace")).logged_at)
    return f"{max(1, int((max(logged_at) - CLOCKS_DIFFER).timestamp() * 1000))}-0" if logged_at else None


async def _pages(
    redis: Redis, stream: str, join_key: str, first: str, last: str, most: int
) -> AsyncIterator[tuple[int, list[tuple[str, str, str]]]]:
    """Yield, page by page, how many entries were looked at, and those of the join key: id, kind, event id."""
    while most > 0:
        wanted = min(PAGE_ENTRIES, most)
        number, reached, *flat = await _queued(redis, [stream], [join_key, first, last, wanted])
        texts = [part.decode(errors="backslashreplace") for part in flat]
        yield number, list(zip(texts[::3], texts[1::3], texts[2::3], strict=True))
        most -= number
        if number < wanted:
            return
        first = f"({reached.decode()}"


async def _waiting(redis: Redis, stream: str, entry_id: str, kind: str, event_id: str) -> Waiting:
    consumer, claimed_s = await _claim(redis, stream, entry_id)
    return Waiting(
        id=entry_id, at=time_of(entry_id), kind=kind, event_id=event_id, consumer=consumer, claimed_s=claimed_s
    )


async def _claim(redis: Redis, stream: str, entry_id: str) -> tuple[str | None, float | None]:
    """Return who claimed an entry, and how many seconds ago; None for both if nobody has."""
    try:
        claims = await redis.execute_command("XPENDING", stream, wire.GROUP, entry_id, entry_id, 1, parse_detail=True)
    except ResponseError:
        return None, None  # the group is gone; the next drain makes it again
    for claim in claims:
        return claim["consumer"].decode(errors="replace"), claim["time_since_delivered"] / 1000
    return None, None


async def _letters(redis: Redis, stream: str) -> list[tuple[str, dict[str, str]]]:
    """Return the newest dead letters: (id, fields)."""
    try:
        found = await redis.execute_command("XREVRANGE", stream, "+", "-", "COUNT", ENTRIES_SEARCHED)
    except ResponseError:
        return []  # another type stands at this key, which `joinback status` reports
    return [
        (entry_id.decode(), {k.decode(): v.decode(errors="backslashreplace") for k, v in fields.items()})
        for entry_id, fields in found
    ]


async def leaves_out_rows(redis: Redis, tags: Iterable[str]) -> bool:
    """Return whether a worker ever left rows without a label out of the sink, as JOINBACK_EMIT=joined makes it do."""
    for tag in tags:
        # Another type may stand at the key, which `joinback status` reports.
        with suppress(ResponseError):
            if await redis.execute_command("HGET", wire.stats_key(tag), "unemitted") not in (None, b"0"):
                return True
    return False


def time_of(entry_id: str) -> datetime:
    """Return when an entry of a stream was written, by Redis's clock."""
    return datetime.fromtimestamp(int(entry_id.partition("-")[0]) / 1000, tz=UTC)
