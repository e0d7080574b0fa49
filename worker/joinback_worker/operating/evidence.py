"""What Redis holds of one join key: its record, its pending entries with who claimed them, and its dead letters."""

from datetime import UTC, datetime

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from joinback import wire
from joinback_worker.drain.source import Source, Unusable

from .explanation import Explanation, Waiting
from .letters import named

ENTRIES_SEARCHED = 1_000
"""The newest entries of the pending and the dead stream, and the oldest of the pending one: a full scan would cost the
server too much."""


async def look_under(redis: Redis, tag: str, found: Explanation) -> None:
    """Add to `found` what Redis holds under one tag. Raises what Redis raises."""
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
            detail = named(fields.get("detail", ""), found.application)
            found.dead.append({"id": letter_id} | fields | {"detail": detail})
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
    """Return who claimed an entry, and how many seconds ago; None for both if nobody has."""
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
        return []  # another type stands at this key, which `joinback status` reports
    return [
        (entry_id.decode(), {k.decode(): v.decode(errors="backslashreplace") for k, v in fields.items()})
        for entry_id, fields in found
    ]


def time_of(entry_id: str) -> datetime:
    """Return when an entry of a stream was written, by Redis's clock."""
    return datetime.fromtimestamp(int(entry_id.partition("-")[0]) / 1000, tz=UTC)
