"""`joinback inspect APP JOIN_KEY`: where one prediction and its feedback are, and the commands that show it."""

import asyncio
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import Any

import click
from msgspec import Struct, structs
from redis.asyncio import Redis
from redis.exceptions import RedisError
from rich.console import Console

from joinback import wire
from joinback.errors import JoinbackError
from joinback.settings import Settings, settings_from
from joinback_worker.connect import connect
from joinback_worker.drains import sink_of
from joinback_worker.errors import SinkUnavailable
from joinback_worker.layouts import Layout, layouts
from joinback_worker.redis_errors import advice
from joinback_worker.row import Row
from joinback_worker.source import Source

from .redis_cli import redis_cli
from .show import printable

ENTRIES_SEARCHED = 1_000
"""Of the pending and the dead stream, the newest so many: a look must not cost the server a full scan."""


class Found(Struct, kw_only=True):
    """All that is known of one join key."""

    tags: list[str]
    """Where it may be: the tag of the present shards first, then those of former ones."""
    events: dict[str, str] | None = None
    """The record's hash; None if Redis does not hold it."""
    wrong_type: str | None = None
    expires_in_s: int | None = None
    pending: list[str] = []
    dead: list[dict[str, str]] = []
    row: Row | None = None
    sink_trouble: str | None = None


@click.command()
@click.argument("application")
@click.argument("join_key")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def inspect(application: str, join_key: str, as_json: bool) -> None:
    """Show what Redis and the sink hold of one JOIN_KEY of APPLICATION.

    Exit code 1 if neither knows it.
    """
    settings = settings_from()
    try:
        found = asyncio.run(_look(settings, application, join_key))
    except (RedisError, OSError) as error:
        raise JoinbackError(advice(error)) from None
    if as_json:
        click.echo(json.dumps(_as_json(found)))
    else:
        _show(Console(), settings, found, application, join_key)
    if not (found.events or found.wrong_type or found.row or found.pending or found.dead):
        sys.exit(1)


async def _look(settings: Settings, application: str, join_key: str) -> Found:
    sink = sink_of(settings)
    redis = connect(settings)
    try:
        layout = (await layouts(redis)).get(application, Layout())
        found = Found(tags=layout.tags_of(application, join_key))
        for tag in found.tags:
            await _look_under(redis, tag, join_key, found)
    finally:
        await redis.aclose()
    try:
        async with sink:
            found.row = (await sink.get(application, [join_key])).get(join_key)
    except SinkUnavailable as error:
        found.sink_trouble = str(error)
    return found


async def _look_under(redis: Redis, tag: str, join_key: str, found: Found) -> None:
    held = (await Source(redis, tag).load([join_key]))[0]
    if isinstance(held, str):
        found.wrong_type = held
    elif held:
        events = {field: payload.decode(errors="backslashreplace") for field, payload in held}
        found.events = (found.events or {}) | events
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


def _as_json(found: Found) -> dict[str, Any]:
    shown = structs.asdict(found)
    if found.row is not None:
        shown["row"] = {
            name: value.decode()
            if isinstance(value, bytes)
            else value and str(value)
            if name.endswith("_at")
            else value
            for name, value in structs.asdict(found.row).items()
        }
    return shown


def _show(console: Console, settings: Settings, found: Found, application: str, join_key: str) -> None:
    def line(text: str) -> None:
        console.print(printable(text), highlight=False, soft_wrap=True)

    _show_record(line, found, join_key)
    line(f"pending  {len(found.pending)} of the newest {ENTRIES_SEARCHED} entries" + _listed(found.pending))
    for letter in found.dead:
        line(f"dead  {letter.get('event', '')}  {letter.get('reason')}: {letter.get('detail')}")
    line(f"sink  {settings.sink_url.partition('://')[0]}")
    if found.sink_trouble:
        line(f"  {found.sink_trouble}")
    elif found.row is None:
        line("  holds no row")
    else:
        for name, value in structs.asdict(found.row).items():
            if value is not None:
                line(f"  {name}  {value.decode() if isinstance(value, bytes) else value}")
    _show_by_hand(line, redis_cli(settings.redis_url), found.tags, join_key)


def _show_record(line: Callable[[str], None], found: Found, join_key: str) -> None:
    for tag in found.tags:
        line(f"Redis  {wire.record_key(tag, join_key)}")
    if found.wrong_type:
        line(f"  holds a {found.wrong_type}, not a record: rename or delete it")
    elif found.events is None:
        line("  holds no events (never logged, or expired)")
    else:
        for field, payload in found.events.items():
            line(f"  {field}  {payload}")
        line(f"  expires in {found.expires_in_s} s")


def _show_by_hand(line: Callable[[str], None], command: str, tags: Sequence[str], join_key: str) -> None:
    line("")
    line("The same by hand:")
    for tag in tags:
        line(f"  {command} HGETALL {shlex.quote(wire.record_key(tag, join_key))}")
        line(f"  {command} XREVRANGE {shlex.quote(wire.pending_key(tag))} + - COUNT {ENTRIES_SEARCHED}")
        line(f"  {command} XREVRANGE {shlex.quote(wire.dead_key(tag))} + - COUNT {ENTRIES_SEARCHED}")


def _listed(entries: list[str]) -> str:
    return ": " + ", ".join(entries) if entries else ""
