"""The tags an application has, and those it had: a change of its shards leaves events where they were written.

All tags of any number of shards that was ever used are drained and counted until their keys have ended; and while
Redis may hold one half of a record under one tag and the other half under another, both are read.
"""

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from msgspec import Struct
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from joinback import wire
from joinback_worker.connection.scripts import Script

_hset = Script("notes/hset.lua")

RENEWAL = timedelta(days=1)
"""How exactly it is known when a number of shards was last in use; to know it better would cost writes."""
KEPT = timedelta(seconds=wire.STATS_TTL_S) + 2 * RENEWAL
"""Nothing of a tag outlives its counters."""


class Layout(Struct, frozen=True):
    """How many shards an application has, and how many it had, with the time when they were last in use."""

    shards: int = 1
    former: Mapping[int, datetime] = {}

    def tags(self, application: str) -> list[str]:
        """Return every tag under which keys may be: the one without shards too, with which applications begin."""
        counts = sorted({1, self.shards, *self.former})
        return list(dict.fromkeys(tag for count in counts for tag in wire.tags(application, count)))

    def tags_of(self, application: str, join_key: str, since: datetime | None = None) -> list[str]:
        """Return the tags that may hold this join key's record, the present one first.

        Of former ones those that were in use after `since`.
        """
        recent = [count for count, at in self.former.items() if since is None or at + RENEWAL >= since]
        counts = (self.shards, *sorted(recent))
        return list(dict.fromkeys(wire.tag_of(application, join_key, count) for count in counts))


async def applications(redis: Redis) -> dict[str, wire.Application]:
    """Every application that a client has announced. An entry that is no valid JSON counts as one shard."""
    found: dict[bytes, bytes] = await redis.execute_command("HGETALL", wire.APPLICATIONS_KEY)
    known = {}
    for name, value in found.items():
        known[name.decode(errors="replace")] = wire.decode_application(value) or wire.Application()
    return known


def all_tags(known: Mapping[str, Layout], only: Sequence[str] = ()) -> list[tuple[str, str]]:
    """Return (application, tag) for every tag of these layouts, or of those of the applications `only`."""
    return [
        (application, tag)
        for application, layout in known.items()
        if not only or application in only
        for tag in layout.tags(application)
    ]


async def layouts(redis: Redis) -> dict[str, Layout]:
    """Return the layout of every application that a client has announced."""
    announced = await applications(redis)
    former: dict[str, dict[int, datetime]] = {}
    if announced:
        found: dict[bytes, bytes] = await redis.execute_command("HGETALL", wire.LAYOUTS_KEY)
        for field, value in found.items():
            entry = _entry(field, value)
            if entry is not None:
                application, shards, at = entry
                former.setdefault(application, {})[shards] = at
    known = {}
    for application, said in announced.items():
        counts = former.get(application, {})
        known[application] = Layout(said.shards, {n: at for n, at in counts.items() if n != said.shards})
    return known


def _entry(field: bytes, value: bytes) -> tuple[str, int, datetime] | None:
    """Return application, shards, and when they were last in use; None if somebody wrote something else there."""
    shards, colon, application = field.decode(errors="replace").partition(":")
    try:
        count, at = int(shards), datetime.fromisoformat(value.decode())
    except ValueError:
        return None
    if not colon or at.tzinfo is None or not 1 <= count <= wire.SHARDS_MAX:
        return None
    return application, count, at


async def remember(redis: Redis, application: str, counts: Iterable[int], now: datetime) -> None:
    """Note that these numbers of shards are in use, or were until now."""
    flat = [part for count in counts for part in (wire.layout_field(application, count), now.isoformat())]
    await _hset(redis, [wire.LAYOUTS_KEY], [wire.STATS_TTL_S, *flat])


class Watch:
    """What one worker saw of the layouts, so that a change by anybody is noted, and one that stays each day."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, datetime]] = {}

    async def look(self, redis: Redis, now: datetime) -> dict[str, Layout]:
        """Return the layouts, with what was noted just now. Those of which no key is left are forgotten."""
        known = await layouts(redis)
        for application, layout in known.items():
            known[application] = await self._noted(redis, application, layout, now)
            ended = [count for count, at in layout.former.items() if now - at > KEPT]
            if ended:
                fields = (wire.layout_field(application, count) for count in ended)
                await redis.execute_command("HDEL", wire.LAYOUTS_KEY, *fields)
        return known

    async def _noted(self, redis: Redis, application: str, layout: Layout, now: datetime) -> Layout:
        before, noted_at = self._seen.get(application, (layout.shards, now - 2 * RENEWAL))
        in_use = {before, layout.shards}
        if layout.shards > 1 and 1 not in layout.former:
            # With one each application begins, and nobody notes it.
            in_use.add(1)
        if in_use == {1} or (len(in_use) == 1 and now - noted_at <= RENEWAL):
            self._seen[application] = layout.shards, noted_at
            return layout
        # A full Redis refuses it: then it is noted in a later round.
        with contextlib.suppress(ResponseError):
            await remember(redis, application, in_use, now)
            self._seen[application] = layout.shards, now
        return Layout(layout.shards, {**layout.former, **dict.fromkeys(in_use - {layout.shards}, now)})
