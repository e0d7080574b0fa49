"""What Redis still holds of an application, pending once more: for a sink that was lost, emptied or changed."""

from collections.abc import AsyncIterator

from redis.asyncio import Redis

from joinback import wire
from joinback_worker.connection.connect import pattern_of, primaries, scan
from joinback_worker.connection.scripts import Script

SCAN_KEYS = 500
"""Keys of one step: it holds the server for less than a millisecond, and so does the script that follows."""

_requeue = Script("by_hand/requeue.lua")


async def requeue(redis: Redis, tag: str, buffer_ttl_s: int) -> AsyncIterator[int]:
    """Queue every record of a tag; yields how many after each step. A key may come twice, which changes no row."""
    prefix = wire.record_key(tag, "")
    pattern = pattern_of(prefix) + "*"
    # In a cluster one server has them all, unless their slot moves meanwhile.
    for server in await primaries(redis):
        async for keys in scan(redis, server, keys_per_step=SCAN_KEYS, pattern=pattern):
            if keys:
                named: list[str | bytes] = [wire.pending_key(tag), wire.stats_key(tag), *keys]
                limits = (len(prefix.encode()), buffer_ttl_s, wire.STATS_TTL_S)
                yield int(await _requeue(redis, named, limits))
