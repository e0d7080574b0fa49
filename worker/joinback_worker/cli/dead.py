"""`joinback dead list|show|replay|drop`: the dead letters of one application."""

import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import click
from redis.asyncio import Redis

from joinback import wire
from joinback.config_file import read
from joinback.errors import ConfigurationError, JoinbackError
from joinback.settings import Settings, settings_from
from joinback_worker.config import config_of
from joinback_worker.dead import Letter, drop, letter_of, letters, replay
from joinback_worker.layouts import Layout, layouts

from .names import check_known
from .show import printable
from .with_redis import with_redis

T = TypeVar("T")

_REASON = click.option("--reason", help="Only those with this reason.")
_KEPT = ""
"""In place of a reason: nothing was left to send."""
_ALL = click.option("--all", "everything", is_flag=True, help="All of the application's letters.")


@click.group()
def dead() -> None:
    """What could not become a row: list, show, replay or drop it."""


@dead.command("list")
@click.argument("application")
@_REASON
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def list_letters(application: str, reason: str | None, as_json: bool) -> None:
    """List the dead letters of APPLICATION, oldest first."""

    async def run(redis: Redis, tag: str) -> None:
        async for letter in letters(redis, tag, reason=reason):
            if as_json:
                click.echo(json.dumps(_as_json(letter)))
            else:
                parts = (
                    letter.id,
                    letter.at.isoformat(timespec="seconds"),
                    letter.reason,
                    letter.join_key,
                    letter.event,
                )
                click.echo(printable("  ".join((*parts, letter.detail)), markup=False))

    _on_each_tag(application, run)


@dead.command()
@click.argument("application")
@click.argument("letter_id")
def show(application: str, letter_id: str) -> None:
    """Show one dead letter of APPLICATION whole, its bytes included."""

    async def run(redis: Redis, tag: str) -> bool:
        letter = await letter_of(redis, tag, letter_id)
        for name, value in _as_json(letter).items() if letter else ():
            click.echo(printable(f"{name}  {value}", markup=False))
        return letter is not None

    if not any(_on_each_tag(application, run)):
        raise JoinbackError(f"no dead letter {letter_id}; see joinback dead list {application}")


@dead.command("replay", short_help="Send the events of dead letters again.")
@click.argument("application")
@click.argument("letter_ids", nargs=-1)
@_REASON
@_ALL
def replay_letters(application: str, letter_ids: tuple[str, ...], reason: str | None, everything: bool) -> None:
    """Send the events of dead letters of APPLICATION again, as if they came now; the next drain joins them."""
    _check_choice(letter_ids, reason, everything)
    settings = settings_from()

    async def run(redis: Redis, tag: str) -> Counter[str]:
        counts: Counter[str] = Counter()
        # One by one: each may hold a megabyte.
        async for letter in _chosen(redis, tag, letter_ids, reason):
            done = await replay(redis, tag, letter, settings.buffer_ttl_s)
            counts[letter.reason if done else _KEPT] += 1
        return counts

    counts = sum(_on_each_tag(application, run), Counter[str]())
    kept = counts.pop(_KEPT, 0)
    click.echo(f"replayed {counts.total()}" + (f", kept {kept} of which no bytes are left" if kept else ""))
    for name in sorted(counts):
        if warning := _will_fail_again(name, settings, application):
            click.echo(f"joinback: {warning}", err=True)


@dead.command("drop", short_help="Delete dead letters; they stay counted.")
@click.argument("application")
@click.argument("letter_ids", nargs=-1)
@_REASON
@_ALL
@click.option("--yes", is_flag=True, help="Do not ask before all are deleted.")
def drop_letters(
    application: str, letter_ids: tuple[str, ...], reason: str | None, everything: bool, yes: bool
) -> None:
    """Delete dead letters of APPLICATION. They stay counted. At a terminal it asks before it deletes all."""
    _check_choice(letter_ids, reason, everything)
    if everything and not yes and sys.stdin.isatty():
        click.confirm(f"Delete all dead letters of {application}? Their bytes are nowhere else", abort=True)

    async def run(redis: Redis, tag: str) -> int:
        dropped = 0
        async for letter in _chosen(redis, tag, letter_ids, reason):
            await drop(redis, tag, letter)
            dropped += 1
        return dropped

    click.echo(f"dropped {sum(_on_each_tag(application, run))}")


def _check_choice(letter_ids: tuple[str, ...], reason: str | None, everything: bool) -> None:
    if sum((bool(letter_ids), reason is not None, everything)) != 1:
        raise JoinbackError("name the letters: ids, or --reason, or --all")


async def _chosen(redis: Redis, tag: str, letter_ids: tuple[str, ...], reason: str | None) -> AsyncIterator[Letter]:
    """One at a time: all of them may be more than memory holds."""
    if not letter_ids:
        async for letter in letters(redis, tag, reason=reason):
            yield letter
    for letter_id in letter_ids:
        if found := await letter_of(redis, tag, letter_id):
            yield found


def _will_fail_again(reason: str, settings: Settings, application: str) -> str | None:
    if reason == "undecodable":
        return "undecodable: these bytes will fail again, unless a newer worker reads them"
    if reason == "after_window":
        window = _window(settings, application)
        return f"after_window: this feedback is late again, unless the worker's join window is longer now: {window}"
    return None


def _window(settings: Settings, application: str) -> str:
    """Return the join window of the application, and where it is said."""
    said = "JOINBACK_JOIN_WINDOW_S"
    try:
        window_s = config_of(settings).rules_of(application).join_window_s
    except ConfigurationError as error:
        # The letters are replayed by now, and no worker runs with such a file.
        return str(error)
    keys = ["applications", application, "join_window_s"]
    if settings.config is not None and (file := read(settings.config)).line_of(keys):
        said = file.where(keys)
    return f"{said}, here {window_s} ({window_s / 86_400:g} days)"


def _on_each_tag(application: str, work: Callable[[Redis, str], Awaitable[T]]) -> list[T]:
    """Run it on each tag of an application. Raises JoinbackError, with the fix, for trouble with Redis."""

    async def run(redis: Redis) -> list[T]:
        known = await layouts(redis)
        tags = known.get(application, Layout()).tags(application)
        # Letters may outlive what announced their application.
        if not any([await redis.execute_command("EXISTS", wire.dead_key(tag)) for tag in tags]):
            check_known([application], known)
        return [await work(redis, tag) for tag in tags]

    return with_redis(settings_from(), run)


def _as_json(letter: Letter) -> dict[str, Any]:
    return letter._asdict() | {
        "at": letter.at.isoformat(),
        "payload": letter.payload.decode(errors="backslashreplace"),
    }
