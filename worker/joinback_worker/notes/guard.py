"""The guard of the sink: Redis says which sink its rows go to, and a worker with another sink takes nothing.

A sink that is set by mistake (an unset variable, another directory, a second worker) would take events away from the
sink in use, and split rows that belong together. So the first worker publishes its sink, for all applications or for
those it is restricted to. Another sink is refused until somebody runs `joinback sink adopt`.
"""

import hashlib
import os
import socket
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import msgspec
import structlog
from msgspec import Struct
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from joinback import wire
from joinback.settings import Settings
from joinback_worker.connection.redis_errors import advice
from joinback_worker.connection.scripts import Script
from joinback_worker.errors import SinkUnavailable
from joinback_worker.law.rules import Policy
from joinback_worker.sinks import open_sink, shown
from joinback_worker.sinks.place import path_of
from joinback_worker.sinks.schemes import place_of

log = structlog.get_logger("joinback")

_guard = Script("notes/guard.lua")


class Published(Struct, frozen=True, kw_only=True):
    """What is published about one sink. It holds no secret."""

    fingerprint: str
    """16 hex digits of a hash of the place that the URL names: the same place, the same fingerprint."""
    url: str
    """The URL without secrets."""
    host: str
    """The machine on which it was published."""
    since: datetime
    found: bool = False
    """Whether a file or directory was at its place when it was published."""


def published_of(url: str) -> Published:
    """Return what this process would publish about a sink. Raises ConfigurationError for a URL of no known sink."""
    fingerprint = hashlib.sha256("\0".join(place_of(url)).encode()).hexdigest()[:16]
    return Published(
        fingerprint=fingerprint,
        url=shown(url),
        host=socket.gethostname(),
        since=datetime.now(UTC).replace(microsecond=0),
        found=_is_here(url),
    )


async def published(redis: Redis) -> dict[str, Published]:
    """Return every published sink by application; `*` stands for all others. Unreadable entries are left out.

    Raises what redis-py raises.
    """
    return _decoded(await redis.execute_command("HGETALL", wire.SINK_KEY))


async def guarded(
    redis: Redis, settings: Settings, work: Sequence[tuple[str, str]], only: Sequence[str] = ()
) -> tuple[list[tuple[str, str]], str | None]:
    """Return the (application, tag)s that this sink may take, and why it may not take others, in one line, or None.

    If no sink is published and there is work, the sink is opened, and published if that succeeds: so a wrong URL is
    not published. If Redis does not let us write the key, what is published there holds; if nothing is, all is allowed.
    If the key cannot be read either, all is allowed, and a warning is logged. An application for which another sink is
    published by name is left to the worker of that sink, silently. `only`: the applications that this worker is
    restricted to. Raises redis-py's errors for a Redis that does not answer.
    """
    ours = published_of(settings.sink_url)
    fields = sorted(set(only)) or [wire.ALL_APPLICATIONS]
    try:
        standing = await _standing(redis, ours, fields)
        if work and not all(field in standing or wire.ALL_APPLICATIONS in standing for field in fields):
            async with open_sink(settings.sink_url, Policy()):
                ours = published_of(settings.sink_url)
            standing = await _standing(redis, ours, fields, is_first=True)
    except SinkUnavailable as error:
        return [], str(error)
    except ResponseError as error:
        log.warning("sink_unguarded", sink=ours.url, why=advice(error))
        return list(work), None
    # A wrong sink is reported even if there is no work.
    others = {name for name in standing if name not in fields and standing[name].fingerprint != ours.fingerprint}
    mine = [(application, tag) for application, tag in work if application not in others]
    applications = {application for application, _ in mine} or (set() if work else set(fields))
    refused = {name: why for name in applications if (why := _refusal(ours, standing, name, settings.sink_url))}
    allowed = [(application, tag) for application, tag in mine if application not in refused]
    return allowed, _in_one_line(refused, all_refused=len(refused) == len(applications))


async def refusal(redis: Redis, settings: Settings, application: str = wire.ALL_APPLICATIONS) -> str | None:
    """Return why this sink may not take an application's rows, in one line; None if it may, or if that is not known.

    It publishes nothing. Raises redis-py's errors for a Redis that does not answer.
    """
    try:
        standing = await published(redis)
    except ResponseError:
        return None
    why = _refusal(published_of(settings.sink_url), standing, application, settings.sink_url)
    return None if why is None else _in_one_line({application: why}, all_refused=True)


async def adopt(redis: Redis, url: str, applications: Sequence[str] = ()) -> dict[str, Published]:
    """Publish that rows go to this sink from now on: of these applications, or of all that have no sink of their own.

    Return what was published before. Raises ConfigurationError for a URL of no known sink, and what redis-py raises.
    """
    before = await published(redis)
    await _publish(redis, published_of(url), dict.fromkeys(applications or [wire.ALL_APPLICATIONS], b""), adopt=True)
    return before


async def forget(redis: Redis, application: str) -> None:
    """Delete what is published for one application: the sink of `*` is its sink then."""
    await redis.execute_command("HDEL", wire.SINK_KEY, application)


async def _standing(
    redis: Redis, ours: Published, fields: Sequence[str], *, is_first: bool = False
) -> dict[str, Published]:
    """Renew the key's TTL, publish `ours` if it should stand there, and return what is published then.

    It should if it `is_first`, or if the entry there is stale.
    """
    try:
        raw = await _publish(redis, ours, dict.fromkeys(fields, b"") if is_first else {})
        stale = {
            field: value
            for field in fields
            if (value := raw.get(field.encode())) is not None and _is_stale(value, ours, is_first=is_first)
        }
        return _decoded(await _publish(redis, ours, stale) if stale else raw)
    except ResponseError:
        # A replica refuses to write, and so does a login without the right; both let us read.
        return await published(redis)


async def _publish(
    redis: Redis, ours: Published, replaceable: Mapping[str, bytes], *, adopt: bool = False
) -> dict[bytes, bytes]:
    arguments = [wire.STATS_TTL_S, msgspec.json.encode(ours), "adopt" if adopt else ""]
    pairs = [part for pair in replaceable.items() for part in pair]
    flat = await _guard(redis, [wire.SINK_KEY], [*arguments, *pairs])
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _is_stale(value: bytes, ours: Published, *, is_first: bool) -> bool:
    """Return whether `ours` should replace this entry.

    It should if the entry is of the same sink, published before its file was there; an unreadable entry only if
    `is_first`.
    """
    standing = _decode(value)
    if standing is None:
        return is_first
    return standing.fingerprint == ours.fingerprint and ours.found and not standing.found


def _refusal(ours: Published, standing: Mapping[str, Published], application: str, url: str) -> str | None:
    other = standing.get(application) or standing.get(wire.ALL_APPLICATIONS)
    if other is None:
        return None
    if ours.fingerprint != other.fingerprint:
        by = f"set by {other.host} on {other.since:%Y-%m-%d}"
        return f"Redis says that rows go to {other.url} ({by}), but the sink here is {ours.url}"
    if path_of(url) is not None and other.found and not ours.found and other.host != ours.host:
        return f"Redis says that rows go to {other.url} on {other.host}, but on {ours.host} there is no such file"
    return None


def _in_one_line(refused: Mapping[str, str], *, all_refused: bool) -> str | None:
    if not refused:
        return None
    whys = sorted(set(refused.values())) if all_refused else [f"{name}: {why}" for name, why in sorted(refused.items())]
    return f"{'; '.join(whys)}, so nothing was claimed; correct JOINBACK_SINK_URL, or run: joinback sink adopt"


def _is_here(url: str) -> bool:
    path = path_of(url)
    return path is not None and os.path.exists(path)  # noqa: PTH110 - False, not an error, for a place we may not look at


def _decoded(raw: Mapping[bytes, bytes]) -> dict[str, Published]:
    found = {name.decode(errors="replace"): _decode(value) for name, value in raw.items()}
    return {name: entry for name, entry in found.items() if entry is not None}


def _decode(value: bytes) -> Published | None:
    try:
        return msgspec.json.decode(value, type=Published)
    except ValueError:
        return None
