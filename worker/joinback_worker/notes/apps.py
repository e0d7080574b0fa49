"""What Redis knows about each application: shards, sample rate, last event, rates, number of records, memory.

Shards and sample rate can be changed while clients and workers run.
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
"""About the most keys of one server that are read to estimate numbers of records: they cost it some milliseconds."""
KEYS_PER_STEP = 1_000
"""The keys of one SCAN, during which the server serves nobody else."""
RECORDS_WEIGHED = 50
"""How many records of an application are measured for their mean size. Records of one application are alike."""

_change = Script("notes/apps.lua")


class App(Struct, kw_only=True):
    """What Redis knows about one application."""

    application: str
    shards: int
    former_shards: list[int] = []
    """Numbers of shards that it had. Their tags are drained too, until nothing of them is left."""
    sample_rate: float | None = None
    """The published rate, from 0 to 1; None: none is published."""
    last_event_at: datetime | None = None
    """When its newest pending entry came, drained or not, in UTC."""
    received_per_min: float | None = None
    """Events received per minute, over at least RATE_OVER_S_MIN; None: not known, such as before a worker has drained
    for so long."""
    rows_per_min: float | None = None
    """Rows written per minute. A row counts each time it is written."""
    pending: int = 0
    records: int | None = None
    memory_bytes: int | None = None
    """Like `records`, estimated from samples; both are None if the login lacks a right that this needs."""


async def change(
    redis: Redis, application: str, *, shards: int | None = None, sample_rate: float | None = None
) -> Layout:
    """Change an application, or announce it before its first event. Return its layout from now on. None: no change.

    Clients follow within a minute. Both numbers of shards are noted before the change, so that workers drain both.
    Raises what redis-py raises.
    """
    before = (await layouts(redis)).get(application, Layout())
    if shards is not None and shards != before.shards:
        await remember(redis, application, (before.shards, shards), await redis_time(redis))
    arguments = [application, "" if shards is None else shards, "" if sample_rate is None else sample_rate]
    await _change(redis, [wire.APPLICATIONS_KEY], [*arguments, wire.STATS_TTL_S])
    return (await layouts(redis))[application]


async def apps(redis: Redis) -> list[App]:
    """Return every application, sorted by name. Records and memory are estimated from a sample of each server's keys.

    Raises what redis-py raises.
    """
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
    """Add to `app` the length of a tag's pending stream, and the time of its newest entry, drained or not.

    Return that time, in UTC; None if no entry ever came.
    """
    try:
        stream = await redis.execute_command("XINFO STREAM", wire.pending_key(tag))
    except ResponseError:
        return None  # the stream does not exist, or something else stands at its key, which `joinback status` reports
    app.pending += stream["length"]
    milliseconds = int(stream["last-generated-id"].partition(b"-")[0])
    if not milliseconds:
        return None
    at = datetime.fromtimestamp(milliseconds / 1000, tz=UTC)
    app.last_event_at = max(at, app.last_event_at or at)
    return at


async def _rates(redis: Redis, tag: str, now: datetime, last_event_at: datetime | None) -> Rates | None:
    """Return the rates of a tag, from its counters now and those in its history of RATE_OVER_S_MIN ago."""
    long_ago = now - timedelta(seconds=RATE_OVER_S_MIN)
    until = int(long_ago.timestamp() * 1000)
    try:
        entries = await redis.execute_command("XREVRANGE", wire.history_key(tag), until, "-", "COUNT", 1)
        counters = await redis.execute_command("HGETALL", wire.stats_key(tag))
    except ResponseError:
        return None  # something else stands at one of the keys, which the worker logs
    before = next(iter(snapshots(entries)), None)
    return rates(snapshot(now, counters), before, is_quiet=last_event_at is None or last_event_at < long_ago)


async def _weigh(redis: Redis, found: Sequence[App], tags: Mapping[str, App]) -> None:
    """Estimate records and memory of these applications. `tags`: tag -> its application.

    Both are None if the login lacks the right to SCAN, DBSIZE or MEMORY USAGE.
    """
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
    """Return some keys of one server, and their share of all its keys, over 0 to 1."""
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
