"""The `joinback` command. Exit codes: 0 done, 1 the answer is no, 2 something to fix, named in one line."""

import sys

try:
    import click
    import redis.asyncio  # noqa: F401  # the client alone has it too; what follows needs all of these
    import rich  # noqa: F401
    import structlog  # noqa: F401
except ModuleNotFoundError:
    sys.exit("joinback: the command needs the worker extra; in its clone: pip install '.[worker]'")

from joinback.errors import JoinbackError

from .arguments import check_text
from .lazy_group import LazyGroup
from .show import printable

COMMANDS = {
    "apps": "apps:apps",
    "config": "config:config",
    "dashboard": "dashboard:dashboard",
    "dead": "dead:dead",
    "demo": "demo:demo",
    "doctor": "doctor:doctor",
    "drain": "drain:drain",
    "erase": "erase:erase_command",
    "explain": "explain:explain",
    "export": "export:export",
    "import": "import_labels:import_labels",
    "label": "label:label",
    "orphans": "orphans:orphans",
    "purge": "purge:purge",
    "report": "report:report",
    "requeue": "requeue:requeue",
    "retract": "retract:retract",
    "sample-rate": "sample_rate:sample_rate",
    "sink": "sink:sink",
    "status": "status:status",
    "tap": "tap:tap",
    "worker": "worker:worker",
}
"""Name -> module and object. Each is imported when it is asked for: `worker --check` runs every few seconds."""


@click.group(
    cls=LazyGroup,
    modules={name: f"{__name__}.{place}" for name, place in COMMANDS.items()},
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="joinback")
def cli() -> None:
    """Join delayed feedback to predictions. Configured by JOINBACK_* variables: docs/reference/settings.md."""


def main() -> None:
    """Run the command. Every foreseen error is one line on stderr, never a traceback."""
    try:
        check_text(sys.argv[1:])
        code = cli(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = 2
    except click.Abort:
        code = 130
    except JoinbackError as error:
        click.echo(f"joinback: {printable(str(error), markup=False)}", err=True)
        code = 2
    sys.exit(code)
