"""`joinback drain`: drain once, now."""

import asyncio
import gc
import json
import logging

import click
from redis.exceptions import RedisError

from joinback.errors import JoinbackError
from joinback.settings import Settings, settings_from
from joinback_worker.connection.redis_errors import advice
from joinback_worker.drain.drained import Drained
from joinback_worker.drain.drainer import drain_all
from joinback_worker.logs import configure_logging
from joinback_worker.sinks import shown

from .names import check_known, known_applications
from .show import warn_of_path
from .terminal import terminal

_ONLY = click.option(
    "--application",
    "only",
    multiple=True,
    metavar="NAME",
    help="Only this application (repeatable).",
)


_COUNTS = ("claimed", "rows", "joined", "orphans", "matured", "dead", "erased", "released", "duration_s")
"""The counts of a drain that its line shows."""


@click.command("drain", short_help="Drain once, now: for cron and CronJobs.")
@_ONLY
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def drain(only: tuple[str, ...], as_json: bool) -> None:
    """Drain once, now: for cron and Kubernetes CronJobs. Prints one line.

    If the drain failed, the exit code is 2, and another line says what to fix.
    """
    settings = settings_from()
    configure_logging(logging.ERROR, as_json=settings.log_format == "json")
    warn_of_path(settings.sink_url)
    # If the sink is standard output, rows go there, and nothing else may.
    on_stderr = settings.sink_url.startswith("stdout:")
    # What is imported stays for good, so the cycle collector need not walk it again and again.
    gc.freeze()
    with terminal(stderr=True).status(f"draining into {shown(settings.sink_url)} …"):
        drained = asyncio.run(_drain(settings, only))
    result = {name: getattr(drained, name) for name in _COUNTS} | {"sink": shown(settings.sink_url)}
    if as_json:
        click.echo(json.dumps(result | {"error": drained.error}), err=on_stderr)
    else:
        done = "failed" if drained.error else "drained"
        click.echo(f"{done} " + " ".join(f"{name}={value}" for name, value in result.items()), err=on_stderr)
    if drained.error is not None:
        raise JoinbackError(drained.error)


async def _drain(settings: Settings, only: tuple[str, ...]) -> Drained:
    if only:
        try:
            check_known(only, await known_applications(settings))
        except (RedisError, OSError) as error:
            return Drained(error=advice(error))
    return await drain_all(settings, only)
