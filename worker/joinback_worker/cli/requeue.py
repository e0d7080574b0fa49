"""`joinback requeue APP`: make the records that Redis still holds of an application pending again."""

import click
from redis.asyncio import Redis

from joinback.settings import settings_from
from joinback_worker.by_hand.requeue import requeue as requeue_tag
from joinback_worker.notes.layouts import layouts

from .names import check_known
from .with_redis import with_redis


@click.command(short_help="Make records that Redis holds pending again.")
@click.argument("application")
def requeue(application: str) -> None:
    """Make the records that Redis still holds of APPLICATION pending again: for a sink that was lost, emptied or
    changed.

    The next drain merges them again. Rows that have them already do not change. The books count each record as received
    once more. The login needs +scan.
    """
    settings = settings_from()

    async def run(redis: Redis) -> int:
        known = await layouts(redis)
        check_known([application], known)
        queued = 0
        for tag in known[application].tags(application):
            async for number in requeue_tag(redis, tag, settings.buffer_ttl_s):
                queued += number
        return queued

    queued = with_redis(settings, run)
    click.echo(f"requeued {queued} records of {application}; the next drain merges them")
