"""`joinback sample-rate APP [RATE]`: show or set the published rate, which feedback of an application follows."""

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

    Within a minute, every client drops feedback on keys outside this sample. Clients that log predictions raise the
    rate to their own rate, and never lower it. So to lower it, first lower the rate of every client. Wait until the
    predictions of the former sample have their labels. Then set the rate here.
    """
    # click's own range would accept nan.
    if rate is not None and not 0 < rate <= 1:
        raise JoinbackError("RATE must be above 0 and at most 1")
    before = with_redis(settings_from(), partial(_publish, application, rate))
    name = printable(application, markup=False)
    if rate is None:
        click.echo(f"{name} sample_rate={_shown(before)}")
    else:
        click.echo(f"{name} sample_rate={_shown(rate)} before={_shown(before)}")


def _shown(rate: float | None) -> str:
    return "none" if rate is None else f"{rate:g}"


async def _publish(application: str, rate: float | None, redis: Redis) -> float | None:
    """Publish the rate if one is given, and return the rate before. Raises JoinbackError for an unknown application."""
    before = _of(await applications(redis), application).sample_rate
    if rate is not None:
        # By one script: a read and a write would undo the shards that a client announces meanwhile.
        await change(redis, application, sample_rate=rate)
    return before


def _of(known: dict[str, wire.Application], application: str) -> wire.Application:
    if application in known:
        return known[application]
    near = nearest(application, known)
    fix = f"did you mean {printable(near, markup=False)}?" if near else "its clients announce it with their first event"
    raise JoinbackError(f"no application {application!r} in this Redis; {fix}")
