"""`joinback apps`: list every application with its shards, rates and memory, and change shards and sample rate."""

import json
import math
from datetime import UTC, datetime
from typing import Any, TypeVar

import click
from msgspec import structs
from redis.asyncio import Redis
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from joinback import wire
from joinback.errors import JoinbackError
from joinback.settings import settings_from
from joinback_worker.notes.apps import App, change
from joinback_worker.notes.apps import apps as known_apps
from joinback_worker.notes.layouts import layouts
from joinback_worker.operating.spans import brief

from .names import UnknownApplication, instead
from .show import printable
from .terminal import terminal
from .with_redis import with_redis

T = TypeVar("T")


@click.group(invoke_without_command=True, short_help="List applications; change their shards or rate.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
@click.pass_context
def apps(context: click.Context, as_json: bool) -> None:
    """List the applications: shards, sample rate, last event, events and rows per minute, and an estimate of the
    records and the memory in Redis.
    """
    if context.invoked_subcommand is not None:
        return
    found = with_redis(settings_from(), known_apps)
    if as_json:
        click.echo(json.dumps([_as_json(app) for app in found]))
    else:
        _show(terminal(), found)


@apps.command("set", short_help="Change shards or sample rate of an application.")
@click.argument("application")
@click.option("--shards", type=click.IntRange(1, wire.SHARDS_MAX), help="Spread it over this many tags, and so nodes.")
@click.option("--sample-rate", type=float, help="The rate at which feedback is kept: above 0, at most 1.")
@click.option("--new", "is_new", is_flag=True, help="Allow a name that no client has announced yet.")
def set_app(application: str, shards: int | None, sample_rate: float | None, is_new: bool) -> None:
    """Change APPLICATION while clients and workers run. Clients follow within a minute.

    Events under the former shards are drained and counted as before, until none is left. A client that logs
    predictions at a higher sample rate raises the rate again.
    """
    if shards is None and sample_rate is None:
        raise JoinbackError("nothing to change: give --shards or --sample-rate")
    if sample_rate is not None and not 0 < sample_rate <= 1:
        raise JoinbackError("--sample-rate must be above 0 and at most 1")

    async def run(redis: Redis) -> None:
        known = await layouts(redis)
        if application not in known and not is_new:
            meant = instead(application, known)
            raise UnknownApplication(f"no application {application}; {meant} (--new makes it known)")
        layout = await change(redis, application, shards=shards, sample_rate=sample_rate)
        words = [f"{printable(application, markup=False)}: shards {layout.shards}"]
        if sample_rate is not None:
            words.append(f"sample rate {sample_rate}")
        click.echo(", ".join(words))

    with_redis(settings_from(), run)


def _as_json(app: App) -> dict[str, Any]:
    return structs.asdict(app) | {"last_event_at": app.last_event_at and app.last_event_at.isoformat()}


def _show(console: Console, found: list[App]) -> None:
    # Numbers must not be cut off, so the columns are narrow. The box brings the space between them.
    table = Table(box=SIMPLE_HEAD, padding=(0, 0), pad_edge=False, show_edge=False)
    table.add_column("\napplication", overflow="fold", min_width=len("application"))
    now = datetime.now(UTC)
    columns = ("\nshards", "\nformer", "sample\nrate", "last\nevent", "events\n/min", "rows\n/min", "\npending")
    for column in (*columns, "\nrecords", "\nmemory"):
        table.add_column(column, justify="right", overflow="fold")
    for app in found:
        table.add_row(
            printable(app.application),
            str(app.shards),
            ", ".join(map(str, app.former_shards)),
            "" if app.sample_rate is None else f"{app.sample_rate:g}",
            "" if app.last_event_at is None else brief((now - app.last_event_at).total_seconds()),
            _shown_rate(app.received_per_min),
            _shown_rate(app.rows_per_min),
            str(app.pending),
            "?" if app.records is None else str(app.records),
            "?" if app.memory_bytes is None else _shown_bytes(app.memory_bytes),
        )
    console.print(table)


def _shown_rate(per_min: float | None) -> str:
    return "?" if per_min is None else f"{per_min:,.0f}" if per_min >= 10 else f"{per_min:.2g}"


def _shown_bytes(count: int) -> str:
    power = min(3, int(math.log(max(count, 1), 1024)))
    return f"{count / 1024**power:.3g} {('B', 'KiB', 'MiB', 'GiB')[power]}"
