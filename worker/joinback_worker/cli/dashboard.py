"""`joinback dashboard`: the answers of `report`, `status`, `explain` and `doctor` as pages in a browser."""

import logging

import click

from joinback.errors import ConfigurationError
from joinback.settings import settings_from
from joinback_worker.config.rules_file import config_of
from joinback_worker.logs import configure_logging
from joinback_worker.sinks import shown

from .show import printable, warn_of_path

HOST = "127.0.0.1"
PORT = 8420
MISSING = "pages need Starlette, Jinja2 and uvicorn; in Joinback's clone: pip install '.[dashboard]'"


@click.command(short_help="Serve report, status and doctor as pages.")
@click.option(
    "--host", default=HOST, show_default=True, help="Listen on this address. It needs a password unless it is loopback."
)
@click.option("--port", default=PORT, show_default=True, type=click.IntRange(0, 65_535), help="0: any free port.")
@click.option(
    "--name",
    "names",
    multiple=True,
    metavar="HOST",
    help="Also answer to this host name, as a proxy's (repeatable).",
)
@click.option("--root-path", default="", metavar="PATH", help="What a proxy puts before each path, such as /joinback.")
def dashboard(host: str, port: int, names: tuple[str, ...], root_path: str) -> None:
    """Serve the dashboard until Ctrl-C. It only reads. Without --host, only this machine can reach it.

    If JOINBACK_DASHBOARD_PASSWORD is set, the pages ask for it. Without it, --host must be an address of this machine
    alone.
    """
    settings = settings_from()
    configure_logging(logging.WARNING, as_json=settings.log_format == "json")
    try:
        from joinback_worker.dashboard.app import app
        from joinback_worker.dashboard.desk import Desk
        from joinback_worker.dashboard.server import listen, server_of, url_of
    except ModuleNotFoundError:
        raise ConfigurationError(MISSING) from None
    if root_path and not root_path.startswith("/"):
        raise click.BadParameter("must begin with a /", param_hint="--root-path")
    warn_of_path(settings.sink_url)
    # A wrong file of rules is an error now, not on each page.
    config_of(settings)
    root = root_path.rstrip("/")
    with listen(host, port, settings.dashboard_password) as listening:
        pages = app(Desk(settings=settings), password=settings.dashboard_password, names=(host, *names), root=root)
        click.echo(f"the dashboard of {printable(shown(settings.sink_url), markup=False)}", err=True)
        click.echo(f"{url_of(listening)}{root}/")
        server_of(pages).run(sockets=[listening])
