"""`joinback label APP KEY repaid=true`: label one row by hand."""

import json
from datetime import datetime
from functools import partial
from typing import Any

import click
from msgspec import structs
from redis.asyncio import Redis

from joinback.command_line import command_line
from joinback.errors import JoinbackError
from joinback.settings import Settings, settings_from
from joinback_worker.by_hand.labelling import Label, Outlook, label_of, outlook, values_of, write
from joinback_worker.config.rules_file import config_of
from joinback_worker.law.times import typed
from joinback_worker.notes.layouts import applications
from joinback_worker.sinks import open_sink, shown

from .names import check_known
from .show import printable, warn_of_path
from .with_redis import with_redis


@click.command(short_help="Label one row by hand.")
@click.argument("application")
@click.argument("key")
@click.argument("values", nargs=-1, required=True, metavar="FIELD=VALUE...")
@click.option("--at", help="The time of the label, UTC if it names no zone. [default: now]")
@click.option("--source", default="manual", show_default=True, help="The source of the label.")
@click.option("--force", is_flag=True, help="Label the row in spite of objections.")
@click.option("--new", "is_new", is_flag=True, help="Allow a key that is not known yet.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def label(
    application: str,
    key: str,
    values: tuple[str, ...],
    at: str | None,
    source: str,
    force: bool,
    is_new: bool,
    as_json: bool,
) -> None:
    """Log feedback for KEY of APPLICATION. A VALUE that is JSON counts as JSON, any other as text.

    The row changes at the next drain.
    """
    settings = settings_from()
    open_sink(settings.sink_url)  # a wrong URL must be the first error
    warn_of_path(settings.sink_url)
    feedback = values_of(values, config_of(settings).rules_of(application))
    new = label_of(application, key, feedback, typed(at) if at else None, source)
    found = with_redis(settings, partial(_look, settings, new, is_new))
    if found.troubles and not force:
        raise JoinbackError(f"not labelled: {'; '.join(found.troubles)}; --force labels it all the same")
    write(settings, new)
    if as_json:
        click.echo(json.dumps(_as_json(settings, new, found), default=datetime.isoformat))
    else:
        for line in _lines(new, found):
            click.echo(printable(line, markup=False))


async def _look(settings: Settings, new: Label, is_new: bool, redis: Redis) -> Outlook:
    if not is_new:
        check_known([new.application], await applications(redis))
    found = await outlook(redis, settings, new)
    if not (found.is_known or is_new):
        raise JoinbackError(
            f"neither {shown(settings.sink_url)} nor Redis knows {new.join_key!r} of {new.application}; correct the"
            " key, or use --new if its prediction is still to come"
        )
    return found


def _lines(new: Label, found: Outlook) -> list[str]:
    before = ", ".join(f"{name} {_value(value)}" for name, value in found.before.items()) or "no feedback"
    lines = [f"{new.join_key} has: {before}"]
    lines += [f"  {one.field}  {_value(one.before)} -> {_value(one.after)}" for one in found.changes]
    if not found.changes:
        lines.append("  it will not change: what it has is newer, or of a better source, or the same")
    return [
        *lines,
        *found.notes,
        f"logged with the source {new.source}; the row changes at the next drain; joinback drain runs one now",
        f"to undo it: {command_line('retract', new.application, options=['--event-id', new.event_id])}",
    ]


def _value(value: Any) -> str:
    return "nothing" if value is None else json.dumps(value, ensure_ascii=False)


def _as_json(settings: Settings, new: Label, found: Outlook) -> dict[str, Any]:
    return structs.asdict(new) | {
        "sink": shown(settings.sink_url),
        "before": found.before,
        "changes": [structs.asdict(change) for change in found.changes],
        "troubles": found.troubles,
    }
