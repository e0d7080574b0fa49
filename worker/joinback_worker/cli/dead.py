"""`joinback dead list|show|replay|drop`: the dead letters of one application."""

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import click
from redis.asyncio import Redis

from joinback_worker.by_hand.dead_letters import Letter, letter_of, letters
from joinback_worker.operating.letters import NEWEST_MAX, Group, check_reason, dead_groups, named
from joinback_worker.operating.spans import span

from .dead_replay import drop_letters, replay_letters
from .dead_tags import no_letters, on_each_tag, on_tags
from .show import printable


@click.group(short_help="List, show, replay or drop dead letters.")
def dead() -> None:
    """List, show, replay or drop the events that could not become a part of a row."""


@dead.command("list", short_help="List the dead letters by reason.")
@click.argument("application")
@click.option("--reason", help="Only letters with this reason.")
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
        on_each_tag(application, partial(_print_json, application, reason))
        return

    async def run(redis: Redis, tags: list[str]) -> list[Group]:
        found = await dead_groups(redis, application, tags, reason=reason, newest_max=limit or None)
        if not found and reason is not None:
            await check_reason(redis, application, tags, reason)
        return found

    groups = on_tags(application, run)
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

    if not any(on_each_tag(application, run)):
        raise no_letters(application, [letter_id])


def _as_json(application: str, letter: Letter) -> dict[str, Any]:
    return letter._asdict() | {
        "at": letter.at.isoformat(),
        "detail": named(letter.detail, application),
        "payload": letter.payload.decode(errors="backslashreplace"),
    }


dead.add_command(replay_letters)
dead.add_command(drop_letters)
