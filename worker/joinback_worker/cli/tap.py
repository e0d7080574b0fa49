"""`joinback tap APP`: the newest events that wait, as they come."""

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


@click.command(short_help="Look at the newest events that wait for the worker.")
@click.argument("application")
@click.option("--limit", type=click.IntRange(1, LIMIT_MAX), default=20, show_default=True, help="At most so many.")
@click.option("--payloads", is_flag=True, help="Show what each event says, too.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
def tap(application: str, limit: int, payloads: bool, as_json: bool) -> None:
    """Look at the newest events of APPLICATION that wait for the worker, the oldest of them first. Takes none away.

    What each says is hidden unless it is asked for: it may hold personal data.
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
        click.echo(f"nothing of {printable(application, markup=False)} waits; joinback status says what came")
