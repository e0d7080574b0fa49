"""`joinback status`: the books of every application, and the state of Redis."""

import asyncio
import json
import sys

import click
from redis.exceptions import RedisError
from rich.console import Console
from rich.table import Table

from joinback.errors import JoinbackError
from joinback.settings import Settings, settings_from
from joinback_worker.accounting import Accounting
from joinback_worker.connect import connect
from joinback_worker.health import Health
from joinback_worker.layouts import layouts
from joinback_worker.redis_errors import advice
from joinback_worker.source import Source

from .show import printable

Books = dict[str, Accounting]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def status(as_json: bool) -> None:
    """Where every event went: received = in rows + pending + dead + duplicates, for each application.

    Exit code 1 if a difference is not 0, or Redis is in a state that may lose events.
    """
    try:
        books, conditions = asyncio.run(_look(settings_from()))
    except (RedisError, OSError) as error:
        raise JoinbackError(advice(error)) from None
    if as_json:
        click.echo(json.dumps({"applications": {a: _as_json(b) for a, b in books.items()}, "conditions": conditions}))
    else:
        _show(Console(), books, conditions)
    if conditions or any(accounting.difference for accounting in books.values()):
        sys.exit(1)


async def _look(settings: Settings) -> tuple[Books, dict[str, str]]:
    redis = connect(settings)
    try:
        books: Books = {}
        for application, layout in sorted((await layouts(redis)).items()):
            total = Accounting()
            for tag in layout.tags(application):
                total += await Source(redis, tag).accounting()
            books[application] = total
        return books, await Health().look(redis)
    finally:
        await redis.aclose()


def _as_json(books: Accounting) -> dict[str, object]:
    return {**books.summary(), "dead_by_reason": books.dead_by_reason, "oldest_pending_s": books.oldest_pending_s}


def _show(console: Console, books: Books, conditions: dict[str, str]) -> None:
    table = Table()
    columns = ("received", "in rows", "pending", "dead", "duplicates", "unemitted", "difference")
    table.add_column("application")
    for column in (*columns, "oldest pending", "dead by reason"):
        table.add_column(column, justify="right")
    for application, accounting in books.items():
        counts = [str(getattr(accounting, column.replace(" ", "_"))) for column in columns]
        reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(accounting.dead_by_reason.items()))
        age = f"{accounting.oldest_pending_s:.0f} s" if accounting.pending else ""
        table.add_row(printable(application), *counts, age, printable(reasons))
    console.print(table)
    for name, meaning in conditions.items():
        console.print(f"{name}: {printable(meaning)}", highlight=False, soft_wrap=True)
