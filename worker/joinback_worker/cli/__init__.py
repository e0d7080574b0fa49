"""The `joinback` command. Exit codes: 0 done, 1 the answer is no, 2 something to mend, said in one line."""

import asyncio
import json
import logging
import sys

try:
    import click
except ModuleNotFoundError:
    sys.exit("joinback: the command needs the worker extra; pip install 'joinback[worker]'")

from msgspec import structs

from joinback.errors import JoinbackError
from joinback.settings import settings_from
from joinback_worker.drains import drain_all
from joinback_worker.logs import configure_logging

from .apps import apps
from .dead import dead
from .demo import demo
from .inspect import inspect
from .sink import sink
from .status import status
from .worker import worker

_ONLY = click.option(
    "--application",
    "only",
    multiple=True,
    metavar="NAME",
    help="Only this application (repeatable).",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="joinback")
def cli() -> None:
    """Join delayed feedback to predictions. Configured by JOINBACK_* variables; README has the table."""


@cli.command("drain")
@_ONLY
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def drain_command(only: tuple[str, ...], as_json: bool) -> None:
    """Drain once, now: for cron and Kubernetes CronJobs."""
    configure_logging(logging.ERROR)
    settings = settings_from()
    # Rows go to standard output, if that is the sink; nothing else may then.
    on_stderr = settings.sink_url.startswith("stdout:")
    drained = asyncio.run(drain_all(settings, only))
    names = ("claimed", "rows", "joined", "orphans", "dead", "released", "duration_s")
    result = {name: value for name, value in structs.asdict(drained).items() if name in names}
    if as_json:
        click.echo(json.dumps(result), err=on_stderr)
    else:
        click.echo("drained " + " ".join(f"{name}={value}" for name, value in result.items()), err=on_stderr)
    if drained.error is not None:
        raise JoinbackError(drained.error)


for command in (apps, dead, demo, inspect, sink, status, worker):
    cli.add_command(command)


def main() -> None:
    """Run the command; every foreseen trouble is one line on stderr, never a traceback."""
    try:
        code = cli(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = 2
    except click.Abort:
        code = 130
    except JoinbackError as error:
        click.echo(f"joinback: {error}", err=True)
        code = 2
    sys.exit(code)
