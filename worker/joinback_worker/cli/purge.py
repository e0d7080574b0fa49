"""`joinback purge APP`: ask, then delete what Redis holds of an application."""

import sys

import click
from redis.asyncio import Redis

from joinback.errors import JoinbackError
from joinback.settings import settings_from
from joinback_worker.notes.layouts import Layout, layouts
from joinback_worker.operating.purging import Purged, held
from joinback_worker.operating.purging import purge as purged
from joinback_worker.operating.spans import several

from .names import check_known
from .show import printable
from .with_redis import with_redis


@click.command(short_help="Delete what Redis holds of APPLICATION; its rows stay.")
@click.argument("application")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Count, and delete nothing.")
def purge(application: str, yes: bool, dry_run: bool) -> None:
    """Delete everything that Redis holds of APPLICATION: records, pending events, dead letters, counters and its name.

    Rows in the sink stay. Pending events are lost, so drain before. A client that still logs announces it anew. At a
    terminal it counts and asks first. Without a terminal it needs --yes. The login needs +scan.
    """
    settings = settings_from()

    async def count(redis: Redis) -> tuple[Layout, Purged]:
        known = await layouts(redis)
        check_known([application], known)
        return known[application], await held(redis, known[application].tags(application))

    layout, found = with_redis(settings, count)
    name = printable(application, markup=False)
    if dry_run:
        click.echo(f"would purge {_counted(found)} of {name}")
        return
    if not yes:
        if not sys.stdin.isatty():
            raise JoinbackError(
                f"{_counted(found)} of {name} would be deleted; without a terminal it cannot ask: --yes deletes"
            )
        click.confirm(f"Delete {_counted(found)} of {name}? Pending events are lost", abort=True)
    gone = with_redis(settings, lambda redis: purged(redis, application, layout))
    click.echo(f"purged {_counted(gone)} of {name}")


def _counted(found: Purged) -> str:
    waiting = several(found.pending, "pending event")
    return f"{several(found.records, 'record')}, {waiting} and {several(found.dead, 'dead letter')}"
