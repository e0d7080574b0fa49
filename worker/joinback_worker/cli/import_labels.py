"""`joinback import APP SOURCE`: labels from a file or a query become feedback, and every line is accounted for."""

import json
import logging
import sys
from functools import partial
from pathlib import Path
from typing import cast
from zoneinfo import ZoneInfo, available_timezones

import click
from redis.asyncio import Redis

from joinback.errors import JoinbackError
from joinback.settings import Settings, settings_from
from joinback_worker.labels.job import Job, run
from joinback_worker.labels.numbers import Decimal
from joinback_worker.labels.plan import Roles
from joinback_worker.labels.report import Report, ReportFile
from joinback_worker.labels.settled import Given
from joinback_worker.labels.sources import FORMATS, Reading
from joinback_worker.logs import configure_logging
from joinback_worker.nearest import nearest
from joinback_worker.notes.layouts import applications

from .import_show import Watching, as_json_object, as_lines
from .names import check_known
from .show import printable, warn_of_path
from .with_redis import with_redis


@click.command("import", short_help="Load labels from a file or a query.")
@click.argument("application")
@click.argument("source", metavar="SOURCE")
@click.option("--key", metavar="COLUMN|FORMAT", help="The join key: a column, or a format such as 'loan_{id}'.")
@click.option(
    "--key-field",
    "key_fields",
    multiple=True,
    metavar="NAME[=COLUMN]",
    help="In place of --key: a field of JoinKey.from_dict (repeatable).",
)
@click.option("--at", required=True, metavar="COLUMN", help="The column with the time at which the label became known.")
@click.option("--field", "fields", multiple=True, required=True, metavar="NAME[=COLUMN]", help="A label (repeatable).")
@click.option(
    "--sql", metavar="QUERY", help="The query. SOURCE is an SQLAlchemy URL, or the name of a variable that holds it."
)
@click.option(
    "--type", "types", multiple=True, metavar="COLUMN=KIND", help="bool, int, float, str, unix_s, unix_ms, unix_us."
)
@click.option("--day-first/--month-first", default=None, help="How to read 03/04/2026, if no cell decides it.")
@click.option(
    "--time-zone", metavar="ZONE", help="The zone of times that name none, such as Europe/Berlin. [default: UTC]"
)
@click.option("--decimal", type=click.Choice([".", ","]), help="The decimal mark, if no cell decides it.")
@click.option(
    "--null", "nulls", multiple=True, metavar="TEXT", help="A text that also means a missing cell (repeatable)."
)
@click.option("--format", "kind", type=click.Choice(FORMATS), help="The format of the file. [default: by its name]")
@click.option("--separator", metavar="CHARACTER", help="The separator of a CSV file. [default: by its header]")
@click.option("--encoding", metavar="NAME", help="The encoding of a CSV file. [default: UTF-8]")
@click.option("--sheet", metavar="NAME", help="The sheet of an Excel file. [default: its first]")
@click.option("--told-by", metavar="NAME", help="The source of the feedback, such as human.")
@click.option("--orphans", is_flag=True, help="Also write labels that match no prediction.")
@click.option("--dry-run", is_flag=True, help="Do everything except writing.")
@click.option(
    "--report",
    "report_path",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write all refused and unmatched lines to this file, as JSON Lines.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def import_labels(
    application: str,
    source: str,
    key: str | None,
    key_fields: tuple[str, ...],
    at: str,
    fields: tuple[str, ...],
    sql: str | None,
    types: tuple[str, ...],
    day_first: bool | None,
    time_zone: str | None,
    decimal: str | None,
    nulls: tuple[str, ...],
    kind: str | None,
    separator: str | None,
    encoding: str | None,
    sheet: str | None,
    told_by: str | None,
    orphans: bool,
    dry_run: bool,
    report_path: Path | None,
    as_json: bool,
) -> None:
    """Load labels of APPLICATION from SOURCE: a CSV, Parquet, JSON Lines or Excel file, or the rows of a query.

    It prints how it reads each column before it writes anything. The same import again changes nothing. Exit code 1 if
    lines were refused, were taken back since, are of erased keys, or matched no prediction. docs/how-to/labels.md has
    examples.
    """
    if key and key_fields:
        raise JoinbackError(
            "give --key (a column or a format) or --key-field (the fields of JoinKey.from_dict), not both"
        )
    if not key and not key_fields:
        raise JoinbackError("which column is the join key? --key COLUMN, or --key-field NAME[=COLUMN] for each field")
    if report_path is not None and report_path.resolve() == Path(source).resolve():
        raise JoinbackError("--report would overwrite the source")
    settings = settings_from()
    # Warnings would break the progress bar. What matters of them is raised as an error.
    configure_logging(logging.ERROR, as_json=settings.log_format == "json")
    warn_of_path(settings.sink_url)
    job = Job(
        application=application,
        place=source,
        query=sql,
        reading=Reading(kind=kind, separator=_character(separator), encoding=encoding, sheet=sheet),
        roles=Roles(key=key, key_fields=_named("--key-field", key_fields), at=at, fields=_named("--field", fields)),
        given=Given(
            types=_pairs("--type", types),
            nulls=frozenset(nulls),
            decimal=cast(Decimal | None, decimal),
            day_first=day_first,
            zone=_zone(time_zone),
        ),
        feedback_source=told_by,
        orphans=orphans,
        dry_run=dry_run,
    )
    with ReportFile(report_path) as file, Watching(job, quiet=as_json) as watching:
        report = with_redis(settings, partial(_run, settings, job, file, watching))
    if as_json:
        click.echo(json.dumps(as_json_object(job, watching.settled, report)))
    else:
        for line in as_lines(job, report, report_path):
            click.echo(printable(line, markup=False))
    if not report.is_complete:
        sys.exit(1)


async def _run(settings: Settings, job: Job, file: ReportFile, watching: Watching, redis: Redis) -> Report:
    check_known([job.application], await applications(redis))
    return await run(settings, job, file, watching, redis)


def _pairs(option: str, given: tuple[str, ...]) -> dict[str, str]:
    """Return the pairs of `NAME=VALUE` texts. Raises JoinbackError."""
    pairs: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise JoinbackError(f"{option} {text!r}: write it as {option} NAME=VALUE")
        if name in pairs:
            raise JoinbackError(f"{option} {name} is given twice")
        pairs[name] = value
    return pairs


def _named(option: str, given: tuple[str, ...]) -> dict[str, str]:
    """Return the pairs of `NAME=COLUMN` texts; `NAME` alone is a column of that name. Raises JoinbackError."""
    return _pairs(option, tuple(text if "=" in text else f"{text}={text}" for text in given))


def _zone(name: str | None) -> ZoneInfo | None:
    if name is None:
        return None
    try:
        return ZoneInfo(name)
    # ValueError: a name with a NUL. OSError: a name that leads to a directory.
    except (KeyError, ValueError, OSError):
        near = nearest(name, available_timezones())
        hint = f"did you mean {near}?" if near else "such as Europe/Berlin"
        raise JoinbackError(f"no time zone {name!r}; {hint}") from None


def _character(separator: str | None) -> str | None:
    character = {"\\t": "\t", "tab": "\t"}.get(separator or "", separator)
    if character is not None and (len(character) != 1 or not character.isascii()):
        raise JoinbackError(f"--separator {separator!r}: one character, such as ';', or tab")
    return character
