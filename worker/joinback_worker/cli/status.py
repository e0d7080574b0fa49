"""`joinback status`: the books of every application, and the state of Redis."""

import json
import sys
from functools import partial
from typing import NamedTuple

import click
import msgspec
from redis.asyncio import Redis
from redis.exceptions import ResponseError
from rich.console import Console
from rich.table import Table

from joinback import wire
from joinback.errors import ConfigurationError
from joinback.settings import Settings, settings_from
from joinback_worker.accounting import Accounting
from joinback_worker.config import config_of
from joinback_worker.fields_seen import Field, fields_of
from joinback_worker.guard import published
from joinback_worker.health import Health
from joinback_worker.heartbeat import redis_time
from joinback_worker.layouts import layouts
from joinback_worker.misspelt import misspelt
from joinback_worker.redis_errors import advice
from joinback_worker.rules_in_use import rules_in_use, told
from joinback_worker.source import Source

from .show import printable
from .with_redis import with_redis

Books = dict[str, Accounting]


class Found(NamedTuple):
    """What Redis tells, each by application."""

    misspelt: list[str]
    """Of the rules' file, names that are most likely typos."""
    books: Books
    conditions: dict[str, str]
    sinks: dict[str, str]
    """`*` for all others."""
    rules: dict[str, tuple[str, bool]]
    """Those whose rows were folded by several sets of rules: a line, and whether it is amiss."""
    fields: dict[str, dict[str, Field]]


@click.command(short_help="Show where every event went, by application.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def status(as_json: bool) -> None:
    """Where every event went: received = in rows + pending + dead + duplicates, for each application.

    Exit code 1 if a difference is not 0, the books hold what is no count, or Redis is in a state that may lose events.
    """
    settings = settings_from()
    found = with_redis(settings, partial(_look, settings))
    if as_json:
        click.echo(json.dumps(_as_json(found)))
    else:
        _show(Console(), found.books, found.conditions)
        for line in [*_rules_lines(found), *_sink_lines(found.sinks)]:
            click.echo(printable(line, markup=False))
    if found.conditions or any(books.difference or books.troubles for books in found.books.values()):
        sys.exit(1)
    if any(is_amiss for _, is_amiss in found.rules.values()):
        sys.exit(1)


async def _look(settings: Settings, redis: Redis) -> Found:
    books: Books = {}
    fields: dict[str, dict[str, Field]] = {}
    now = await redis_time(redis)
    for application, layout in sorted((await layouts(redis)).items()):
        total = Accounting()
        for tag in layout.tags(application):
            total += await Source(redis, tag).accounting()
        books[application] = total
        fields[application] = await fields_of(redis, layout.tags(application))
    conditions = await Health().look(redis)
    try:
        sinks = {name: entry.url for name, entry in sorted((await published(redis)).items())}
    except ResponseError as error:
        sinks, conditions["sink_unguarded"] = {}, f"which sink is in use is not known: {advice(error)}"
    rules: dict[str, tuple[str, bool] | None] = {}
    try:
        for application, uses in (await rules_in_use(redis)).items():
            rules[application] = told(application, uses, now, settings.interval_s)
    except ResponseError as error:
        conditions["rules_unknown"] = f"by which rules rows are folded is not known: {advice(error)}"
    names: list[str] = []
    try:
        names += misspelt(config_of(settings).applications, fields)
    except ConfigurationError as error:
        conditions["rules_wrong"] = str(error)
    told_of = {name: line for name, line in rules.items() if line is not None}
    return Found(names, books, conditions, sinks, told_of, fields)


def _rules_lines(found: Found) -> list[str]:
    broken = [
        f"{application}: {field.broken} values of {name!r} are not what is declared of it; they were kept"
        for application, fields in found.fields.items()
        for name, field in fields.items()
        if field.broken
    ]
    return [*(line for line, _ in found.rules.values()), *broken, *found.misspelt]


def _sink_lines(sinks: dict[str, str]) -> list[str]:
    if not sinks:
        return ["sink  none published yet: the first drain does"]
    whose = {name: "" if name == wire.ALL_APPLICATIONS else f"  of {name}" for name in sinks}
    return [f"sink  {url}{whose[name]}" for name, url in sinks.items()]


def _as_json(found: Found) -> dict[str, object]:
    return {
        "applications": {
            application: _books_as_json(books) | {"fields": msgspec.to_builtins(found.fields[application])}
            for application, books in found.books.items()
        },
        "conditions": found.conditions,
        "rules": {application: line for application, (line, _) in found.rules.items()},
        "misspelt": found.misspelt,
        "sinks": found.sinks,
    }


def _books_as_json(books: Accounting) -> dict[str, object]:
    summary = {**books.summary(), "dead_by_reason": books.dead_by_reason, "oldest_pending_s": books.oldest_pending_s}
    return summary | ({"troubles": books.troubles} if books.troubles else {})


def _show(console: Console, books: Books, conditions: dict[str, str]) -> None:
    if not books:
        console.print("no application yet: a client announces its own with its first event; see joinback.ping()")
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
    for trouble in [trouble for accounting in books.values() for trouble in accounting.troubles]:
        console.print(printable(trouble), highlight=False, soft_wrap=True)
    for name, meaning in conditions.items():
        console.print(f"{name}: {printable(meaning)}", highlight=False, soft_wrap=True)
