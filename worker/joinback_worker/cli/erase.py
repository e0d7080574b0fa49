"""`joinback erase APP KEY`: delete everything that is held of a join key, and what still comes of it later."""

import json
import sys
from datetime import UTC, datetime
from typing import Any

import click
from redis.asyncio import Redis
from rich.console import Console

from joinback import wire
from joinback.errors import JoinbackError
from joinback.settings import Settings, settings_from
from joinback_worker.notes.guard import refusal
from joinback_worker.notes.layouts import Layout, layouts
from joinback_worker.operating.erasable import Erasable, erasable, has_rows
from joinback_worker.operating.erasing import Erased, erase
from joinback_worker.operating.spans import several
from joinback_worker.operating.where import KINDS, Where, where
from joinback_worker.sinks import open_sink, shown

from .names import check_known
from .show import printable, warn_of_path
from .with_redis import with_redis

_TIERS = {
    "tombstones": "tombstones",
    "redis_records": "Redis",
    "dead_letters": "dead letters",
    "sink": "sink",
}


@click.command("erase", short_help="Delete everything that is held of join keys.")
@click.argument("application")
@click.argument("keys", metavar="[KEY]...", nargs=-1)
@click.option("--where", "given", multiple=True, metavar="COND", help=f"Records with {KINDS} (repeatable).")
@click.option("--dry-run", is_flag=True, help="Count, and delete nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print the receipt as one JSON object.")
def erase_command(
    application: str, keys: tuple[str, ...], given: tuple[str, ...], dry_run: bool, yes: bool, as_json: bool
) -> None:
    """Delete everything that is held of these join keys of APPLICATION, or of all records that meet every COND: in
    Redis, in the dead letters and in the sink. If an event of such a key still comes within the join window (a late
    label, a retry, a spool), the drain that finds it deletes it.

    A COND is a path into what was logged and the value there: inputs.user_id=42. It asks at a terminal. Without a
    terminal it needs --yes. Exit code 1 if nothing was found, 2 if a tier failed: then run it again. With --where the
    login needs +scan.
    """
    conditions = [where(text) for text in given]
    _check(keys, conditions)
    settings = settings_from()
    open_sink(settings.sink_url)  # a wrong URL must be the first error
    warn_of_path(settings.sink_url)

    async def look(redis: Redis) -> Erasable:
        return await _look(redis, settings, application, keys, conditions)

    with Console(stderr=True).status(f"looking for it in Redis and {shown(settings.sink_url)} …"):
        found = with_redis(settings, look)
    number = len(found.scope.join_keys)
    if dry_run:
        _print_found(settings, found, as_json)
        sys.exit(found.is_empty)
    # A key that was named gets its tombstone even if nothing is held of it yet.
    if not number and not found.scope.letters:
        _print_found(settings, found, as_json)
        sys.exit(1)
    if not yes:
        _confirm(settings, found)
    with Console(stderr=True).status("erasing …"):
        erased = with_redis(settings, lambda redis: erase(redis, settings, found.scope))
    _print_receipt(settings, application, erased, as_json)
    if erased.failed:
        raise JoinbackError("not everything was erased: fix what failed, and run the same command again")
    if not (erased.redis_records or erased.dead_letters or erased.sink_rows):
        sys.exit(1)


def _check(keys: tuple[str, ...], conditions: list[Where]) -> None:
    if bool(keys) == bool(conditions):
        raise JoinbackError("choose the records: by KEY..., or by --where inputs.user_id=42")
    for key in keys:
        if not 0 < len(key.encode()) <= wire.JOIN_KEY_BYTES_MAX:
            raise JoinbackError(f"a join key is text in UTF-8, of 1 to {wire.JOIN_KEY_BYTES_MAX} bytes")


async def _look(
    redis: Redis, settings: Settings, application: str, keys: tuple[str, ...], conditions: list[Where]
) -> Erasable:
    known = await layouts(redis)
    if application not in known and not await has_rows(settings, application):
        check_known([application], known)
    if why := await refusal(redis, settings, application):
        raise JoinbackError(why)
    return await erasable(redis, settings, application, known.get(application, Layout()), keys, conditions)


def _confirm(settings: Settings, found: Erasable) -> None:
    if not sys.stdin.isatty():
        raise JoinbackError("nothing was erased: without a terminal it cannot ask; --yes erases without asking")
    for line in _found_lines(settings, found):
        click.echo(printable(line, markup=False), err=True)
    click.confirm("Erase all of it? This cannot be undone", abort=True, err=True)


def _print_found(settings: Settings, found: Erasable, as_json: bool) -> None:
    if as_json:
        counts = {name: getattr(found, name) for name in ("redis_records", "dead_letters", "sink_rows", "failed")}
        about = {"application": found.scope.application, "sink": shown(settings.sink_url), "dry_run": True}
        click.echo(json.dumps(about | {"keys": len(found.scope.join_keys)} | counts))
        return
    for line in _found_lines(settings, found):
        click.echo(printable(line, markup=False))


def _found_lines(settings: Settings, found: Erasable) -> list[str]:
    where = shown(settings.sink_url)
    in_sink = found.failed.get("sink") or f"{several(found.sink_rows, 'row')} in {where}"
    return [
        f"{several(len(found.scope.join_keys), 'join key')} of {found.scope.application}:",
        f"  Redis         {several(found.redis_records, 'record')}",
        f"  dead letters  {found.dead_letters:,}",
        f"  sink          {in_sink}",
    ]


def _print_receipt(settings: Settings, application: str, erased: Erased, as_json: bool) -> None:
    now, where = datetime.now(UTC).replace(microsecond=0), shown(settings.sink_url)
    if as_json:
        click.echo(json.dumps(_as_json(application, where, now, erased)))
        return
    lines = {
        "tombstones": f"until {erased.tombstones_until:%Y-%m-%d}: each drain deletes what still comes"
        if erased.tombstones_until
        else "none needed",
        "redis_records": several(erased.redis_records, "record"),
        "dead_letters": f"{erased.dead_letters:,}",
        "sink": f"{several(erased.sink_rows, 'stored row')} in {where}",
    }
    head = f"erased {several(erased.keys, 'join key')} of {application}, {now.isoformat()}"
    click.echo(printable(head, markup=False))
    for tier, name in _TIERS.items():
        line = f"FAILED: {erased.failed[tier]}" if tier in erased.failed else lines[tier]
        click.echo(printable(f"  {name:<12}  {line}", markup=False))


def _as_json(application: str, where: str, now: datetime, erased: Erased) -> dict[str, Any]:
    until = erased.tombstones_until
    return {
        "application": application,
        "erased_at": now.isoformat(),
        "sink": where,
        "dry_run": False,
        "keys": erased.keys,
        "tombstones_until": until and until.isoformat(),
        "redis_records": erased.redis_records,
        "dead_letters": erased.dead_letters,
        "sink_rows": erased.sink_rows,
        "failed": erased.failed,
    }
