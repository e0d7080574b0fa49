"""The tags that an application has, and those that it had: a change of its shards leaves events where they are.

The tags of every number of shards that was ever used are drained and counted until their keys have expired. While
Redis may hold the two halves of a record under two tags, both are read.
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
"""How often it is noted that a number of shards is in use, so "last in use" is right to a day. More often would cost
writes."""
KEPT = timedelta(seconds=wire.STATS_TTL_S) + 2 * RENEWAL
"""How long after its last use a number of shards is remembered: as long as its counters, which outlive all other keys
of a tag."""


class Layout(Struct, frozen=True):
    """How many shards an application has, and which numbers it had, each with the time when it was last in use."""

    shards: int = 1
    former: Mapping[int, datetime] = {}

    def tags(self, application: str) -> list[str]:
        """Return every tag under which keys may be. The tag of one shard is always one of them: all begin with it."""
        counts = sorted({1, self.shards, *self.former})
        return list(dict.fromkeys(tag for count in counts for tag in wire.tags(application, count)))

    def tags_of(self, application: str, join_key: str, since: datetime | None = None) -> list[str]:
        """Return the tags that may hold this join key's record, the present one first.

        Former numbers of shards count if they were in use after `since`; None: all.
        """
        recent = [count for count, at in self.former.items() if since is None or at + RENEWAL >= since]
        counts = (self.shards, *sorted(recent))
        return list(dict.fromkeys(wire.tag_of(application, join_key, count) for count in counts))


async def applications(redis: Redis) -> dict[str, wire.Application]:
    """Return every application that a client has announced, by name.

    An entry that is not valid JSON counts as one shard. Raises what redis-py raises.
    """
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
    """Return the layout of every application that a client has announced, by name. Raises what redis-py raises."""
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
    for application, current in announced.items():
        counts = former.get(application, {})
        shards = current.shards
        known[application] = Layout(shards, {n: at for n, at in counts.items() if n != shards})
    return known


def _entry(field: bytes, value: bytes) -> tuple[str, int, datetime] | None:
    """Return application, shards, and when that number was last in use; None if somebody wrote something else there."""
    shards, colon, application = field.decode(errors="replace").partition(":")
    try:
        count, at = int(shards), datetime.fromisoformat(value.decode())
    except ValueError:
        return None
    if not colon or at.tzinfo is None or not 1 <= count <= wire.SHARDS_MAX:
        return None
    return application, count, at


async def remember(redis: Redis, application: str, counts: Iterable[int], now: datetime) -> None:
    """Note that these numbers of shards of an application are in use now, or were until now."""
    flat = [part for count in counts for part in (wire.layout_field(application, count), now.isoformat())]
    await _hset(redis, [wire.LAYOUTS_KEY], [wire.STATS_TTL_S, *flat])


class Watch:
    """The layouts as one worker saw them last, so that it notes each change at once, and each number in use daily."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, datetime]] = {}

    async def look(self, redis: Redis, now: datetime) -> dict[str, Layout]:
        """Return the layouts by application, and note what changed. Forget former numbers of shards after KEPT.

        `now`: Redis's time. Raises what redis-py raises, except if Redis refuses to write the note.
        """
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
            # Each application begins with one shard, and nobody notes that.
            in_use.add(1)
        if in_use == {1} or (len(in_use) == 1 and now - noted_at <= RENEWAL):
            self._seen[application] = layout.shards, noted_at
            return layout
        # A full Redis refuses it; a later round notes it then.
        with contextlib.suppress(ResponseError):
            await remember(redis, application, in_use, now)
            self._seen[application] = layout.shards, now
        return Layout(layout.shards, {**layout.former, **dict.fromkeys(in_use - {layout.shards}, now)})
