"""The rights of the Redis login: asked for by ACL DRYRUN where that is allowed, and tried with a record in any case."""

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from joinback import wire
from joinback.settings import Settings
from joinback_worker.connection.connect import primaries
from joinback_worker.connection.redis_errors import advice
from joinback_worker.drain.settlement import Settlement
from joinback_worker.drain.source import Source
from joinback_worker.notes.guard import published

from .diagnosis import Tried, amiss, well

TRIAL_TTL_S = 60
"""Of the trial's keys, should it be killed before it deletes them."""


async def of_rights(redis: Redis, settings: Settings) -> list[Tried]:
    """Try what a worker does. Raises nothing that a right may cause."""
    lacking = await _lacking(redis)
    if lacking:
        said = f"the Redis user lacks a right: it may not run {', '.join(lacking)}"
        fix = f"redis-cli ACL SETUSER USER {' '.join(f'+{command}' for command in lacking)}"
        return [amiss("rights", "right_missing", said, fix)]
    return [await _trial(redis)]


async def _lacking(redis: Redis) -> list[str]:
    """Return the commands that ACL DRYRUN says this login may not run; none if it may not be asked (before Redis 7)."""
    server = (await primaries(redis))[0]
    lacking = []
    try:
        # As one word redis-py knows it, and makes a text of the answer.
        user = await redis.execute_command("ACL WHOAMI", **server)
        for command in _commands():
            answer = await redis.execute_command("ACL DRYRUN", user, *command, **server)
            if answer != b"OK":
                lacking.append("|".join(command[:2]).lower() if command[0] in _WITH_SUB else command[0].lower())
    except ResponseError:
        return []
    return lacking


_WITH_SUB = frozenset({"XINFO", "XGROUP"})


def _commands() -> Sequence[Sequence[str]]:
    """What client and worker run, each as DRYRUN wants it: with as many arguments as it needs."""
    tag = wire.tag("joinback-doctor")
    record, pending, stats, dead = (
        wire.record_key(tag, "k"),
        wire.pending_key(tag),
        wire.stats_key(tag),
        wire.dead_key(tag),
    )
    group = wire.GROUP
    return (
        ("PING",), ("INFO",), ("EVALSHA", "0" * 40, "0"), ("EVAL", "return 1", "0"), ("EXISTS", record),
        ("TYPE", record), ("TTL", record), ("EXPIRE", record, "60"), ("TIME",), ("GET", wire.PAUSED_KEY),
        ("SET", wire.PAUSED_KEY, "1"), ("DEL", record), ("HGET", record, "f"), ("HSET", record, "f", "v"),
        ("HGETALL", record), ("HKEYS", record), ("HSTRLEN", record, "f"), ("HDEL", record, "f"),
        ("HSETNX", record, "f", "v"), ("HLEN", record), ("HEXISTS", record, "f"), ("HINCRBY", stats, "f", "1"),
        ("XADD", pending, "*", "f", "v"), ("XDEL", pending, "1-1"), ("XACK", pending, group, "1-1"),
        ("XLEN", pending), ("XRANGE", pending, "-", "+"), ("XTRIM", pending, "MINID", "1"),
        ("XREVRANGE", dead, "+", "-"), ("XCLAIM", pending, group, "c", "0", "1-1"),
        ("XAUTOCLAIM", pending, group, "c", "0", "0"),
        ("XREADGROUP", "GROUP", group, "c", "STREAMS", pending, ">"), ("XPENDING", pending, group),
        ("XINFO", "GROUPS", pending), ("XINFO", "CONSUMERS", pending, group),
        ("XGROUP", "CREATE", pending, group, "0"), ("XGROUP", "DELCONSUMER", pending, group, "c"),
    )  # fmt: skip


async def _trial(redis: Redis) -> Tried:
    """A record of an application that nobody announces, there and back by the scripts of client and worker."""
    tag = wire.tag(f"joinback-doctor-{secrets.token_hex(4)}")
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
        return amiss(
            "rights", "right_missing", advice(error), "deploy/redis/users.acl has the login's whole line of rights"
        )
    finally:
        await redis.execute_command("DEL", *keys)
    return well("rights", "a record was written, claimed, settled and deleted")
