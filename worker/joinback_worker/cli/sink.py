"""`joinback sink`: the upkeep of the sink: its schema and rights, compacting, copying, and which one is in use."""

import asyncio
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TypeVar, cast

import click
from msgspec import structs
from redis.asyncio import Redis

from joinback import wire
from joinback.errors import JoinbackError
from joinback.settings import Settings, settings_from
from joinback_worker.by_hand.copying import Copied, copy
from joinback_worker.config.rules_file import config_of, policy_of
from joinback_worker.notes.guard import Published, adopt, forget, published, refusal
from joinback_worker.notes.layouts import applications
from joinback_worker.notes.rules_in_use import refolded, rules_in_use, unlike
from joinback_worker.sinks import Refolded, open_sink, shown
from joinback_worker.sinks.place import absolute, path_of
from joinback_worker.sinks.schemes import module_of

from .names import check_known, warn_of_unknown
from .show import printable
from .sink_url import SinkCommand, url_of
from .terminal import terminal
from .views import views
from .with_redis import with_redis

T = TypeVar("T")

_URL = click.argument("url", required=False)


@click.group(short_help="Keep the sink: schema, compact, copy, adopt.")
def sink() -> None:
    """Print the schema of the sink, compact it, copy it, or set which one is in use.

    Without URL it is JOINBACK_SINK_URL. In place of a URL you may give the name of an environment variable that holds
    it, so that the list of processes shows no password.
    """


@sink.command(cls=SinkCommand, short_help="Print the SQL that makes the sink, and the least rights.")
@_URL
def schema(url: str | None) -> None:
    """Print the SQL that makes the sink and its view, and the least rights that the worker needs.

    Where the worker has the rights, it creates and migrates the sink by itself. This is for a database where it has
    not. For a lake it prints the view that reads it, with the settings of this environment.
    """
    settings = settings_from()
    url = url_of(url, settings)
    click.echo(cast(Callable[[str, Settings], str], module_of(url).schema)(absolute(url), settings))


@sink.command(cls=SinkCommand, short_help="Merge small files of a lake into large ones.")
@_URL
def compact(url: str | None) -> None:
    """Merge small files into large ones, and drop duplicates. Run it nightly for a lake or a directory."""
    url = url_of(url, settings_from())
    module = module_of(url)
    if hasattr(module, "compact"):
        click.echo(cast(Callable[[str], str], module.compact)(absolute(url)))
    else:
        click.echo("nothing to compact: this sink merges when it writes, or by itself")


@sink.command("adopt", cls=SinkCommand, short_help="Send rows to this sink from now on.")
@_URL
@click.option(
    "--application", "only", multiple=True, metavar="NAME", help="Only rows of this application (repeatable)."
)
def adopt_sink(url: str | None, only: tuple[str, ...]) -> None:
    """Send rows to this sink from now on. A worker with another sink than the adopted one takes no events.

    The rows of the former sink stay there: see `joinback sink copy` and `joinback requeue`.
    """
    settings = settings_from()
    url = url_of(url, settings)
    _check_names(only, "leave --application out")
    warn_of_unknown(settings, only, "The sink")
    sink = open_sink(url, policy_of(settings, "", datetime.now(UTC)))

    path = path_of(url)
    if path is not None and not path.parent.is_dir():
        click.echo(f"joinback: there is no folder {printable(str(path.parent), markup=False)} on this host", err=True)

    async def run(redis: Redis) -> dict[str, Published]:
        if path is None:
            # Open it as a worker does. If that failed only later, every worker would wait.
            async with sink:
                pass
        return await adopt(redis, url, only)

    before = with_redis(settings, run)
    for name in only or [wire.ALL_APPLICATIONS]:
        whose = "all applications" if name == wire.ALL_APPLICATIONS else name
        was = f" (before: {before[name].url})" if name in before else ""
        click.echo(printable(f"rows of {whose} go to {shown(url)} from now on{was}", markup=False))
    for name, own in sorted(before.items()):
        if not only and name != wire.ALL_APPLICATIONS:
            click.echo(printable(f"{name} keeps its own: {own.url}", markup=False))


@sink.command("release", short_help="Send rows to the sink of all others again.")
@click.argument("applications", nargs=-1, required=True, metavar="APPLICATION...")
def release_sink(applications: tuple[str, ...]) -> None:
    """Undo `joinback sink adopt --application APPLICATION`. From now on its rows go to the sink of all others."""
    _check_names(applications, "it cannot be released; joinback sink adopt sets another sink for them")

    async def run(redis: Redis) -> list[str]:
        own = await published(redis)
        for application in applications:
            await forget(redis, application)
        return [application for application in applications if application in own]

    had = with_redis(settings_from(), run)
    for application in applications:
        done = "has no sink of its own any more" if application in had else "had no sink of its own"
        click.echo(printable(f"{application} {done}", markup=False))


@sink.command("copy", cls=SinkCommand, short_help="Merge all rows of one sink into another.")
@click.argument("from_url", metavar="FROM")
@click.argument("to_url", metavar="TO")
def copy_sink(from_url: str, to_url: str) -> None:
    """Merge all rows of the sink FROM, of every application, into the sink TO. FROM does not change.

    It may be stopped and repeated: rows that TO has already do not change. Exit code 1 if TO refused some rows.
    """
    settings = settings_from()
    from_url, to_url = url_of(from_url, settings, "FROM"), url_of(to_url, settings, "TO")
    copied = asyncio.run(_copy(settings, from_url, to_url))
    click.echo(printable(f"copied {copied.records} records from {shown(from_url)} to {shown(to_url)}", markup=False))
    for refused in copied.refused:
        click.echo(printable(f"not copied: {refused}", markup=False), err=True)
    if copied.refused:
        sys.exit(1)


@sink.command(cls=SinkCommand, short_help="Compute rows again, after rules changed.")
@click.argument("application")
@_URL
@click.option("--dry-run", is_flag=True, help="Show what would change, and write nothing.")
@click.option("--force", is_flag=True, help="Do it even if the workers follow other rules.")
def refold(application: str, url: str | None, dry_run: bool, force: bool) -> None:
    """Compute the rows of APPLICATION again, by the rules that the file of JOINBACK_CONFIG declares now.

    Without this, a row changes only when an event of it comes. In a lake there is nothing to do, because its view
    computes the rows. If the workers follow other rules, it refuses: they would change the rows back one by one.
    """
    settings = settings_from()
    url = url_of(url, settings)
    rules = config_of(settings).rules_of(application)

    async def run(redis: Redis) -> Refolded | None:
        check_known([application], await applications(redis))
        if why := await refusal(redis, structs.replace(settings, sink_url=url), application):
            raise JoinbackError(why)
        other = unlike((await rules_in_use(redis)).get(application, {}), rules.digest)
        if other and not (force or dry_run):
            raise JoinbackError(f"{other}; give both the same file, or use --force")
        # Read-only first: a sink that does not exist is an error, and must not be made.
        policy = policy_of(settings, application, datetime.now(UTC))
        async with open_sink(url, policy, read_only=True) as looked_at:
            if not looked_at.refolds:
                return None
        async with open_sink(url, policy) as opened:
            changed = await opened.refold(application, dry_run=dry_run)
        if not dry_run:
            await refolded(redis, application, rules.digest)
        return changed

    changed = with_redis(settings, run)
    by = f"rules {rules.digest}, {settings.config or 'the defaults: JOINBACK_CONFIG is not set'}"
    if changed is None:
        click.echo(
            printable(f"{shown(url)} computes its rows when it is read; print the view of a lake again", markup=False)
        )
        return
    what = "would change" if dry_run else "changed"
    line = f"refolded {application} in {shown(url)} by {by}: {changed.total()} rows {what}"
    click.echo(printable(line, markup=False))
    for (before, after), count in sorted(changed.items()):
        click.echo(f"  {count} {before}" + ("" if before == after else f" -> {after}"))


def _check_names(applications: Sequence[str], fix: str) -> None:
    """Raise JoinbackError for the name under which the sink of all applications is published."""
    if wire.ALL_APPLICATIONS in applications:
        raise JoinbackError(f"{wire.ALL_APPLICATIONS!r} stands for all applications; {fix}")


async def _copy(settings: Settings, from_url: str, to_url: str) -> Copied:
    copied = Copied()
    with terminal(stderr=True).status("copying …") as line:
        async for copied in copy(settings, from_url, to_url):
            line.update(f"copying … {copied.records} records")
    return copied


sink.add_command(views)
