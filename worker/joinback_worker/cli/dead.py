"""`joinback dead list|show|replay|drop`: the dead letters of one application."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import click
from redis.asyncio import Redis
from redis.exceptions import RedisError

from joinback.errors import JoinbackError
from joinback.settings import settings_from
from joinback_worker.connect import connect
from joinback_worker.dead import Letter, drop, letters, replay
from joinback_worker.layouts import Layout, layouts
from joinback_worker.redis_errors import advice

from .show import printable

T = TypeVar("T")

_REASON = click.option("--reason", help="Only those with this reason.")
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
        async for letter in letters(redis, tag):
            if letter.id == letter_id:
                for name, value in _as_json(letter).items():
                    click.echo(printable(f"{name}  {value}", markup=False))
                return True
        return False

    if not any(_on_each_tag(application, run)):
        raise JoinbackError(f"no dead letter {letter_id}; see joinback dead list {application}")


@dead.command("replay")
@click.argument("application")
@click.argument("letter_ids", nargs=-1)
@_REASON
@_ALL
def replay_letters(application: str, letter_ids: tuple[str, ...], reason: str | None, everything: bool) -> None:
    """Send the events of dead letters of APPLICATION again, as if they came now; the next drain joins them."""
    _check_choice(letter_ids, reason, everything)
    buffer_ttl_s = settings_from().buffer_ttl_s

    async def run(redis: Redis, tag: str) -> tuple[int, int]:
        sent = kept = 0
        for letter in await _chosen(redis, tag, letter_ids, reason):
            done = await replay(redis, tag, letter, buffer_ttl_s)
            sent, kept = sent + done, kept + (not done)
        return sent, kept

    counts = _on_each_tag(application, run)
    sent, kept = sum(sent for sent, _ in counts), sum(kept for _, kept in counts)
    click.echo(f"replayed {sent}" + (f", kept {kept} of which no bytes are left" if kept else ""))


@dead.command("drop")
@click.argument("application")
@click.argument("letter_ids", nargs=-1)
@_REASON
@_ALL
def drop_letters(application: str, letter_ids: tuple[str, ...], reason: str | None, everything: bool) -> None:
    """Delete dead letters of APPLICATION. They stay counted."""
    _check_choice(letter_ids, reason, everything)

    async def run(redis: Redis, tag: str) -> int:
        chosen = await _chosen(redis, tag, letter_ids, reason)
        await drop(redis, tag, chosen)
        return len(chosen)

    click.echo(f"dropped {sum(_on_each_tag(application, run))}")


def _check_choice(letter_ids: tuple[str, ...], reason: str | None, everything: bool) -> None:
    if sum((bool(letter_ids), reason is not None, everything)) != 1:
        raise JoinbackError("name the letters: ids, or --reason, or --all")


async def _chosen(redis: Redis, tag: str, letter_ids: tuple[str, ...], reason: str | None) -> list[Letter]:
    found = letters(redis, tag, reason=reason)
    return [letter async for letter in found if not letter_ids or letter.id in letter_ids]


def _on_each_tag(application: str, work: Callable[[Redis, str], Awaitable[T]]) -> list[T]:
    """Run it on each tag of an application. Raises JoinbackError, with the fix, for trouble with Redis."""

    async def run() -> list[T]:
        redis = connect(settings_from())
        try:
            layout = (await layouts(redis)).get(application, Layout())
            return [await work(redis, tag) for tag in layout.tags(application)]
        finally:
            await redis.aclose()

    try:
        return asyncio.run(run())
    except (RedisError, OSError) as error:
        raise JoinbackError(advice(error)) from None


def _as_json(letter: Letter) -> dict[str, Any]:
    return letter._asdict() | {
        "at": letter.at.isoformat(),
        "payload": letter.payload.decode(errors="backslashreplace"),
    }
