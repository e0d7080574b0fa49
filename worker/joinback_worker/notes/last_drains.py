"""When each application was last drained, by which worker, and whether that worked. Each round notes it in Redis.

A worker's sign of life ends with the worker. This note stays, so that one can see which worker died, and when.
"""

import contextlib
from collections.abc import Iterable, Mapping
from datetime import datetime

import msgspec
from msgspec import Struct, structs
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from joinback import wire
from joinback_worker.connection.scripts import Script

_note = Script("notes/drains.lua")


class LastDrain(Struct, frozen=True, kw_only=True):
    """A drain of one application that ended, well or not."""

    at: datetime
    """When it ended, by Redis's clock, in UTC."""
    worker: str
    """`host:pid`"""
    version: str
    sink: str
    """As `shown_url` shows it: without secrets."""
    interval_s: int
    took_s: float | None = None
    """How long the whole round took, over all applications."""
    error: str | None = None
    """Why it failed; None: it did not."""
    sink_lost: bool = False
    """True if it failed because the sink was unavailable."""


class Drains(Struct, frozen=True):
    """The last drains of one application."""

    done: LastDrain | None = None
    """The last one that ended well, even if nothing was pending."""
    failed: LastDrain | None = None
    """The last one that failed; None if a later one ended well."""


async def note_drains(
    redis: Redis, ours: LastDrain, done: Iterable[str], failed: Mapping[str, tuple[str, bool]]
) -> None:
    """Note how the drains of these applications ended.

    `failed`: application -> why it failed, and whether the sink was unavailable. If Redis refuses, nothing is noted.
    """
    entries: list[str | bytes] = []
    for application in done:
        entries += [wire.drain_field(application, is_done=True), msgspec.json.encode(ours)]
    for application, (error, sink_lost) in failed.items():
        ended = structs.replace(ours, error=error, sink_lost=sink_lost)
        entries += [wire.drain_field(application, is_done=False), msgspec.json.encode(ended)]
    # Something else may stand at the key, or the login may lack the right: that must not end a round.
    with contextlib.suppress(ResponseError):
        if entries:
            await _note(redis, [wire.DRAINS_KEY], [wire.STATS_TTL_S, *entries])


async def last_drains(redis: Redis) -> dict[str, Drains]:
    """Return what is noted, by application; nothing if Redis refuses. Entries of somebody else are left out."""
    found: dict[bytes, bytes] = {}
    with contextlib.suppress(ResponseError):
        found = await redis.execute_command("HGETALL", wire.DRAINS_KEY)
    noted: dict[str, dict[str, LastDrain]] = {}
    for field, value in found.items():
        what, _, application = field.decode(errors="replace").partition(":")
        with contextlib.suppress(msgspec.MsgspecError):
            noted.setdefault(application, {})[what] = msgspec.json.decode(value, type=LastDrain)
    drains = {}
    for application, of_it in noted.items():
        done, failed = of_it.get("done"), of_it.get("failed")
        is_over = done is not None and failed is not None and done.at >= failed.at
        drains[application] = Drains(done, None if is_over else failed)
    return drains
