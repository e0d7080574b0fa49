"""Make what Redis still holds of an application pending again: for a sink that was lost, emptied or changed."""

from collections.abc import AsyncIterator
from typing import NamedTuple

from redis.asyncio import Redis

from joinback import wire
from joinback_worker.connection.connect import pattern_of, primaries, scan
from joinback_worker.connection.scripts import Script

SCAN_KEYS = 500
"""The keys of one step: SCAN blocks the server for less than a millisecond, and so does the script after it."""

_requeue = Script("by_hand/requeue.lua")


class Requeued(NamedTuple):
    """What became pending again."""

    records: int = 0
    events: int = 0
    """At most so many events: the marks of late ones count too, since to leave them out costs Redis time per event."""


async def requeue(redis: Redis, tag: str, buffer_ttl_s: int) -> AsyncIterator[Requeued]:
    """Make every record of a tag pending again; yield after each step what it queued.

    A record may be queued twice, which changes no row. Raises what redis-py raises.
    """
    prefix = wire.record_key(tag, "")
    pattern = pattern_of(prefix) + "*"
    # In a cluster one server holds them all; but their slot may move meanwhile, so ask every server.
    for server in await primaries(redis):
        async for keys in scan(redis, server, keys_per_step=SCAN_KEYS, pattern=pattern):
            if keys:
                named: list[str | bytes] = [wire.pending_key(tag), wire.stats_key(tag), *keys]
                limits = (len(prefix.encode()), buffer_ttl_s, wire.STATS_TTL_S)
                yield Requeued(*await _requeue(redis, named, limits))
