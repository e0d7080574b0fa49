"""`joinback explain APP KEY`: what became of one prediction and its feedback, with the evidence."""

import json
import sys
from collections.abc import Iterator
from typing import Any

import click
import msgspec
from msgspec import structs
from redis.asyncio import Redis

from joinback.settings import settings_from
from joinback_worker.notes.layouts import layouts
from joinback_worker.operating.explaining import explain as explained
from joinback_worker.operating.explanation import Explanation
from joinback_worker.operating.row_cells import cells
from joinback_worker.operating.spans import span

from .names import check_known
from .show import folded, printable, warn_of_path
from .terminal import columns
from .with_redis import with_redis


@click.command(short_help="Explain what became of one join key, with evidence.")
@click.argument("application")
@click.argument("join_key")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def explain(application: str, join_key: str, as_json: bool) -> None:
    """Explain in one sentence what became of JOIN_KEY of APPLICATION. Below it print the evidence ordered by time, the
    row, and shell lines that show the same by redis-cli and SQL. Changes nothing.

    If JOIN_KEY is a JSON object, it looks for the key that JoinKey.from_dict makes of it. Exit code 1 if nothing is
    known of the key.
    """
    settings = settings_from()
    warn_of_path(settings.sink_url)

    async def run(redis: Redis) -> tuple[Explanation, list[str]]:
        return await explained(redis, settings, application, join_key), sorted(await layouts(redis))

    found, known = with_redis(settings, run)
    if not found.is_known:
        check_known([application], known)
    if as_json:
        click.echo(json.dumps(_as_json(found)))
    else:
        verdict, *evidence = _lines(found)
        click.echo(folded(printable(verdict, markup=False), columns()))
        # Evidence stays in whole lines, as it is to be copied.
        for line in evidence:
            click.echo(printable(line, markup=False))
    if not found.is_known:
        sys.exit(1)


def _as_json(found: Explanation) -> dict[str, Any]:
    """Return it as JSON. The JSON cells of the row stay texts, as the sink holds them."""
    parts = structs.asdict(found)
    row = None if found.row is None else structs.asdict(found.row)
    parts["row"] = row and {name: _cell(value) for name, value in row.items()}
    result: dict[str, Any] = msgspec.to_builtins(parts)
    return result


def _cell(value: Any) -> Any:
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else value


def _lines(found: Explanation) -> Iterator[str]:
    yield found.says
    yield ""
    if found.timeline:
        for moment in found.timeline:
            at = f"{moment.at:%Y-%m-%d %H:%M:%S}" if moment.at else " " * 19
            yield f"{at}  {moment.where}  {moment.what}" + (f"  {moment.detail}" if moment.detail else "")
    else:
        yield "no evidence: neither Redis nor the sink holds anything of this key"
    if found.expires_in_s is not None:
        yield f"Redis deletes the record in {span(found.expires_in_s)}, unless new events come"
    if found.redacted:
        yield f"looks redacted  {', '.join(found.redacted)}"
    if found.sample:
        yield f"sample  {found.sample}"
    yield from _sink_lines(found)
    yield ""
    yield "The same by hand:"
    yield from (f"  {line}" for line in found.by_hand)


def _sink_lines(found: Explanation) -> Iterator[str]:
    yield f"sink  {found.sink}"
    if found.sink_elsewhere:
        yield f"  {found.sink_elsewhere}"
    if found.sink_trouble or found.sink_missing:
        yield f"  {found.sink_trouble or found.sink_missing}"
    elif found.row is None:
        yield "  has no row of this key"
    for name, value in cells(found.row) if found.row is not None else ():
        yield f"  {name}  {_cell(value)}"
