"""`joinback status`: one row per application, the troubled ones first, and one sentence per finding."""

import json
import logging
import sys
from functools import partial
from typing import Any

import click
import msgspec
from redis.asyncio import Redis

from joinback.settings import Settings, settings_from
from joinback_worker.logs import configure_logging
from joinback_worker.operating.overview import overview
from joinback_worker.operating.states import Overview, State
from joinback_worker.operating.thresholds import Thresholds

from .metrics import exposition
from .numbers import Number
from .show import folded
from .status_show import fitted, lines
from .terminal import columns, terminal
from .watching import watch
from .with_redis import with_redis

_DEFAULTS = Thresholds()


@click.command(short_help="Show what waits, who drains it, and what is wrong.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--prometheus", "as_metrics", is_flag=True, help="Print metrics in the text format of Prometheus.")
@click.option("--watch", "watches", is_flag=True, help="Show it again every two seconds, until q.")
@click.option(
    "--age-intervals", type=Number(0), default=_DEFAULTS.age_intervals, show_default=True,
    help="Trouble: an event has waited for more intervals.",
)  # fmt: skip
@click.option(
    "--drain-intervals", type=Number(0), default=_DEFAULTS.drain_intervals, show_default=True,
    help="Trouble: no drain has ended well for more intervals.",
)  # fmt: skip
@click.option(
    "--dead-new", type=click.IntRange(0), default=_DEFAULTS.dead_new, show_default=True,
    help="Trouble: more new dead letters within a day.",
)  # fmt: skip
@click.option(
    "--silence-factor", type=Number(0), default=_DEFAULTS.silence_factor, show_default=True,
    help="Trouble: no feedback for more than the longest silence, times this.",
)  # fmt: skip
@click.option(
    "--orphan-share", type=Number(0, 1), default=_DEFAULTS.orphan_share, show_default=True,
    help="Hint: a larger share of the day's labels has no prediction.",
)  # fmt: skip
def status(as_json: bool, as_metrics: bool, watches: bool, **wanted: Any) -> None:
    """Show each application, those with trouble first: events in and rows out, what waits and for how long, who drains
    it into which sink, dead letters, and one sentence for each problem.

    Exit code 1 if any of them is trouble (marked !): an event too old, no drain, a worker or a sink down, new dead
    letters, a difference in the books, no feedback for longer than ever before, or a Redis that may lose events.
    """
    if as_json + as_metrics + watches > 1:
        raise click.UsageError("choose one of --json, --prometheus and --watch")
    settings, thresholds = settings_from(), Thresholds(**wanted)
    # On stderr, as scripts read stdout; and not over a screen that is drawn again.
    configure_logging(logging.ERROR if watches else logging.WARNING, as_json=settings.log_format == "json")
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
            if isinstance(line, str):
                console.print(folded(line, columns()), highlight=False, soft_wrap=True)
            else:
                console.print(line, highlight=False)
    if found.troubles:
        sys.exit(1)


async def _screen(redis: Redis, settings: Settings, thresholds: Thresholds) -> list[Any]:
    console = terminal()
    return fitted(await overview(redis, settings, thresholds), console.width, console.height)


def _as_json(found: Overview) -> dict[str, Any]:
    parts: dict[str, Any] = msgspec.to_builtins(found)
    parts["applications"] = {state.application: _state_as_json(state) for state in found.applications}
    return parts


def _state_as_json(state: State) -> dict[str, Any]:
    """Return a state with the terms of its books beside its other parts. Scripts rely on these names."""
    parts: dict[str, Any] = msgspec.to_builtins(state)
    books = parts.pop("books")
    return parts | state.books.summary() | {"dead_by_reason": books["dead_by_reason"], "troubles": books["troubles"]}
