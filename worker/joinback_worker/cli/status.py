"""`joinback status`: one row per application, the troubled ones first, and one sentence per finding."""

import json
import sys
from functools import partial
from typing import Any

import click
import msgspec
from redis.asyncio import Redis

from joinback.settings import Settings, settings_from
from joinback_worker.operating.overview import overview
from joinback_worker.operating.states import Overview, State
from joinback_worker.operating.thresholds import Thresholds

from .metrics import exposition
from .status_show import fitted, lines
from .terminal import terminal
from .watching import watch
from .with_redis import with_redis

_DEFAULTS = Thresholds()


@click.command(short_help="Show what waits, who drains it, and what is amiss.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--prometheus", "as_metrics", is_flag=True, help="Print metrics, as Prometheus reads them.")
@click.option("--watch", "watches", is_flag=True, help="Look again every two seconds, until q.")
@click.option(
    "--age-intervals", type=click.FloatRange(0), default=_DEFAULTS.age_intervals, show_default=True,
    help="Trouble: an event has waited for so many intervals.",
)  # fmt: skip
@click.option(
    "--drain-intervals", type=click.FloatRange(0), default=_DEFAULTS.drain_intervals, show_default=True,
    help="Trouble: no drain ended well for so many intervals.",
)  # fmt: skip
@click.option(
    "--dead-new", type=click.IntRange(0), default=_DEFAULTS.dead_new, show_default=True,
    help="Trouble: more new dead letters within a day.",
)  # fmt: skip
@click.option(
    "--silence-factor", type=click.FloatRange(0), default=_DEFAULTS.silence_factor, show_default=True,
    help="Trouble: no feedback for so many times the longest silence.",
)  # fmt: skip
@click.option(
    "--orphan-share", type=click.FloatRange(0, 1), default=_DEFAULTS.orphan_share, show_default=True,
    help="Told: a larger share of the day's labels is without prediction.",
)  # fmt: skip
def status(as_json: bool, as_metrics: bool, watches: bool, **wanted: Any) -> None:
    """Show each application, the troubled ones first: what comes and goes, what waits and for how long, who drains it
    into which sink, what died, and one sentence for each thing amiss.

    Exit code 1 if any of it is trouble (marked !): an event too old, no drain, a worker or a sink down, new dead
    letters, a difference in the books, no feedback for longer than ever before, or a Redis that may lose events.
    """
    if as_json + as_metrics + watches > 1:
        raise click.UsageError("choose one of --json, --prometheus and --watch")
    settings, thresholds = settings_from(), Thresholds(**wanted)
    if watches:
        with_redis(settings, lambda redis: watch(partial(_screen, redis, settings, thresholds)))
        return
    found = with_redis(settings, lambda redis: overview(redis, settings, thresholds))
    if as_json:
        click.echo(json.dumps(_as_json(found)))
    elif as_metrics:
        click.echo(exposition().text(found), nl=False)
    else:
        console = terminal()
        for line in lines(found, has_box=console.is_terminal):
            console.print(line, highlight=False, soft_wrap=isinstance(line, str))
    if found.troubles:
        sys.exit(1)


async def _screen(redis: Redis, settings: Settings, thresholds: Thresholds) -> list[Any]:
    console = terminal()
    return fitted(await overview(redis, settings, thresholds), console.width, console.height)


def _as_json(found: Overview) -> dict[str, Any]:
    told: dict[str, Any] = msgspec.to_builtins(found)
    told["applications"] = {state.application: _state_as_json(state) for state in found.applications}
    return told


def _state_as_json(state: State) -> dict[str, Any]:
    """The books' terms beside what else is told of an application, by the names that scripts rely on."""
    told: dict[str, Any] = msgspec.to_builtins(state)
    books = told.pop("books")
    return told | state.books.summary() | {"dead_by_reason": books["dead_by_reason"], "troubles": books["troubles"]}
