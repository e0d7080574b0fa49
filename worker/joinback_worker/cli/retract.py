"""`joinback retract APP`: take feedback events back, or undo such a retraction."""

import json
import sys
from datetime import UTC, datetime
from typing import Any, NamedTuple

import click
from msgspec import structs
from redis.asyncio import Redis

from joinback import wire
from joinback.command_line import command_line
from joinback.errors import JoinbackError
from joinback.settings import Settings, settings_from
from joinback_worker.by_hand.delivering import check_sample
from joinback_worker.by_hand.event_filter import KINDS, Filter, condition
from joinback_worker.by_hand.retracting import Plan, plan_of, undo_of, write
from joinback_worker.config.rules_file import policy_of
from joinback_worker.drain.source import Source
from joinback_worker.law.times import typed
from joinback_worker.notes.guard import refusal
from joinback_worker.notes.layouts import applications, layouts
from joinback_worker.notes.rules_in_use import rules_in_use, unlike
from joinback_worker.sinks import open_sink, shown

from .names import check_known
from .show import printable, warn_of_path
from .with_redis import with_redis


class Looked(NamedTuple):
    plan: Plan
    pending: int
    """Events that are not in the sink yet."""
    unlike_ours: list[str]
    """The sentence that the workers follow other rules than these settings, if so."""


@click.command(short_help="Take feedback events back, or undo that.")
@click.argument("application")
@click.option(
    "--field", "fields", multiple=True, metavar="FIELD", help="Take back only this field of the events (repeatable)."
)
@click.option("--where", "where", multiple=True, metavar="COND", help=f"Events with {KINDS} (repeatable).")
@click.option("--between", nargs=2, metavar="A B", help="Events whose time is A or later, and before B.")
@click.option("--source", help="Events of this source.")
@click.option("--event-id", "event_ids", multiple=True, metavar="ID", help="This event (repeatable).")
@click.option("--key", "keys", multiple=True, metavar="JOIN_KEY", help="Events of this join key (repeatable).")
@click.option("--undo", metavar="RECEIPT", help="Undo the retraction with this receipt.")
@click.option("--dry-run", is_flag=True, help="Show what would change, and write nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def retract(
    application: str,
    fields: tuple[str, ...],
    where: tuple[str, ...],
    between: tuple[str, str] | None,
    source: str | None,
    event_ids: tuple[str, ...],
    keys: tuple[str, ...],
    undo: str | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Take back the feedback events of APPLICATION in the sink that meet all conditions given.

    The conditions are about the feedback event itself, not about its prediction. Times without a zone are UTC. Other
    feedback stays, and so does the history of the row. Rows change at the next drain. It prints a receipt, and --undo
    RECEIPT undoes the retraction. An undo has a receipt, too. Exit code 1 if there is nothing to take back.
    """
    begin, end = map(typed, between) if between else (None, None)
    undo = undo and undo.removeprefix("retraction:")
    wanted = Filter(
        fields=fields,
        where=tuple(map(condition, where)),
        begin=begin,
        end=end,
        source=source,
        event_ids=tuple(event_id.removeprefix("feedback:") for event_id in event_ids),
        join_keys=keys,
    )
    _check(wanted, undo)
    settings = settings_from()
    open_sink(settings.sink_url)  # a wrong URL must be the first error
    warn_of_path(settings.sink_url)

    async def look(redis: Redis) -> Looked:
        return await _look(redis, settings, application, wanted, undo)

    plan, pending, unlike_ours = with_redis(settings, look)
    if not as_json:
        for line in [*_lines(settings, plan, pending), *unlike_ours]:
            click.echo(printable(line, markup=False))
    written = 0
    if plan.events and not dry_run:
        _confirm(plan, yes)
        written = write(settings, application, plan)
    if as_json:
        click.echo(json.dumps(_as_json(settings, application, plan, pending, written, dry_run)))
    elif written:
        click.echo(f"receipt {plan.receipt}: {written} retractions written")
        click.echo("the rows change at the next drain; joinback drain runs one now")
        undoing = command_line("retract", application, options=["--undo", plan.receipt])
        click.echo(printable(f"to undo it: {undoing}", markup=False))
    if not plan.events:
        sys.exit(1)


def _check(wanted: Filter, undo: str | None) -> None:
    if undo is not None:
        if wanted != Filter():
            raise JoinbackError("--undo undoes a whole receipt: leave the other conditions out")
    elif wanted.is_empty:
        raise JoinbackError(
            "this would take back all feedback there is; choose the events by --where, --between, --source, --event-id"
            " or --key"
        )
    elif wanted.begin is not None and wanted.end is not None and wanted.begin >= wanted.end:
        raise JoinbackError("--between A B selects times from A on and before B: A must be before B")


async def _look(redis: Redis, settings: Settings, application: str, wanted: Filter, undo: str | None) -> Looked:
    known = await applications(redis)
    check_known([application], known)
    if why := await refusal(redis, settings, application):
        raise JoinbackError(why)
    pending = 0
    for tag in (await layouts(redis))[application].tags(application):
        pending += (await Source(redis, tag).accounting()).pending
    policy = policy_of(settings, application, datetime.now(UTC))
    async with open_sink(settings.sink_url, policy, read_only=True) as sink:
        if undo is None:
            plan = await plan_of(sink, policy, application, wanted)
        else:
            plan = await undo_of(sink, policy, application, undo)
    check_sample(application, plan.events, known[application].sample_rate)
    trouble = unlike((await rules_in_use(redis)).get(application, {}), policy.rules.digest)
    return Looked(plan, pending, [trouble] if trouble else [])


def _confirm(plan: Plan, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise JoinbackError("nothing was written: without a terminal it cannot ask; --yes writes without asking")
    what = f"undo {plan.undone}" if plan.undone else f"take back {plan.number} events"
    click.confirm(f"{what} on {len(plan.events)} rows?", abort=True, err=True)


def _lines(settings: Settings, plan: Plan, pending: int) -> list[str]:
    if plan.undone:
        lines = [f"receipt {plan.undone}: {len(plan.events)} retractions to undo, in {shown(settings.sink_url)}"]
        lines += [f"{plan.already} are undone already"] if plan.already else []
    else:
        lines = [f"{plan.number} feedback events of {len(plan.events)} rows, in {shown(settings.sink_url)}"]
        lines += [f"{plan.already} more are taken back already"] if plan.already else []
    if plan.full:
        lines.append(
            f"{len(plan.full)} rows are left out, as they hold {wire.RECORD_EVENTS_MAX:,} events and are full;"
            f" the first is {plan.full[0]}"
        )
    values = ", ".join(f"{name} {count}" for name, count in sorted(plan.values_changed.items())) or "none"
    lines.append(f"{plan.rows_changed} rows change; values that change: {values}")
    lines += [
        f"  {change.join_key}  {change.field}  {_value(change.before)} -> {_value(change.after)}"
        for change in plan.examples
    ]
    if pending:
        lines.append(f"{pending} events are not drained yet and are left out; run joinback drain first")
    return lines


def _value(value: Any) -> str:
    return "nothing" if value is None else json.dumps(value, ensure_ascii=False)


def _as_json(
    settings: Settings, application: str, plan: Plan, pending: int, written: int, dry_run: bool
) -> dict[str, Any]:
    return {
        "application": application,
        "sink": shown(settings.sink_url),
        "dry_run": dry_run,
        "events": plan.number,
        "rows": len(plan.events),
        "rows_changed": plan.rows_changed,
        "values_changed": dict(sorted(plan.values_changed.items())),
        "examples": [structs.asdict(change) for change in plan.examples],
        "already": plan.already,
        "full": len(plan.full),
        "pending": pending,
        "undone": plan.undone,
        "written": written,
        "receipt": plan.receipt if written else None,
    }
