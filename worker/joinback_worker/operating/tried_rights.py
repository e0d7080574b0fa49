"""Try the rights of the Redis login: ask ACL DRYRUN where that is allowed, and always write a test record."""

import secrets
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from shlex import quote

from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, OutOfMemoryError, ResponseError

from joinback import wire
from joinback.redis_errors import code_of
from joinback.settings import Settings
from joinback_worker.connection.connect import primaries
from joinback_worker.connection.redis_errors import advice
from joinback_worker.drain.settlement import Settlement
from joinback_worker.drain.source import Source
from joinback_worker.notes.guard import published

from .diagnosis import Tried, problem, well
from .named_fix import named_fix
from .redis_cli import config_fix, redis_cli

TRIAL_TTL_S = 60
"""TTL of the trial's keys, in case the process is killed before it deletes them."""


async def try_rights(redis: Redis, settings: Settings) -> list[Tried]:
    """Return whether the login may do what a worker does, and whether Redis takes writes.

    A missing right is a finding, not an exception. Raises what Redis raises if it does not answer.
    """
    lacking = await _lacking(redis)
    if lacking:
        says = f"the Redis user lacks a right: it may not run {', '.join(lacking)}"
        fix = await _grant(redis, settings, lacking)
        return [problem("rights", "right_missing", says, fix)]
    return [await _trial(redis, settings)]


async def _grant(redis: Redis, settings: Settings, lacking: Sequence[str]) -> str:
    """Return the command that grants these. This login may not run it, so it is for an administrator's."""
    user = await redis.execute_command("ACL WHOAMI", **(await primaries(redis))[0])
    name = user.decode(errors="replace") if isinstance(user, bytes) else str(user)
    rights = " ".join(quote(f"+{command}") for command in lacking)
    command = f"--user ADMIN --askpass ACL SETUSER {quote(name)} {rights}"
    return f"{redis_cli(settings.redis_url, has_login=False)} {command}; then ACL SAVE, or put it into the ACL file"


async def _lacking(redis: Redis) -> list[str]:
    """Return the commands that this login may not run, by ACL DRYRUN; none if that is refused, as before Redis 7."""
    server = (await primaries(redis))[0]
    lacking = []
    try:
        # redis-py knows this command only as one word; then it decodes the answer to text.
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
    """Return the commands that client and worker run, each with as many arguments as DRYRUN requires."""
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


async def _trial(redis: Redis, settings: Settings) -> Tried:
    """Return whether a record can be written, claimed, settled and deleted, by the scripts of client and worker."""
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
    except ResponseError as error:
        # The trial has keys of its own, so this is about the key that `published` reads; `overview` reports it.
        if code_of(str(error)) != "WRONGTYPE":
            return _refused(error, settings)
    finally:
        # What refused the record may refuse this too, and the TTL ends what was written.
        with suppress(ResponseError):
            await redis.execute_command("DEL", *keys)
    return well("rights", "a record was written, claimed, settled and deleted")


def _refused(error: ResponseError, settings: Settings) -> Tried:
    """Return why the trial was refused: a full Redis or a replica refuses writes to a login that has every right."""
    if isinstance(error, NoPermissionError) or code_of(str(error)) == "NOPERM":
        fix = "give the login the rights that deploy/redis/users.acl lists"
        return problem("rights", "right_missing", advice(error), fix)
    says, fix = named_fix(advice(error))
    if isinstance(error, OutOfMemoryError) or code_of(str(error)) == "OOM":
        fix = f"{fix}: {config_fix(settings, 'maxmemory', 'BYTES')}"
        return problem("redis", "memory_high", f"{says}, so it refuses events", fix)
    return problem("redis", "writes_refused", says, fix)
