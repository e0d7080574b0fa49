"""`joinback doctor`: settings, Redis, workers, sink and applications, each tried, and what mends what is amiss."""

import asyncio
import sys
from collections.abc import Iterator

import click
import msgspec

from joinback.settings import settings_from
from joinback_worker.operating.diagnosis import Diagnosis, Tried
from joinback_worker.operating.doctor import diagnose

from .show import printable, warn_of_path


@click.command(short_help="Try settings, Redis, workers and sink; say what to mend.")
@click.option("--probe", is_flag=True, help="Send a test record the whole way into the sink, and read it back.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def doctor(probe: bool, as_json: bool) -> None:
    """Try settings, Redis and sink, each with its rights, and look at workers, clients and applications; say of each
    thing amiss what it is, why it matters, and the command that mends it. Before the first event, and at any time.

    Exit code 1 if anything is marked MEND; what is marked LOOK can wait for the day. A record of its own goes into
    Redis and is deleted. Into the sink it writes nothing that stays, but makes its table as a worker would; with
    --probe a row stays per day, of the application joinback-probe. A table of an older release is left as it is.
    """
    settings = settings_from()
    warn_of_path(settings.sink_url)
    found = asyncio.run(diagnose(settings, probe=probe))
    if as_json:
        click.echo(msgspec.json.encode(found))
    else:
        for line in _lines(found):
            click.echo(printable(line, markup=False))
    if found.troubles:
        sys.exit(1)


def _lines(found: Diagnosis) -> Iterator[str]:
    for one in found.tried:
        yield from _tried(one)


def _tried(one: Tried) -> Iterator[str]:
    amiss = one.finding
    if amiss is None:
        yield f"ok    {one.area}  {one.says}"
        return
    yield f"{'MEND' if amiss.is_trouble else 'LOOK'}  {one.area}  {amiss.name}: {one.says}"
    yield f"      why: {amiss.why}"
    if amiss.fix:
        yield f"      do:  {amiss.fix}"
