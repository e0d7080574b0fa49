"""`joinback label APP KEY repaid=true`: one row labelled by hand."""

import json
from datetime import datetime
from functools import partial
from typing import Any

import click
from msgspec import structs
from redis.asyncio import Redis

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
@click.option("--at", help="When it was so, if not now; without a zone in UTC.")
@click.option("--source", default="manual", show_default=True, help="Who tells it.")
@click.option("--force", is_flag=True, help="Whatever speaks against it.")
@click.option("--new", "is_new", is_flag=True, help="Also for a key that nobody knows yet.")
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
    """Tell feedback on the row of KEY of APPLICATION: as JSON where VALUE is JSON, else as text.

    The row says it after the next drain.
    """
    settings = settings_from()
    open_sink(settings.sink_url)  # a wrong URL is told first
    warn_of_path(settings.sink_url)
    told = values_of(values, config_of(settings).rules_of(application))
    new = label_of(application, key, told, typed(at) if at else None, source)
    found = with_redis(settings, partial(_look, settings, new, is_new))
    if found.troubles and not force:
        raise JoinbackError(f"not labelled: {'; '.join(found.troubles)}; --force does it all the same")
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
            f"neither {shown(settings.sink_url)} nor Redis knows {new.join_key!r} of {new.application}; see that the"
            " key is as it was logged, or --new if its prediction is yet to come"
        )
    return found


def _lines(new: Label, found: Outlook) -> list[str]:
    said = ", ".join(f"{name} {_value(value)}" for name, value in found.before.items()) or "no feedback"
    lines = [f"{new.join_key} said: {said}"]
    lines += [f"  {one.field}  {_value(one.before)} -> {_value(one.after)}" for one in found.changes]
    if not found.changes:
        lines.append("  it will say the same: what it has is newer, or of a better source, or what was told now")
    return [
        *lines,
        *found.notes,
        f"told by {new.source}; the row changes at the next drain, joinback drain does it now",
        f"to take it back: joinback retract {new.application} --event-id {new.event_id}",
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
