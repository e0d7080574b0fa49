"""`joinback dead list|show|replay|drop`: the dead letters of one application."""

import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from shlex import quote
from typing import Any, TypeVar

import click
from redis.asyncio import Redis

from joinback import wire
from joinback.config_file import read
from joinback.errors import ConfigurationError, JoinbackError
from joinback.settings import Settings, settings_from
from joinback_worker.by_hand.dead_letters import Letter, drop, letter_of, letters, replay
from joinback_worker.config.rules_file import config_of
from joinback_worker.notes.layouts import Layout, layouts
from joinback_worker.operating.letters import NEWEST_MAX, Group, check_letters, check_reason, dead_groups, named
from joinback_worker.operating.spans import span

from .names import check_known
from .show import printable
from .with_redis import with_redis

T = TypeVar("T")

_REASON = click.option("--reason", help="Only letters with this reason.")
_KEPT = ""
"""Stands for the reason of a letter whose bytes are gone, so that it cannot be sent."""
_YES = click.option("--yes", is_flag=True, help="Do not ask.")
_ALL = click.option("--all", "everything", is_flag=True, help="All letters of the application.")


@click.group(short_help="List, show, replay or drop dead letters.")
def dead() -> None:
    """List, show, replay or drop the events that could not become a part of a row."""


@dead.command("list", short_help="List the dead letters by reason.")
@click.argument("application")
@_REASON
@click.option(
    "--limit", type=click.IntRange(0), default=NEWEST_MAX, show_default=True, help="Letters to show per reason; 0: all."
)
@click.option("--json", "as_json", is_flag=True, help="Print each letter as one JSON object, one per line.")
def list_letters(application: str, reason: str | None, limit: int, as_json: bool) -> None:
    """List the dead letters of APPLICATION by reason, the newest reason first. For each reason it shows how many there
    are and were, until when they can be replayed, whether a replay would help, and the newest letters. Their bytes:
    joinback dead show.
    """
    if as_json:
        _on_each_tag(application, partial(_print_json, application, reason))
        return

    async def run(redis: Redis, tags: list[str]) -> list[Group]:
        found = await dead_groups(redis, application, tags, reason=reason, newest_max=limit or None)
        if not found and reason is not None:
            await check_reason(redis, application, tags, reason)
        return found

    groups = _on_tags(application, run)
    for group in groups:
        for line in _group_lines(group):
            click.echo(printable(line, markup=False))
    if not groups:
        of_reason = "" if reason is None else f" with the reason {reason}"
        click.echo(printable(f"no dead letters of {application}{of_reason}, and there never were", markup=False))


async def _print_json(application: str, reason: str | None, redis: Redis, tag: str) -> None:
    async for letter in letters(redis, tag, reason=reason):
        click.echo(json.dumps(_as_json(application, letter)))


def _group_lines(group: Group) -> Iterator[str]:
    expire = f", expire in {span(group.expire_in_s)}" if group.now and group.expire_in_s else ""
    yield f"{group.reason}  {group.now:,} now, {group.ever:,} ever, {group.replayable:,} can be replayed{expire}"
    if group.advice:
        yield f"  {group.advice}"
    for letter in group.newest:
        parts = (letter.id, letter.at.isoformat(timespec="seconds"), letter.join_key, letter.event, letter.detail)
        yield "  " + "  ".join(parts)
    if len(group.newest) < group.now:
        yield f"  and {group.now - len(group.newest):,} older ones: --limit 0"


@dead.command()
@click.argument("application")
@click.argument("letter_id")
def show(application: str, letter_id: str) -> None:
    """Show one dead letter of APPLICATION, with its bytes."""

    async def run(redis: Redis, tag: str) -> bool:
        letter = await letter_of(redis, tag, letter_id)
        for name, value in _as_json(application, letter).items() if letter else ():
            click.echo(printable(f"{name}  {value}", markup=False))
        return letter is not None

    if not any(_on_each_tag(application, run)):
        raise JoinbackError(f"no dead letter {letter_id}; see joinback dead list {quote(application)}")


@dead.command("replay", short_help="Send the events of dead letters again.")
@click.argument("application")
@click.argument("letter_ids", nargs=-1)
@_REASON
@_ALL
@click.option("--limit", type=click.IntRange(1), help="Replay at most this many, the oldest first.")
@_YES
def replay_letters(
    application: str, letter_ids: tuple[str, ...], reason: str | None, everything: bool, limit: int | None, yes: bool
) -> None:
    """Send the events of dead letters of APPLICATION again, as if they came now. The next drain joins them.

    Choose the letters by their ids, by --reason or by --all. At a terminal it counts them and asks first. It warns of
    reasons for which a replay would fail again.
    """
    _check_choice(application, letter_ids, reason, everything)
    settings = settings_from()
    if not letter_ids and not yes:
        _ask("Send again", application, reason, limit)
    left = iter(range(limit)) if limit else iter(int, 1)

    async def run(redis: Redis, tag: str) -> Counter[str]:
        counts: Counter[str] = Counter()
        # One at a time: each letter may hold a megabyte.
        async for letter in _chosen(redis, tag, letter_ids, reason):
            if next(left, None) is None:
                break
            done = await replay(redis, tag, letter, settings.buffer_ttl_s)
            counts[letter.reason if done else _KEPT] += 1
        return counts

    counts = sum(_on_each_tag(application, run), Counter[str]())
    kept = counts.pop(_KEPT, 0)
    click.echo(f"replayed {counts.total()}" + (f", kept {kept} whose bytes are gone" if kept else ""))
    for name in sorted(counts):
        if warning := _will_fail_again(name, settings, application):
            click.echo(f"joinback: {warning}", err=True)


@dead.command("drop", short_help="Delete dead letters; they stay counted.")
@click.argument("application")
@click.argument("letter_ids", nargs=-1)
@_REASON
@_ALL
@_YES
def drop_letters(
    application: str, letter_ids: tuple[str, ...], reason: str | None, everything: bool, yes: bool
) -> None:
    """Delete dead letters of APPLICATION. They stay counted. At a terminal it counts them and asks first."""
    _check_choice(application, letter_ids, reason, everything)
    if not letter_ids and not yes:
        _ask("Delete, with their bytes,", application, reason)

    async def run(redis: Redis, tag: str) -> int:
        dropped = 0
        async for letter in _chosen(redis, tag, letter_ids, reason):
            await drop(redis, tag, letter)
            dropped += 1
        return dropped

    click.echo(f"dropped {sum(_on_each_tag(application, run))}")


def _ask(what: str, application: str, reason: str | None, limit: int | None = None) -> None:
    """Show the counts by reason and ask whether to go on. Without a terminal there is nobody to ask."""
    if not sys.stdin.isatty():
        return

    async def run(redis: Redis, tags: list[str]) -> list[Group]:
        return await dead_groups(redis, application, tags, reason=reason, newest_max=0)

    groups = [group for group in _on_tags(application, run) if group.now]
    if not groups:
        return
    for group in groups:
        advice = f"  {group.advice}" if group.advice else ""
        click.echo(printable(f"{group.now:,} {group.reason}{advice}", markup=False))
    number = min(limit or sys.maxsize, sum(group.now for group in groups))
    click.confirm(f"{what} {number:,} dead letters of {printable(application, markup=False)}?", abort=True)


def _check_choice(application: str, letter_ids: tuple[str, ...], reason: str | None, everything: bool) -> None:
    """Raise JoinbackError if not exactly one choice is made, or for a reason that no letter ever had."""
    if sum((bool(letter_ids), reason is not None, everything)) != 1:
        raise JoinbackError("choose the letters by their ids, by --reason, or by --all")
    if reason is None:
        return

    async def run(redis: Redis, tags: list[str]) -> None:
        await check_reason(redis, application, tags, reason)

    _on_tags(application, run)


async def _chosen(redis: Redis, tag: str, letter_ids: tuple[str, ...], reason: str | None) -> AsyncIterator[Letter]:
    """Yield the letters one at a time: together they may not fit into memory."""
    if not letter_ids:
        async for letter in letters(redis, tag, reason=reason):
            yield letter
    for letter_id in letter_ids:
        if found := await letter_of(redis, tag, letter_id):
            yield found


def _will_fail_again(reason: str, settings: Settings, application: str) -> str | None:
    if reason == "undecodable":
        return "undecodable: these bytes will fail again, unless a newer worker can read them"
    if reason == "after_window":
        window = _window(settings, application)
        return (
            f"after_window: this feedback is late again, unless the join window of the worker is longer now: {window}"
        )
    return None


def _window(settings: Settings, application: str) -> str:
    """Return the join window of the application, and the setting that sets it."""
    where = "JOINBACK_JOIN_WINDOW_S"
    try:
        window_s = config_of(settings).rules_of(application).join_window_s
    except ConfigurationError as error:
        # The letters are replayed already, and no worker starts with such a file.
        return str(error)
    keys = ["applications", application, "join_window_s"]
    if settings.config is not None and (file := read(settings.config)).line_of(keys):
        where = file.where(keys)
    return f"{where}, here {window_s} ({window_s / 86_400:g} days)"


def _on_each_tag(application: str, work: Callable[[Redis, str], Awaitable[T]]) -> list[T]:
    """Return what `work` returns for each tag of an application. Raises as `with_redis` does."""

    async def run(redis: Redis, tags: list[str]) -> list[T]:
        return [await work(redis, tag) for tag in tags]

    return _on_tags(application, run)


def _on_tags(application: str, work: Callable[[Redis, list[str]], Awaitable[T]]) -> T:
    """Return what `work` returns for the tags of an application. Raises as `with_redis` does."""

    async def run(redis: Redis) -> T:
        known = await layouts(redis)
        tags = known.get(application, Layout()).tags(application)
        # Dead letters may outlive the announcement of their application.
        if not any([await redis.execute_command("EXISTS", wire.dead_key(tag)) for tag in tags]):
            check_known([application], known)
        await check_letters(redis, settings, tags)
        return await work(redis, tags)

    settings = settings_from()
    return with_redis(settings, run)


def _as_json(application: str, letter: Letter) -> dict[str, Any]:
    return letter._asdict() | {
        "at": letter.at.isoformat(),
        "detail": named(letter.detail, application),
        "payload": letter.payload.decode(errors="backslashreplace"),
    }
