"""`joinback doctor`: try settings, Redis, workers, sink and applications, and print what fixes each problem."""

import asyncio
import logging
import sys
from collections.abc import Iterator

import click
import msgspec

from joinback.settings import settings_from
from joinback_worker.logs import configure_logging
from joinback_worker.operating.diagnosis import Diagnosis, Tried
from joinback_worker.operating.doctor import diagnose

from .show import folded, printable, warn_of_path
from .terminal import columns


@click.command(short_help="Try settings, Redis, workers, sink; say what to fix.")
@click.option("--probe", is_flag=True, help="Send a test record the whole way into the sink, and read it back.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def doctor(probe: bool, as_json: bool) -> None:
    """Try settings, Redis and sink with their rights, and look at workers, clients and applications. For each problem
    it prints what it is, why it matters, and how to fix it. Run it before the first event, and at any time.

    Exit code 1 if anything is marked FIX. What is marked LOOK can wait for the working day. It writes a test record
    into Redis and deletes it. In the sink it makes the table, as a worker does, and leaves no row. With --probe one row
    per day stays there, of the application joinback-probe. A table of an older release stays as it is.
    """
    settings = settings_from()
    # What the lines of a worker's log would report here, the findings report.
    configure_logging(logging.ERROR, as_json=settings.log_format == "json")
    warn_of_path(settings.sink_url)
    found = asyncio.run(diagnose(settings, probe=probe))
    if as_json:
        click.echo(msgspec.json.encode(found))
    else:
        for line in _lines(found):
            click.echo(folded(printable(line, markup=False), columns()))
    if found.troubles:
        sys.exit(1)


def _lines(found: Diagnosis) -> Iterator[str]:
    for one in found.tried:
        yield from _tried(one)


def _tried(one: Tried) -> Iterator[str]:
    found = one.finding
    if found is None:
        yield f"ok    {one.area}  {one.says}"
        return
    yield f"{'FIX ' if found.is_trouble else 'LOOK'}  {one.area}  {found.name}: {one.says}"
    yield f"      why: {found.why}"
    if found.fix:
        yield f"      do:  {found.fix}"
