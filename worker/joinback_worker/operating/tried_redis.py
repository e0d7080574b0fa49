"""Try the Redis server: its version, persistence, memory and clock, and whether the connection is encrypted."""

import ipaddress
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from joinback import wire
from joinback.redis_url import RedisUrl, redis_url
from joinback.settings import Settings
from joinback.urls import shown_url
from joinback_worker.connection.connect import ask_primaries
from joinback_worker.connection.redis_errors import advice
from joinback_worker.law.record import CLOCK_SKEW_MAX
from joinback_worker.notes.apps import App, apps
from joinback_worker.notes.health import MEMORY_SHARE_MAX
from joinback_worker.notes.heartbeat import redis_time
from joinback_worker.notes.history import snapshot, snapshots
from joinback_worker.notes.layouts import Layout, layouts

from .diagnosis import Tried, problem, well
from .redis_cli import config_fix
from .spans import span

VERSION_MIN = (6, 2)
"""The first Redis with XAUTOCLAIM. Every Valkey has it."""
CLOCK_S_MAX = CLOCK_SKEW_MAX.total_seconds()
FORECAST_OVER_S_MIN = 3_600
"""The shortest time over which the growth is measured: a burst of some minutes says nothing about a day."""
FORECAST_DAYS = 7
"""If the memory lasts longer than this without any drain, it is enough."""
EVENT_BYTES = 80
"""What an event's entry on the pending stream takes, beside its share of the record: docs/how-to/size-redis.md."""


async def try_redis(redis: Redis, settings: Settings) -> list[Tried]:
    """Return what was found of the server. Raises what Redis raises if it does not answer."""
    where = shown_url(settings.redis_url)
    await redis.execute_command("PING")
    tried = [*_of_tls(redis_url(settings.redis_url, "JOINBACK_REDIS_URL")), await _of_clock(redis)]
    try:
        servers = await ask_primaries(redis, "INFO")
    except ResponseError as error:
        return [well("redis", f"{where}; INFO is refused, so its state is not known: {advice(error)}"), *tried]
    for name, info in servers.items():
        if isinstance(info, Exception):
            continue  # `notes.health` reports it
        tried = [*_of_server(name or where, info, settings), *tried]
    info = next((info for info in servers.values() if not isinstance(info, Exception)), None)
    if info is not None and len(servers) == 1:
        tried += await _of_memory(redis, settings, info)
    return tried


def _of_server(where: str, info: Mapping[str, Any], settings: Settings) -> Iterator[Tried]:
    version = str(info.get("valkey_version") or info.get("redis_version", "unknown"))
    if "valkey_version" not in info and _is_older(version):
        says = f"{where} is Redis {version}; Joinback needs {'.'.join(map(str, VERSION_MIN))} or later"
        yield problem("redis", "redis_old", says, "upgrade it")
    else:
        yield well("redis", f"{where}, version {version}")
    if not info.get("aof_enabled") and not info.get("connected_slaves"):
        says = f"{where} has no append-only file and no replica: if it ends, what it has not saved is lost"
        yield problem("redis", "not_persistent", says, config_fix(settings, "appendonly", "yes"))


def _is_older(version: str) -> bool:
    parts = version.split(".")[:2]
    return all(part.isdecimal() for part in parts) and tuple(map(int, parts)) < VERSION_MIN


def _of_tls(url: RedisUrl) -> Iterator[Tried]:
    if url.tls is None and url.path is None and not all(_is_local(host) for host, _ in url.nodes):
        fix = "use rediss:// in JOINBACK_REDIS_URL"
        yield problem("redis", "no_tls", "the connection to Redis is not encrypted", fix)


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


async def _of_clock(redis: Redis) -> Tried:
    before = time.time()
    theirs = (await redis_time(redis)).timestamp()
    # Compare with the middle of the call, as nobody knows how long each way took.
    ahead_s = theirs - (before + time.time()) / 2
    if abs(ahead_s) > CLOCK_S_MAX:
        which = "ahead of" if ahead_s > 0 else "behind"
        says = f"Redis's clock is {span(abs(ahead_s))} {which} this machine's"
        return problem("redis", "clock_differs", says, "run NTP (chrony, systemd-timesyncd) on both")
    return well("redis", f"its clock is within {max(1, round(abs(ahead_s)))} s of this machine's")


async def _of_memory(redis: Redis, settings: Settings, info: Mapping[str, Any]) -> list[Tried]:
    """Return how long the memory would last if no worker drained, at the rate of events of at least the last hour."""
    try:
        known = await layouts(redis)
        per_s = 0.0
        for app in await apps(redis):
            tags = known.get(app.application, Layout()).tags(app.application)
            per_s += _bytes_each(app) * await _events_per_s(redis, tags)
    except RedisError:
        return []
    used = int(info.get("used_memory", 0))
    limit = int(info.get("maxmemory") or info.get("total_system_memory") or 0)
    whole = "maxmemory" if info.get("maxmemory") else "the machine's memory, since maxmemory is not set"
    if not limit:
        return []
    if info.get("maxmemory") and used > MEMORY_SHARE_MAX * limit:
        return []  # `overview` reports memory_high; a day on which it would be full means nothing any more
    use = f"uses {shown_bytes(used)} of {shown_bytes(limit)} ({whole})"
    if not per_s:
        return [well("redis", use)]
    left_s = max(0.0, (limit - used) / per_s)
    full_at = await redis_time(redis) + timedelta(seconds=min(left_s, 3_650 * 86_400))
    grows = f"{shown_bytes(per_s * 86_400)} come per day; without a drain it would be full on {full_at:%A, %d %B}"
    if left_s > FORECAST_DAYS * 86_400 or left_s > settings.buffer_ttl_s:
        return [well("redis", f"{use}; {grows}")]
    ttl = span(settings.buffer_ttl_s)
    says = f"Redis {use}; {grows}, in {span(left_s)}, before JOINBACK_BUFFER_TTL_S ({ttl}) ends"
    fix = "raise maxmemory; docs/how-to/size-redis.md shows how much Redis needs"
    return [problem("redis", "memory_forecast", says, fix)]


async def _events_per_s(redis: Redis, tags: Sequence[str]) -> float:
    """Return the events received per second since the newest note that is an hour old; 0 for tags without one."""
    now = await redis_time(redis)
    until_ms = int((now.timestamp() - FORECAST_OVER_S_MIN) * 1000)
    per_s = 0.0
    for tag in tags:
        noted = await redis.execute_command("XREVRANGE", wire.history_key(tag), until_ms, "-", "COUNT", 1)
        for before in snapshots(noted):
            received = snapshot(now, await redis.execute_command("HGETALL", wire.stats_key(tag))).received
            # If it is smaller than before, the counters were lost and began anew.
            per_s += max(0, received - before.received) / (now - before.at).total_seconds()
    return per_s


def _bytes_each(app: App) -> float:
    """Return the mean size of a record. For records of several events that is too much per event: the safe side."""
    return app.memory_bytes / app.records + EVENT_BYTES if app.records and app.memory_bytes else 0.0


def shown_bytes(count: float) -> str:
    """Return a size as people say it: `1.3 GB`."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f} B"
