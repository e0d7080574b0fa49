"""`joinback sample-rate APP [RATE]`: the published rate, which the feedback of an application follows."""

from functools import partial

import click
from redis.asyncio import Redis

from joinback import wire
from joinback.errors import JoinbackError
from joinback.settings import settings_from
from joinback_worker.nearest import nearest
from joinback_worker.notes.apps import change
from joinback_worker.notes.layouts import applications

from .show import printable
from .with_redis import with_redis


@click.command("sample-rate", short_help="Show or set the rate that feedback follows.")
@click.argument("application")
@click.argument("rate", type=float, required=False)
def sample_rate(application: str, rate: float | None) -> None:
    """Show the published sample rate of APPLICATION, or set it to RATE.

    Feedback on keys that are not in this sample is dropped by every client, within a minute. Clients that log
    predictions raise the rate to their own and never lower it. So to lower it, first lower the rate of every
    client, wait until the predictions kept before have their labels, and then set it here.
    """
    # Not click's own range: nan is in it.
    if rate is not None and not 0 < rate <= 1:
        raise JoinbackError("RATE must be over 0 and at most 1")
    before = with_redis(settings_from(), partial(_publish, application, rate))
    name = printable(application, markup=False)
    if rate is None:
        click.echo(f"{name} sample_rate={_shown(before)}")
    else:
        click.echo(f"{name} sample_rate={_shown(rate)} before={_shown(before)}")


def _shown(rate: float | None) -> str:
    return "none" if rate is None else f"{rate:g}"


async def _publish(application: str, rate: float | None, redis: Redis) -> float | None:
    """Publish the rate, if one is given; return the one before. Raises JoinbackError for an application unknown."""
    before = _of(await applications(redis), application).sample_rate
    if rate is not None:
        # In one script: a client that announces more shards meanwhile would be undone by a read and a write.
        await change(redis, application, sample_rate=rate)
    return before


def _of(known: dict[str, wire.Application], application: str) -> wire.Application:
    if application in known:
        return known[application]
    near = nearest(application, known)
    fix = f"did you mean {printable(near, markup=False)}?" if near else "its clients announce it with their first event"
    raise JoinbackError(f"no application {application!r} in this Redis; {fix}")
