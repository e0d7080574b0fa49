"""Delete what Redis holds of an application: records, pending events, dead letters, books. The sink stays."""

from collections.abc import AsyncIterator, Sequence

from msgspec import Struct
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from joinback import wire
from joinback_worker.connection.connect import pattern_of, primaries, scan
from joinback_worker.notes.guard import forget
from joinback_worker.notes.layouts import Layout
from joinback_worker.notes.rules_in_use import forget_rules

KEYS_PER_STEP = 500
"""One step, and the deletion after it, each hold the server for less than a millisecond."""


class Purged(Struct, kw_only=True):
    """How much there is to delete, or how much was deleted."""

    records: int = 0
    pending: int = 0
    """Events that no drain has brought to a sink."""
    dead: int = 0
    """Dead letters."""


async def held(redis: Redis, tags: Sequence[str]) -> Purged:
    """Return how much these tags hold. Raises what Redis raises: the login needs +scan."""
    found = Purged()
    for tag in tags:
        found.pending += await _length(redis, wire.pending_key(tag))
        found.dead += await _length(redis, wire.dead_key(tag))
        async for keys in records_of(redis, tag):
            found.records += len(keys)
    return found


async def purge(redis: Redis, application: str, layout: Layout) -> Purged:
    """Delete it, and return how much it was. A client that still logs starts from zero. Raises what Redis raises."""
    # This comes first, so that workers take no more of its events.
    await forget(redis, application)
    await forget_rules(redis, application)
    await redis.execute_command("HDEL", wire.APPLICATIONS_KEY, application)
    counts = (layout.shards, *layout.former)
    await redis.execute_command("HDEL", wire.LAYOUTS_KEY, *(wire.layout_field(application, count) for count in counts))
    notes = (wire.drain_field(application, is_done=is_done) for is_done in (True, False))
    await redis.execute_command("HDEL", wire.DRAINS_KEY, *notes)
    gone = Purged()
    for tag in layout.tags(application):
        gone.pending += await _length(redis, wire.pending_key(tag))
        gone.dead += await _length(redis, wire.dead_key(tag))
        await redis.execute_command("DEL", *wire.keys_of(tag))
        async for keys in records_of(redis, tag):
            gone.records += int(await redis.execute_command("DEL", *keys))
    return gone


async def _length(redis: Redis, stream: str) -> int:
    try:
        return int(await redis.execute_command("XLEN", stream))
    except ResponseError:
        return 0  # the key holds another type; it is deleted too


async def records_of(redis: Redis, tag: str) -> AsyncIterator[list[bytes]]:
    """Yield the keys of all records of a tag, in steps. A key may come twice. Raises what Redis raises: needs +scan."""
    pattern = pattern_of(wire.record_key(tag, "")) + "*"
    for server in await primaries(redis):
        async for keys in scan(redis, server, keys_per_step=KEYS_PER_STEP, pattern=pattern):
            if keys:
                yield keys
