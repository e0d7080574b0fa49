"""`joinback inspect APP JOIN_KEY`: where one prediction and its feedback are, and the commands that show it."""

import asyncio
import json
import shlex
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import click
from msgspec import Struct, structs
from redis.asyncio import Redis
from redis.exceptions import RedisError
from rich.console import Console

from joinback import wire
from joinback.errors import JoinbackError
from joinback.sampling import verdict
from joinback.settings import Settings, settings_from
from joinback_worker.connect import connect
from joinback_worker.drains import policy_of
from joinback_worker.errors import SinkMissing, WorkerError
from joinback_worker.guard import refusal
from joinback_worker.layouts import Layout, layouts
from joinback_worker.redis_errors import advice
from joinback_worker.row import Row
from joinback_worker.sinks import open_sink, shown
from joinback_worker.source import Source, Unusable, applications

from .names import check_known
from .redis_cli import redis_cli, redis_password_hint
from .show import printable, sql_line, warn_of_path

ENTRIES_SEARCHED = 1_000
"""Of the pending and the dead stream, the newest so many: a look must not cost the server a full scan."""


class Found(Struct, kw_only=True):
    """All that is known of one join key."""

    tags: list[str]
    """Where it may be: the tag of the present shards first, then those of former ones."""
    applications: list[str] = []
    """All that have been announced."""
    sample: str | None = None
    """What the published rate means for this key; None if all keys are logged."""
    events: dict[str, str] | None = None
    """The record's hash; None if Redis does not hold it."""
    unusable: str | None = None
    """Why what stands there is no record."""
    expires_in_s: int | None = None
    pending: list[str] = []
    dead: list[dict[str, str]] = []
    row: Row | None = None
    sink_trouble: str | None = None
    sink_elsewhere: str | None = None
    """Why the rows of this application are not in the sink that was looked at."""
    sink_missing: str | None = None


@click.command(short_help="Show what Redis and the sink hold of one join key.")
@click.argument("application")
@click.argument("join_key")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def inspect(application: str, join_key: str, as_json: bool) -> None:
    """Show what Redis and the sink hold of one JOIN_KEY of APPLICATION. Changes nothing.

    Exit code 1 if neither knows it.
    """
    settings = settings_from()
    warn_of_path(settings.sink_url)
    try:
        found = asyncio.run(_look(settings, application, join_key))
    except (RedisError, OSError) as error:
        raise JoinbackError(advice(error)) from None
    is_known = bool(found.events or found.unusable or found.row or found.pending or found.dead)
    if not is_known:
        check_known([application], found.applications)
    if as_json:
        click.echo(json.dumps(_as_json(found, settings)))
    else:
        _show(Console(), settings, found, application, join_key)
    if not is_known:
        sys.exit(1)


async def _look(settings: Settings, application: str, join_key: str) -> Found:
    sink = open_sink(settings.sink_url, policy_of(settings, application, datetime.now(UTC)), read_only=True)
    redis = connect(settings)
    try:
        known = await layouts(redis)
        tags = known.get(application, Layout()).tags_of(application, join_key)
        found = Found(tags=tags, applications=sorted(known))
        rate = (await applications(redis)).get(application, wire.Application()).sample_rate
        if rate not in (None, wire.UNSAMPLED):
            found.sample = verdict(application, join_key, rate)
        for tag in tags:
            await _look_under(redis, tag, join_key, found)
        found.sink_elsewhere = await refusal(redis, settings, application)
    finally:
        await redis.aclose()
    try:
        async with sink:
            found.row = (await sink.get(application, [join_key])).get(join_key)
    except SinkMissing as error:
        found.sink_missing = str(error)
    except WorkerError as error:
        found.sink_trouble = str(error)
    return found


async def _look_under(redis: Redis, tag: str, join_key: str, found: Found) -> None:
    held = (await Source(redis, tag).load([join_key]))[0]
    if isinstance(held, Unusable):
        found.unusable = held.detail
    elif held:
        found.events = (found.events or {}) | {
            field: payload.decode(errors="backslashreplace") for field, payload in held
        }
        found.expires_in_s = await redis.execute_command("TTL", wire.record_key(tag, join_key))
    for entry_id, fields in await _newest(redis, wire.pending_key(tag)):
        if fields.get("key") == join_key:
            found.pending.append(f"{entry_id} {fields.get('kind', '')}")
    for _, fields in await _newest(redis, wire.dead_key(tag)):
        if fields.get("key") == join_key:
            found.dead.append(fields)


async def _newest(redis: Redis, stream: str) -> list[tuple[str, dict[str, str]]]:
    entries = await redis.execute_command("XREVRANGE", stream, "+", "-", "COUNT", ENTRIES_SEARCHED)
    return [
        (entry_id.decode(), {k.decode(): v.decode(errors="backslashreplace") for k, v in fields.items()})
        for entry_id, fields in entries
    ]


def _as_json(found: Found, settings: Settings) -> dict[str, Any]:
    told = structs.asdict(found) | {"sink": shown(settings.sink_url)}
    del told["applications"]
    if found.row is not None:
        told["row"] = {
            name: value.decode()
            if isinstance(value, bytes)
            else value and str(value)
            if name.endswith("_at")
            else value
            for name, value in structs.asdict(found.row).items()
        }
    return told


def _show(console: Console, settings: Settings, found: Found, application: str, join_key: str) -> None:
    lines = [*_redis_lines(found, join_key), *_sink_lines(settings, found)]
    lines += ["", "The same by hand:", *(f"  {line}" for line in _by_hand(settings, found, application, join_key))]
    for line in lines:
        console.print(printable(line), highlight=False, soft_wrap=True)


def _redis_lines(found: Found, join_key: str) -> Iterator[str]:
    for tag in found.tags:
        yield f"Redis  {wire.record_key(tag, join_key)}"
    if found.unusable:
        yield f"  {found.unusable}"
    elif found.events is None:
        yield "  holds no events (never logged, or expired)"
    else:
        for field, payload in found.events.items():
            yield f"  {field}  {payload}"
        yield f"  expires in {found.expires_in_s} s"
    if found.sample:
        yield f"sample  {found.sample}"
    yield f"pending  {len(found.pending)} of the newest {ENTRIES_SEARCHED} entries" + _listed(found.pending)
    for letter in found.dead:
        yield f"dead  {letter.get('event', '')}  {letter.get('reason')}: {letter.get('detail')}"


def _sink_lines(settings: Settings, found: Found) -> Iterator[str]:
    yield f"sink  {shown(settings.sink_url)}"
    if found.sink_elsewhere:
        yield f"  {found.sink_elsewhere}"
    if found.sink_trouble or found.sink_missing:
        yield f"  {found.sink_trouble or found.sink_missing}"
    elif found.row is None:
        yield "  holds no row"
    else:
        for name, value in structs.asdict(found.row).items():
            if value is not None:
                yield f"  {name}  {value.decode() if isinstance(value, bytes) else value}"


def _by_hand(settings: Settings, found: Found, application: str, join_key: str) -> Iterator[str]:
    if hint := redis_password_hint(settings):
        yield f"# {hint}"
    command = redis_cli(settings.redis_url)
    for tag in found.tags:
        yield f"{command} HGETALL {shlex.quote(wire.record_key(tag, join_key))}"
        yield f"{command} XREVRANGE {shlex.quote(wire.pending_key(tag))} + - COUNT {ENTRIES_SEARCHED}"
        yield f"{command} XREVRANGE {shlex.quote(wire.dead_key(tag))} + - COUNT {ENTRIES_SEARCHED}"
    query = f"select * from records where application = {_text(application)} and join_key = {_text(join_key)}"  # noqa: S608
    if sql := sql_line(settings.sink_url, query):
        yield sql


def _text(value: str) -> str:
    """A literal of SQL."""
    return "'" + value.replace("'", "''") + "'"


def _listed(entries: list[str]) -> str:
    return ": " + ", ".join(entries) if entries else ""
