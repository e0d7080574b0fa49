"""`joinback orphans APP`: labels without a prediction, and which other form of their keys has one."""

from collections.abc import Iterator

import click
import msgspec
from redis.asyncio import Redis

from joinback.settings import settings_from
from joinback_worker.notes.layouts import layouts
from joinback_worker.operating.orphans import FormGroup, Orphans
from joinback_worker.operating.orphans import orphans as found_orphans
from joinback_worker.operating.spans import several

from .names import check_known
from .show import printable, warn_of_path
from .with_redis import with_redis


@click.command(short_help="Find which form of their keys would match.")
@click.argument("application")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def orphans(application: str, as_json: bool) -> None:
    """Find the rows of APPLICATION that have feedback and no prediction. Print which other form of their keys has a
    prediction, such as one with leading zeros or another prefix, and for how many. Each form is looked up, not guessed.
    Changes nothing.
    """
    settings = settings_from()
    warn_of_path(settings.sink_url)

    async def run(redis: Redis) -> Orphans:
        check_known([application], await layouts(redis))
        return await found_orphans(redis, settings, application)

    found = with_redis(settings, run)
    if as_json:
        click.echo(msgspec.json.encode(found))
        return
    for line in _lines(found):
        click.echo(printable(line, markup=False))


def _lines(found: Orphans) -> Iterator[str]:
    if not found.orphans:
        yield f"no orphans of {found.application} in {found.sink}"
        return
    yield f"{several(found.orphans, 'orphan')} of {found.application} in {found.sink}"
    if found.tried < found.orphans:
        newest = "" if found.is_whole else " of the newest"
        yield f"tried {found.tried:,}{newest}, so the numbers below are estimates"
    for group in found.groups:
        yield ""
        yield from _group(group)


def _group(group: FormGroup) -> Iterator[str]:
    how = f"would match {group.how}" if group.how else "match in none of the forms that were tried"
    yield f"{group.estimated:,}  {how}"
    for own, other in group.examples:
        yield f"    {own} -> {other}" if other else f"    {own}"
    named = ", ".join(f"{source or 'no source'} {count:,}" for source, count in group.sources.items())
    if named and list(group.sources) != [""]:
        yield f"    sent by {named}"
