"""`joinback dead replay|drop`: send the events of dead letters again, or delete the letters."""

import sys
from collections import Counter
from collections.abc import AsyncIterator

import click
from redis.asyncio import Redis

from joinback.config_file import read
from joinback.errors import ConfigurationError, JoinbackError
from joinback.settings import Settings, settings_from
from joinback_worker.by_hand.dead_letters import Letter, drop, letter_of, letters, replay
from joinback_worker.config.rules_file import config_of
from joinback_worker.operating.letters import Group, check_reason, dead_groups

from .dead_tags import check_ids, on_each_tag, on_tags
from .show import printable

_REASON = click.option("--reason", help="Only letters with this reason.")
_KEPT = ""
"""Stands for the reason of a letter whose bytes are gone, so that it cannot be sent."""
_YES = click.option("--yes", is_flag=True, help="Do not ask.")
_ALL = click.option("--all", "everything", is_flag=True, help="All letters of the application.")


@click.command("replay", short_help="Send the events of dead letters again.")
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

    counts = sum(on_each_tag(application, run), Counter[str]())
    kept = counts.pop(_KEPT, 0)
    click.echo(f"replayed {counts.total()}" + (f", kept {kept} whose bytes are gone" if kept else ""))
    for name in sorted(counts):
        if warning := _will_fail_again(name, settings, application):
            click.echo(f"joinback: {warning}", err=True)


@click.command("drop", short_help="Delete dead letters; they stay counted.")
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

    click.echo(f"dropped {sum(on_each_tag(application, run))}")


def _ask(what: str, application: str, reason: str | None, limit: int | None = None) -> None:
    """Show the counts by reason and ask whether to go on. Without a terminal there is nobody to ask."""
    if not sys.stdin.isatty():
        return

    async def run(redis: Redis, tags: list[str]) -> list[Group]:
        return await dead_groups(redis, application, tags, reason=reason, newest_max=0)

    groups = [group for group in on_tags(application, run) if group.now]
    if not groups:
        return
    for group in groups:
        advice = f"  {group.advice}" if group.advice else ""
        click.echo(printable(f"{group.now:,} {group.reason}{advice}", markup=False))
    number = min(limit or sys.maxsize, sum(group.now for group in groups))
    click.confirm(f"{what} {number:,} dead letters of {printable(application, markup=False)}?", abort=True)


def _check_choice(application: str, letter_ids: tuple[str, ...], reason: str | None, everything: bool) -> None:
    """Raise JoinbackError if not exactly one choice is made, for an id that no letter has, and for a reason that none
    ever had.
    """
    if sum((bool(letter_ids), reason is not None, everything)) != 1:
        raise JoinbackError("choose the letters by their ids, by --reason, or by --all")
    if letter_ids:
        check_ids(application, letter_ids)
    if reason is None:
        return

    async def run(redis: Redis, tags: list[str]) -> None:
        await check_reason(redis, application, tags, reason)

    on_tags(application, run)


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
