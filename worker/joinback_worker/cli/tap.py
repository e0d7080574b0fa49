"""`joinback tap APP`: show the newest pending events."""

import click
import msgspec
from redis.asyncio import Redis

from joinback.settings import settings_from
from joinback_worker.notes.layouts import layouts
from joinback_worker.operating.tapping import LIMIT_MAX, Tapped
from joinback_worker.operating.tapping import tap as tapped

from .names import check_known
from .show import printable
from .with_redis import with_redis


@click.command(short_help="Show the newest events that wait for the worker.")
@click.argument("application")
@click.option(
    "--limit", type=click.IntRange(1, LIMIT_MAX), default=20, show_default=True, help="Show at most this many."
)
@click.option("--payloads", is_flag=True, help="Also show the content of each event.")
@click.option("--json", "as_json", is_flag=True, help="Print each event as one JSON object, one per line.")
def tap(application: str, limit: int, payloads: bool, as_json: bool) -> None:
    """Show the newest events of APPLICATION that wait for the worker, the oldest of them first. Removes none.

    The content of events is hidden without --payloads, since it may be personal data.
    """

    async def run(redis: Redis) -> list[Tapped]:
        known = await layouts(redis)
        check_known([application], known)
        return await tapped(redis, known[application].tags(application), limit, payloads=payloads)

    found = with_redis(settings_from(), run)
    for one in found:
        if as_json:
            click.echo(msgspec.json.encode(one))
        else:
            parts = [f"{one.at:%Y-%m-%d %H:%M:%S}", one.kind, one.join_key, one.event_id, *filter(None, [one.payload])]
            click.echo(printable("  ".join(parts), markup=False))
    if not found and not as_json:
        click.echo(f"no event of {printable(application, markup=False)} waits; joinback status shows what came")
