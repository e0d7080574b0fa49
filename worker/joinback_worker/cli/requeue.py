"""`joinback requeue APP`: make the records that Redis still holds of an application pending again."""

import click
from redis.asyncio import Redis

from joinback.settings import settings_from
from joinback_worker.by_hand.requeue import Requeued
from joinback_worker.by_hand.requeue import requeue as requeue_tag
from joinback_worker.notes.layouts import layouts

from .names import check_known
from .show import printable
from .with_redis import with_redis


@click.command(short_help="Make records that Redis holds pending again.")
@click.argument("application")
def requeue(application: str) -> None:
    """Make the records that Redis still holds of APPLICATION pending again: for a sink that was lost, emptied or
    changed.

    The next drain merges them again. Rows that have them already do not change. The books count each record as received
    once more, so a difference stays until you close the books: see the finding. The login needs +scan.
    """
    settings = settings_from()

    async def run(redis: Redis) -> Requeued:
        known = await layouts(redis)
        check_known([application], known)
        records = events = 0
        for tag in known[application].tags(application):
            async for step in requeue_tag(redis, tag, settings.buffer_ttl_s):
                records += step.records
                events += step.events
        return Requeued(records, events)

    queued = with_redis(settings, run)
    name = printable(application, markup=False)
    click.echo(f"requeued {queued.records} records of {name}; the next drain merges them")
    click.echo(f"they hold at most {queued.events} events: no more of a difference in the books can have come back")
