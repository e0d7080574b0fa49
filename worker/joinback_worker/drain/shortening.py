"""Let Redis keep settled records for a short time only, while the next batch is merged.

Nothing waits for it, and nothing depends on it: a record whose TTL stays as it was takes up memory for longer. It is
most of what a drain asks of Redis, so a sink that waited for it would be idle for a third of the time.
"""

import asyncio
from collections.abc import Collection, Mapping
from contextlib import suppress

from .source import REDIS_TROUBLE, Source


class Shortening:
    """Shortens the records of one batch at a time. `end` before the connection is closed."""

    def __init__(self, source: Source, settled_ttl_s: int) -> None:
        self._source = source
        self._settled_ttl_s = settled_ttl_s
        self._under_way: asyncio.Task[None] | None = None

    async def begin(self, settled: Mapping[str, Collection[str]]) -> None:
        """Shorten the TTL of these records: join key -> its fields that the sink has. Wait for the batch before."""
        await self.end()
        self._under_way = asyncio.create_task(self._source.shorten(settled, self._settled_ttl_s))

    async def end(self) -> None:
        """Wait until what was begun is done. If Redis is away, the records keep their TTL."""
        if self._under_way is not None:
            # Not cancelled with whoever waits: a reply would be left in the connection.
            await asyncio.wait({self._under_way})
            done, self._under_way = self._under_way, None
            with suppress(*REDIS_TROUBLE):
                done.result()
