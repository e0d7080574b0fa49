"""`joinback sink`: the sink's own upkeep, for who runs its database: what to create, what to grant, what to compact."""

from collections.abc import Callable
from typing import cast

import click

from joinback.settings import Settings, settings_from
from joinback_worker.sinks import module_of

_URL = click.argument("url", required=False)


@click.group()
def sink() -> None:
    """Print the sink's schema and grants, or compact it. URL is JOINBACK_SINK_URL if not given."""


@sink.command()
@_URL
def schema(url: str | None) -> None:
    """Print the SQL that makes the sink, its view, and the least rights the worker needs.

    The worker creates and migrates by itself where it may; this is for a database where it may not. For a lake
    it is the view that reads it, with the settings of the environment written into it.
    """
    settings = settings_from()
    url = url or settings.sink_url
    click.echo(cast(Callable[[str, Settings], str], module_of(url).schema)(url, settings))


@sink.command()
@_URL
def compact(url: str | None) -> None:
    """Merge small files into large ones, and drop what stands there twice: nightly, for a lake or a directory."""
    url = url or settings_from().sink_url
    module = module_of(url)
    if hasattr(module, "compact"):
        click.echo(cast(Callable[[str], str], module.compact)(url))
    else:
        click.echo("nothing to compact: this sink merges as it writes, or by itself")
