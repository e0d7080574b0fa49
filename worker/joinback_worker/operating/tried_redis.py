"""The server: its version, whether it keeps what it has, how long its memory lasts, its clock, and who can listen."""

import ipaddress
import time
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from joinback.redis_url import RedisUrl, redis_url
from joinback.settings import Settings
from joinback.urls import shown_url
from joinback_worker.connection.connect import ask_primaries
from joinback_worker.connection.redis_errors import advice
from joinback_worker.law.record import CLOCK_SKEW_MAX
from joinback_worker.notes.apps import App, apps
from joinback_worker.notes.heartbeat import redis_time

from .diagnosis import Tried, amiss, well
from .spans import span

VERSION_MIN = (6, 2)
"""Of Redis; XAUTOCLAIM came with it. Every Valkey has it."""
CLOCK_S_MAX = CLOCK_SKEW_MAX.total_seconds()
FORECAST_DAYS = 7
"""A memory that lasts longer, with no drain at all, is told as well."""
EVENT_BYTES = 80
"""Of its entry on the pending stream, beside its share of the record: docs/how-to/size-redis.md."""


async def of_redis(redis: Redis, settings: Settings) -> list[Tried]:
    """Try what the server is like. Raises what Redis raises when it does not answer."""
    where = shown_url(settings.redis_url)
    await redis.execute_command("PING")
    tried = [*_of_tls(redis_url(settings.redis_url, "JOINBACK_REDIS_URL")), await _of_clock(redis)]
    try:
        servers = await ask_primaries(redis, "INFO")
    except ResponseError as error:
        return [well("redis", f"{where}; its state is not known: {advice(error)}"), *tried]
    for name, info in servers.items():
        if isinstance(info, Exception):
            continue  # the health tells of it
        tried = [*_of_server(name or where, info), *tried]
    info = next((info for info in servers.values() if not isinstance(info, Exception)), None)
    if info is not None and len(servers) == 1:
        tried += await _of_memory(redis, settings, info)
    return tried


def _of_server(where: str, info: Mapping[str, Any]) -> Iterator[Tried]:
    version = str(info.get("valkey_version") or info.get("redis_version", "unknown"))
    if "valkey_version" not in info and _is_older(version):
        said = f"{where} is Redis {version}, and at least {'.'.join(map(str, VERSION_MIN))} is needed"
        yield amiss("redis", "redis_old", said, "upgrade it")
    else:
        yield well("redis", f"{where}, version {version}")
    if not info.get("aof_enabled") and not info.get("connected_slaves"):
        said = f"{where} has no append-only file and no replica: what it has not saved is lost with it"
        yield amiss("redis", "not_persistent", said, "redis-cli CONFIG SET appendonly yes")


def _is_older(version: str) -> bool:
    parts = version.split(".")[:2]
    return all(part.isdecimal() for part in parts) and tuple(map(int, parts)) < VERSION_MIN


def _of_tls(url: RedisUrl) -> Iterator[Tried]:
    if url.tls is None and url.path is None and not all(_is_local(host) for host, _ in url.nodes):
        yield amiss("redis", "no_tls", "the way to Redis is not encrypted", "use rediss:// in JOINBACK_REDIS_URL")


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


async def _of_clock(redis: Redis) -> Tried:
    before = time.time()
    theirs = (await redis_time(redis)).timestamp()
    # By the middle of the call: how long each way took is not known.
    ahead_s = theirs - (before + time.time()) / 2
    if abs(ahead_s) > CLOCK_S_MAX:
        which = "ahead of" if ahead_s > 0 else "behind"
        said = f"Redis's clock is {span(abs(ahead_s))} {which} this machine's"
        return amiss("redis", "clock_differs", said, "run NTP (chrony, systemd-timesyncd) on both")
    return well("redis", f"its clock is within {max(1, round(abs(ahead_s)))} s of this machine's")


async def _of_memory(redis: Redis, settings: Settings, info: Mapping[str, Any]) -> list[Tried]:
    """How long the memory would last if no worker drained, by what comes now."""
    try:
        known = await apps(redis)
    except RedisError:
        return []
    used = int(info.get("used_memory", 0))
    limit = int(info.get("maxmemory") or info.get("total_system_memory") or 0)
    per_s = sum(_bytes_per_s(app) for app in known)
    whole = "maxmemory" if info.get("maxmemory") else "the machine's memory, as maxmemory is not set"
    if not limit:
        return []
    said = f"uses {shown_bytes(used)} of {shown_bytes(limit)} ({whole})"
    if not per_s:
        return [well("redis", said)]
    left_s = max(0.0, (limit - used) / per_s)
    full_at = await redis_time(redis) + timedelta(seconds=min(left_s, 3_650 * 86_400))
    grows = f"{shown_bytes(per_s * 86_400)} per day come; if nothing drained, it would be full on {full_at:%A, %d %B}"
    if left_s > FORECAST_DAYS * 86_400 or left_s > settings.buffer_ttl_s:
        return [well("redis", f"{said}; {grows}")]
    said = (
        f"Redis {said}; {grows}, in {span(left_s)}, before JOINBACK_BUFFER_TTL_S ({span(settings.buffer_ttl_s)}) ends"
    )
    return [
        amiss(
            "redis",
            "memory_forecast",
            said,
            "raise maxmemory; docs/how-to/size-redis.md has the sum",
        )
    ]


def _bytes_per_s(app: App) -> float:
    """By the mean size of a record: of a record of several events it is too much, which is the safe side."""
    if not app.records or not app.memory_bytes or not app.received_per_min:
        return 0.0
    return app.received_per_min / 60 * (app.memory_bytes / app.records + EVENT_BYTES)


def shown_bytes(count: float) -> str:
    """Return a size as people say it: `1.3 GB`."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f} B"
