"""`joinback requeue APP`: what Redis still holds of an application becomes pending again."""

import click
from redis.asyncio import Redis

from joinback.settings import settings_from
from joinback_worker.by_hand.requeue import requeue as requeue_tag
from joinback_worker.notes.layouts import layouts

from .names import check_known
from .with_redis import with_redis


@click.command(short_help="Make pending again what Redis holds of APPLICATION.")
@click.argument("application")
def requeue(application: str) -> None:
    """Make pending again what Redis still holds of APPLICATION: for a sink that was lost, emptied or changed.

    The next drain merges it once more, which changes no row that has it. The books count each record as received
    once more. In the login's ACL it needs +scan.
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
