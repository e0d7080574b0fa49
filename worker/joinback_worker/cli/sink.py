"""`joinback sink`: the sink's own upkeep: what to create and grant, to compact, to copy, and which one is in use."""

import asyncio
import sys
from collections.abc import Callable
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
from .sink_url import url_of
from .terminal import terminal
from .views import views
from .with_redis import with_redis

T = TypeVar("T")

_URL = click.argument("url", required=False)


@click.group()
def sink() -> None:
    """Print the sink's schema, compact it, copy it, name it.

    URL is JOINBACK_SINK_URL if not given. Instead of a URL the name of an environment variable that holds it may
    be given, so that no password stands in the list of processes.
    """


@sink.command(short_help="Print the SQL that makes the sink, and the least rights.")
@_URL
def schema(url: str | None) -> None:
    """Print the SQL that makes the sink, its view, and the least rights the worker needs.

    The worker creates and migrates by itself where it may; this is for a database where it may not. For a lake
    it is the view that reads it, with the settings of the environment written into it.
    """
    settings = settings_from()
    url = url_of(url, settings)
    click.echo(cast(Callable[[str, Settings], str], module_of(url).schema)(absolute(url), settings))


@sink.command(short_help="Merge small files of a lake into large ones.")
@_URL
def compact(url: str | None) -> None:
    """Merge small files into large ones, and drop what stands there twice: nightly, for a lake or a directory."""
    url = url_of(url, settings_from())
    module = module_of(url)
    if hasattr(module, "compact"):
        click.echo(cast(Callable[[str], str], module.compact)(absolute(url)))
    else:
        click.echo("nothing to compact: this sink merges as it writes, or by itself")


@sink.command("adopt", short_help="Say that rows go to this sink from now on.")
@_URL
@click.option("--application", "only", multiple=True, metavar="NAME", help="Of this application alone (repeatable).")
def adopt_sink(url: str | None, only: tuple[str, ...]) -> None:
    """Say that rows go to this sink from now on. A worker with another one takes nothing until then.

    What the former sink holds stays there: see `joinback sink copy`, and `joinback requeue`.
    """
    settings = settings_from()
    url = url_of(url, settings)
    if wire.ALL_APPLICATIONS in only:
        raise JoinbackError(f"{wire.ALL_APPLICATIONS!r} stands for all applications; leave --application out")
    warn_of_unknown(settings, only)
    sink = open_sink(url, policy_of(settings, "", datetime.now(UTC)))

    path = path_of(url)
    if path is not None and not path.parent.is_dir():
        click.echo(f"joinback: there is no folder {printable(str(path.parent), markup=False)} on this host", err=True)

    async def run(redis: Redis) -> dict[str, Published]:
        if path is None:
            # As a worker would: a server that cannot be opened would only keep every worker waiting.
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


@sink.command("release", short_help="Take back that an application has a sink of its own.")
@click.argument("applications", nargs=-1, required=True, metavar="APPLICATION...")
def release_sink(applications: tuple[str, ...]) -> None:
    """Take back that APPLICATION has a sink of its own: its rows go where those of all others go, from now on."""

    async def run(redis: Redis) -> list[str]:
        own = await published(redis)
        for application in applications:
            await forget(redis, application)
        return [application for application in applications if application in own]

    had = with_redis(settings_from(), run)
    for application in applications:
        done = "has no sink of its own any more" if application in had else "had none of its own"
        click.echo(printable(f"{application} {done}", markup=False))


@sink.command("copy", short_help="Merge all rows of one sink into another.")
@click.argument("from_url", metavar="FROM")
@click.argument("to_url", metavar="TO")
def copy_sink(from_url: str, to_url: str) -> None:
    """Merge all rows of the sink FROM into the sink TO, of every application. FROM stays as it is.

    It may be stopped and repeated: what is there already does not change. Exit code 1 if TO refused some rows.
    """
    settings = settings_from()
    from_url, to_url = url_of(from_url, settings), url_of(to_url, settings)
    copied = asyncio.run(_copy(settings, from_url, to_url))
    click.echo(printable(f"copied {copied.records} records from {shown(from_url)} to {shown(to_url)}", markup=False))
    for refused in copied.refused:
        click.echo(printable(f"not copied: {refused}", markup=False), err=True)
    if copied.refused:
        sys.exit(1)


@sink.command(short_help="Project an application's rows anew, after its rules changed.")
@click.argument("application")
@_URL
@click.option("--dry-run", is_flag=True, help="Say what would change, and write nothing.")
@click.option("--force", is_flag=True, help="Also by other rules than the workers'.")
def refold(application: str, url: str | None, dry_run: bool, force: bool) -> None:
    """Project the rows of APPLICATION anew, by the rules that the file of JOINBACK_CONFIG declares now.

    A row is else projected when an event of it comes. Where a view folds there is nothing to do. By other rules than
    the workers' it is refused: they would undo it row by row.
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
            raise JoinbackError(f"{other}; give both the same file, or say --force")
        # One that is not there is told, not made.
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
    by = f"rules {rules.digest}, {settings.config or 'which are none: JOINBACK_CONFIG is not set'}"
    if changed is None:
        click.echo(printable(f"{shown(url)} is folded as it is read; of a lake print its view again", markup=False))
        return
    what = "would change" if dry_run else "changed"
    line = f"refolded {application} in {shown(url)} by {by}: {changed.total()} rows {what}"
    click.echo(printable(line, markup=False))
    for (before, after), count in sorted(changed.items()):
        click.echo(f"  {count} {before}" + ("" if before == after else f" -> {after}"))


async def _copy(settings: Settings, from_url: str, to_url: str) -> Copied:
    copied = Copied()
    with terminal(stderr=True).status("copying …") as line:
        async for copied in copy(settings, from_url, to_url):
            line.update(f"copying … {copied.records} records")
    return copied


sink.add_command(views)
