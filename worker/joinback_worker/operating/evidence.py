"""What Redis holds of one join key: its record, its entries on the pending stream and who claimed them, its letters."""

from datetime import UTC, datetime

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from joinback import wire
from joinback_worker.drain.source import Source, Unusable

from .explanation import Explanation, Waiting

ENTRIES_SEARCHED = 1_000
"""Of the pending and the dead stream, the newest so many, and of the pending the oldest: a look must not cost the
server a full scan."""


async def look_under(redis: Redis, tag: str, found: Explanation) -> None:
    """Add what Redis holds under one tag. Raises what Redis raises."""
    key = wire.record_key(tag, found.join_key)
    held = (await Source(redis, tag).load([found.join_key]))[0]
    if isinstance(held, Unusable):
        found.unusable = held.detail
    elif held:
        found.events |= {field: payload.decode(errors="backslashreplace") for field, payload in held}
        found.expires_in_s = await redis.execute_command("TTL", key)
    await _look_at_pending(redis, tag, found)
    dead = wire.dead_key(tag)
    for letter_id, fields in await _entries(redis, "XREVRANGE", dead, "+", "-"):
        if fields.get("key") == found.join_key:
            found.dead.append({"id": letter_id} | fields)
            found.dead_expire_in_s = await redis.execute_command("TTL", dead)


async def _look_at_pending(redis: Redis, tag: str, found: Explanation) -> None:
    stream = wire.pending_key(tag)
    entries = dict(await _entries(redis, "XRANGE", stream, "-", "+"))
    entries |= dict(await _entries(redis, "XREVRANGE", stream, "+", "-"))
    for entry_id, fields in entries.items():
        if fields.get("key") == found.join_key:
            consumer, claimed_s = await _claim(redis, stream, entry_id)
            found.pending.append(
                Waiting(
                    id=entry_id,
                    at=time_of(entry_id),
                    kind=fields.get("kind", ""),
                    event_id=fields.get("id", ""),
                    consumer=consumer,
                    claimed_s=claimed_s,
                )
            )


async def _claim(redis: Redis, stream: str, entry_id: str) -> tuple[str | None, float | None]:
    """Return who claimed an entry, and how long ago."""
    try:
        claims = await redis.execute_command("XPENDING", stream, wire.GROUP, entry_id, entry_id, 1, parse_detail=True)
    except ResponseError:
        return None, None  # the group is gone; the next drain makes it again
    for claim in claims:
        return claim["consumer"].decode(errors="replace"), claim["time_since_delivered"] / 1000
    return None, None


async def _entries(redis: Redis, command: str, stream: str, first: str, last: str) -> list[tuple[str, dict[str, str]]]:
    try:
        found = await redis.execute_command(command, stream, first, last, "COUNT", ENTRIES_SEARCHED)
    except ResponseError:
        return []  # somebody wrote something else there, which status tells
    return [
        (entry_id.decode(), {k.decode(): v.decode(errors="backslashreplace") for k, v in fields.items()})
        for entry_id, fields in found
    ]


def time_of(entry_id: str) -> datetime:
    """Return when an entry was written, by Redis's clock."""
    return datetime.fromtimestamp(int(entry_id.partition("-")[0]) / 1000, tz=UTC)
