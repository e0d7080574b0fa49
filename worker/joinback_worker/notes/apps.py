"""What Redis knows of each application: its shards and sample rate, which can be changed while clients and workers run,
when its last event came, how many come, and how much memory it takes.
"""

import random
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec import Struct
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, ResponseError

from joinback import wire
from joinback_worker.connection.connect import primaries, scan
from joinback_worker.connection.scripts import Script
from joinback_worker.notes.layouts import applications

from .heartbeat import redis_time
from .history import RATE_OVER_S_MIN, Rates, rates, snapshot, snapshots, summed
from .layouts import Layout, layouts, remember

KEYS_SEEN_MAX = 20_000
"""Of each server, to tell how many records an application has: some milliseconds of its time, in small steps."""
KEYS_PER_STEP = 1_000
RECORDS_WEIGHED = 50
"""Of each application; their mean is told, and records of one application are alike."""

_change = Script("notes/apps.lua")


class App(Struct, kw_only=True):
    """One application."""

    application: str
    shards: int
    former_shards: list[int] = []
    """Numbers it had; their tags are drained as well, until nothing of them is left."""
    sample_rate: float | None = None
    last_event_at: datetime | None = None
    received_per_min: float | None = None
    """Events, over some minutes at least; None until a worker has drained for so long, or if it is not known."""
    rows_per_min: float | None = None
    """Rows written; each time one changes counts."""
    pending: int = 0
    records: int | None = None
    memory_bytes: int | None = None
    """Estimated from samples, as `records` is; None if Redis may not be asked."""


async def change(
    redis: Redis, application: str, *, shards: int | None = None, sample_rate: float | None = None
) -> Layout:
    """Change an application, or make it known before its first event. Return its layout from now on.

    Clients follow within a minute. Both numbers of shards are noted before the change, so that no event is written
    where nobody looks.
    """
    before = (await layouts(redis)).get(application, Layout())
    if shards is not None and shards != before.shards:
        await remember(redis, application, (before.shards, shards), await redis_time(redis))
    arguments = [application, "" if shards is None else shards, "" if sample_rate is None else sample_rate]
    await _change(redis, [wire.APPLICATIONS_KEY], [*arguments, wire.STATS_TTL_S])
    return (await layouts(redis))[application]


async def apps(redis: Redis) -> list[App]:
    """Return every application, by name. Memory is estimated from a sample of each server's keys."""
    announced = await applications(redis)
    now = await redis_time(redis)
    tags: dict[str, App] = {}
    found = []
    for application, layout in sorted((await layouts(redis)).items()):
        app = App(application=application, shards=layout.shards, former_shards=sorted(layout.former))
        app.sample_rate = announced[application].sample_rate if application in announced else None
        of_tags = []
        for tag in layout.tags(application):
            last_event_at = await _look(redis, tag, app)
            of_tags.append(await _rates(redis, tag, now, last_event_at))
            tags[tag] = app
        if (together := summed(of_tags)) is not None:
            app.received_per_min, app.rows_per_min = together.received_per_min, together.rows_per_min
        found.append(app)
    await _weigh(redis, found, tags)
    return found


async def _look(redis: Redis, tag: str, app: App) -> datetime | None:
    """Add what the pending stream of a tag tells: its length, and when its newest entry came, drained or not.

    Return that time; None if there is none.
    """
    try:
        stream = await redis.execute_command("XINFO STREAM", wire.pending_key(tag))
    except ResponseError:
        return None  # there is none, or somebody wrote something else there, which status tells
    app.pending += stream["length"]
    milliseconds = int(stream["last-generated-id"].partition(b"-")[0])
    if not milliseconds:
        return None
    at = datetime.fromtimestamp(milliseconds / 1000, tz=UTC)
    app.last_event_at = max(at, app.last_event_at or at)
    return at


async def _rates(redis: Redis, tag: str, now: datetime, last_event_at: datetime | None) -> Rates | None:
    """Return the rates of a tag: by what its counters are now, and what its history says of some minutes ago."""
    long_ago = now - timedelta(seconds=RATE_OVER_S_MIN)
    until = int(long_ago.timestamp() * 1000)
    try:
        entries = await redis.execute_command("XREVRANGE", wire.history_key(tag), until, "-", "COUNT", 1)
        counters = await redis.execute_command("HGETALL", wire.stats_key(tag))
    except ResponseError:
        return None  # somebody wrote something else there, which the worker's log tells
    before = next(iter(snapshots(entries)), None)
    return rates(snapshot(now, counters), before, is_quiet=last_event_at is None or last_event_at < long_ago)


async def _weigh(redis: Redis, found: Sequence[App], tags: Mapping[str, App]) -> None:
    """Estimate records and memory, unless the login lacks the right to SCAN, DBSIZE or MEMORY USAGE."""
    seen: dict[str, list[bytes]] = {app.application: [] for app in found}
    counts = dict.fromkeys(seen, 0.0)
    try:
        for server in await primaries(redis):
            keys, share = await _some_keys(redis, server)
            for key in keys:
                app = tags.get(_tag_of(key))
                if app is not None:
                    seen[app.application].append(key)
                    counts[app.application] += 1 / share
        for app in found:
            app.records = round(counts[app.application])
            chosen = seen[app.application]
            weighed = random.sample(chosen, min(RECORDS_WEIGHED, len(chosen)))
            bytes_each = [await _bytes_of(redis, record) for record in weighed]
            app.memory_bytes = round(counts[app.application] * sum(bytes_each) / (len(bytes_each) or 1))
        for tag, of in tags.items():
            for name in wire.keys_of(tag):
                of.memory_bytes = (of.memory_bytes or 0) + await _bytes_of(redis, name)
    except NoPermissionError:
        for app in found:
            app.records = app.memory_bytes = None


async def _some_keys(redis: Redis, server: Mapping[str, Any]) -> tuple[list[bytes], float]:
    """Return keys of one server, and which share of all its keys that is."""
    keys: list[bytes] = []
    async for some in scan(redis, server, keys_per_step=KEYS_PER_STEP):
        keys += some
        if len(keys) >= KEYS_SEEN_MAX:
            break
    else:
        return keys, 1.0
    held = await redis.execute_command("DBSIZE", **server)
    return keys, min(1.0, len(keys) / max(1, held))


def _tag_of(record_key: bytes) -> str:
    """Return the tag of a record's key; empty for any other key."""
    head, braces, _ = record_key.partition(b"}:record:")
    return head.removeprefix(b"joinback:{").decode(errors="replace") if braces else ""


async def _bytes_of(redis: Redis, key: str | bytes) -> int:
    return int(await redis.execute_command("MEMORY USAGE", key) or 0)
