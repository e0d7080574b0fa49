"""`joinback check`: settings, Redis and sink, each tried, before the first event comes."""

import asyncio
import sys

import click

from joinback.settings import settings_from
from joinback_worker.checks import look

from .show import printable, warn_of_path


@click.command(short_help="Try settings, Redis and sink, and say what to mend.")
def check() -> None:
    """Try settings, Redis and sink, each with its rights, and say what to mend. Exit code 1 if anything is.

    It writes a record of its own to Redis and deletes it; into the sink it writes nothing that stays, but makes
    its table as the worker would, if there is none. A table of an older release it leaves as it is.
    """
    settings = settings_from()
    warn_of_path(settings.sink_url)
    findings = asyncio.run(look(settings))
    for finding in findings:
        click.echo(printable(f"{'ok  ' if finding.is_ok else 'MEND'}  {finding.name}  {finding.says}", markup=False))
    if not all(finding.is_ok for finding in findings):
        sys.exit(1)
