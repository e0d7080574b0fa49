"""When each application was last drained, well or not, and by whom: each round of a worker notes it in Redis.

A worker's sign of life ends with it; this stays, so that a dead worker can be told by name, and since when.
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
    """The last drain of one application, or one that was tried. `at` is Redis's time, in UTC."""

    at: datetime
    worker: str
    """`host:pid`"""
    version: str
    sink: str
    """As `shown_url` shows it: without secrets."""
    interval_s: int
    took_s: float | None = None
    """The whole round, over all applications."""
    error: str | None = None
    """Why it failed."""
    sink_lost: bool = False
    """The sink was the reason."""


class Drains(Struct, frozen=True):
    """Of one application."""

    done: LastDrain | None = None
    """The last one that ended well; also if nothing waited."""
    failed: LastDrain | None = None
    """The last one that did not, if no later one ended well."""


async def note_drains(
    redis: Redis, ours: LastDrain, done: Iterable[str], failed: Mapping[str, tuple[str, bool]]
) -> None:
    """Note what became of these applications; of those that failed why, and whether the sink was the reason."""
    entries: list[str | bytes] = []
    for application in done:
        entries += [wire.drain_field(application, is_done=True), msgspec.json.encode(ours)]
    for application, (error, sink_lost) in failed.items():
        told = structs.replace(ours, error=error, sink_lost=sink_lost)
        entries += [wire.drain_field(application, is_done=False), msgspec.json.encode(told)]
    # Something else may stand at the key, or the login may lack the right: a round must not end for it.
    with contextlib.suppress(ResponseError):
        if entries:
            await _note(redis, [wire.DRAINS_KEY], [wire.STATS_TTL_S, *entries])


async def last_drains(redis: Redis) -> dict[str, Drains]:
    """Return what is noted, by application. What somebody else wrote there is passed over."""
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
