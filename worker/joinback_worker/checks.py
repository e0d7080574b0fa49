"""What a deployment needs, tried: a Redis with its policy and rights, and the sink of this Redis with its."""

import secrets
from datetime import UTC, datetime
from typing import NamedTuple

from redis.asyncio import Redis
from redis.exceptions import RedisError

from joinback import wire
from joinback.errors import ConfigurationError, JoinbackError
from joinback.settings import Settings
from joinback.urls import shown_url

from . import config as config_file
from .connect import connect
from .drains import sink_of
from .errors import SinkOlder
from .guard import published, refusal
from .health import Health
from .redis_errors import advice
from .settlement import Settlement
from .sinks import shown
from .source import Source

TRIAL_TTL_S = 60
"""Of the trial's keys, should it be killed before it deletes them."""


class Finding(NamedTuple):
    """One thing that was tried."""

    name: str
    is_ok: bool
    says: str


async def look(settings: Settings) -> list[Finding]:
    """Return what was found, in order. A sink that this Redis's guard refuses is not opened.

    Raises ConfigurationError for a sink URL nobody serves.
    """
    sink_of(settings)
    findings = [Finding("settings", True, f"drains every {settings.interval_s} s; emit {settings.emit}")]
    findings += _rules(settings)
    redis = connect(settings)
    try:
        findings += await _redis(redis, settings)
        refused = await refusal(redis, settings) if findings[-1].is_ok else None
    except (RedisError, OSError) as error:
        findings.append(Finding("redis", False, f"{shown_url(settings.redis_url)}: {advice(error)}"))
        refused = None
    finally:
        await redis.aclose()
    findings.append(Finding("sink", False, refused) if refused else await _sink(settings))
    return findings


def _rules(settings: Settings) -> list[Finding]:
    try:
        config, problems = config_file.look(settings)
    except ConfigurationError as error:
        return [Finding("rules", False, str(error))]
    if problems:
        return [Finding("rules", False, problem) for problem in problems]
    declared = f"{config.path}: {', '.join(sorted(config.applications)) or 'no application'}"
    return [Finding("rules", True, declared if config.path else "none declared: JOINBACK_CONFIG is not set")]


async def _redis(redis: Redis, settings: Settings) -> list[Finding]:
    where = shown_url(settings.redis_url)
    await redis.execute_command("PING")
    found = []
    try:
        info = await redis.execute_command("INFO")
        conditions = await Health().look(redis)
        version = info.get("valkey_version") or info.get("redis_version", "unknown")
        found.append(Finding("redis", True, f"{where}, version {version}"))
        found += [Finding(f"redis {name}", False, meaning) for name, meaning in conditions.items()]
    except RedisError as error:
        found.append(Finding("redis", True, f"{where}; its state is not known: {advice(error)}"))
    found.append(await _rights(redis))
    return found


async def _rights(redis: Redis) -> Finding:
    """A record of an application that nobody announces, there and back by the scripts of client and worker."""
    tag = wire.tag(f"joinback-check-{secrets.token_hex(4)}")
    at = datetime.now(UTC)
    event = wire.encode(wire.Feedback(v=wire.PLAIN_VERSION, at=at, logged_at=at, feedback={"tried": True}))
    keys = wire.write_keys(tag, ["tried"])
    source = Source(redis, tag)
    try:
        arguments = wire.write_arguments(tag, TRIAL_TTL_S, [("feedback:tried", event)])
        await redis.execute_command("EVAL", wire.WRITE_SCRIPT, len(keys), *keys, *arguments)
        async for entries in source.group.claims():
            await source.load([entry.join_key for entry in entries if entry.join_key is not None])
            await source.settle(Settlement(in_rows=entries))
        await source.group.retire()
        await published(redis)
    except RedisError as error:
        return Finding("redis rights", False, advice(error))
    finally:
        await redis.execute_command("DEL", *keys)
    return Finding("redis rights", True, "a record was written, claimed, settled and deleted")


async def _sink(settings: Settings) -> Finding:
    opened = sink_of(settings)
    opened.migrates = False
    try:
        async with opened as sink:
            await sink.try_rights()
    except SinkOlder as error:
        # Workers of the older release may still drain into it: a look must not end that.
        first = "the first worker or drain of this release migrates it"
        return Finding("sink", True, f"{shown(settings.sink_url)}: {error.says}: {first}")
    except JoinbackError as error:
        return Finding("sink", False, f"{shown(settings.sink_url)}: {error}")
    return Finding("sink", True, f"{shown(settings.sink_url)}: can be written")
