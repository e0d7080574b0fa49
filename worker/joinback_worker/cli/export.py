"""`joinback export APP --as-of DAY`: write the training set with the labels that were known on a day."""

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from joinback.errors import JoinbackError
from joinback.settings import settings_from
from joinback_worker.flat.changes import WHATS
from joinback_worker.flat.moments import moment_of
from joinback_worker.flat.views import name_of
from joinback_worker.law.times import text_of
from joinback_worker.sinks import shown

from .show import printable
from .sink_url import SinkCommand, url_of
from .terminal import terminal

if TYPE_CHECKING:
    from joinback_worker.flat.exporting import Exported, Job

FORMATS = ("parquet", "csv", "arrow")


@click.command("export", cls=SinkCommand, short_help="Write the rows as they were known on a day.")
@click.argument("application")
@click.argument("url", required=False)
@click.option(
    "--as-of",
    "as_of",
    metavar="DAY",
    help="A day or a time, UTC. Events logged by the beginning of that day, or by that time, count. [default: now]",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(FORMATS),
    help="Of both files. [default: of each by its suffix, else parquet]",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="[default: APPLICATION-DAY.FORMAT in this directory]",
)
@click.option("--since-as-of", "since", metavar="DAY", help="Count the labels that changed since that day.")
@click.option(
    "--diff",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the changed labels to this file, one row each.",
)
@click.option(
    "--weights",
    metavar="FIELD",
    help="Add the column label_weight: how much a label of this field counts while others are late.",
)
@click.option("--force", is_flag=True, help="Replace a file that exists.")
@click.option("--json", "as_json", is_flag=True, help="Print the counts as one JSON object.")
def export(
    application: str,
    url: str | None,
    as_of: str | None,
    format_: str | None,
    output: Path | None,
    since: str | None,
    diff: Path | None,
    weights: str | None,
    force: bool,
    as_json: bool,
) -> None:
    """Write the rows of APPLICATION with the labels that were known on a day: one row per prediction, and a typed
    column per input, output and feedback field. It follows the rules that the file of JOINBACK_CONFIG declares now.

    URL is the URL of the sink, or the name of a variable that holds it. Without URL it is JOINBACK_SINK_URL.
    """
    settings = settings_from()
    url = url_of(url, settings)
    exporting = _exporting()
    now = datetime.now(UTC)
    moment = now if as_of is None else moment_of(as_of, "--as-of")
    if moment > now:
        raise JoinbackError(f"--as-of {as_of} is in the future; leave it out for what is known now")
    before = None if since is None else moment_of(since, "--since-as-of")
    if before is not None and before >= moment:
        raise JoinbackError("--since-as-of must be before --as-of")
    if diff is not None and before is None:
        raise JoinbackError("--diff needs --since-as-of, the day to compare with")
    format_, diff_format = (format_ or _format_of(file) for file in (output, diff))
    output = output or Path(f"{name_of(application)}-{moment:%Y-%m-%d}.{format_}")
    if diff is not None and diff.absolute() == output.absolute():
        raise JoinbackError("--diff and --output are the same file; name two")
    job = exporting.Job(
        url=url, application=application, as_of=moment, since=before, format=format_, output=output, diff=diff,
        diff_format=diff_format, replace=force, weights=weights,
    )  # fmt: skip
    console = terminal(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:,} records"))
    with Progress(
        *columns, TimeElapsedColumn(), console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("exporting", total=None)
        work = exporting.export(settings, job, lambda records: bar.update(task, completed=records))
        exported = asyncio.run(work)
    if as_json:
        click.echo(json.dumps(_as_json(job, exported)))
    else:
        for line in _lines(job, exported):
            click.echo(printable(line, markup=False))


def _exporting() -> Any:
    # Imported only here: pyarrow is an extra, and would cost every other command a second.
    try:
        return import_module("joinback_worker.flat.exporting")
    except ModuleNotFoundError as error:
        raise JoinbackError(
            f"joinback export needs {error.name}; in its clone: pip install '.[worker,parquet]'"
        ) from None


def _format_of(file: Path | None) -> str:
    """Return the format that the suffix of the file names. Raises JoinbackError for a suffix that names none."""
    suffix = "" if file is None else file.suffix.removeprefix(".").lower()
    if suffix and suffix not in FORMATS:
        raise JoinbackError(f"{file}: .{suffix} is none of {', '.join(FORMATS)}; rename the file, or give --format")
    return suffix or FORMATS[0]


def _lines(job: "Job", exported: "Exported") -> Iterator[str]:
    yield (
        f"{job.application} as known on {text_of(job.as_of)}, from {shown(job.url)}:"
        f" {exported.rows:,} rows, {exported.columns} columns, in {job.output}"
    )
    yield f"  {exported.statuses['joined']:>12,}  labelled"
    yield f"  {exported.statuses['unlabelled']:>12,}  unlabelled: mature, and no label came"
    yield f"  {exported.statuses['predicted']:>12,}  predicted: a label may still come"
    yield (
        f"left out: {exported.unknown:,} records of which nothing was known yet, {exported.orphans:,} orphans,"
        f" {exported.events_later:,} events that were logged later"
    )
    if job.weights is not None:
        yield (
            f"label_weight of {job.weights}: {exported.weighted:,} labels have one;"
            f" {exported.unweighted:,} have none, because too few labels of their value are old enough"
        )
    if exported.rules is None:
        yield "no rules are declared (JOINBACK_CONFIG): no row matures, and the last value of each field counts"
    for field, count in sorted(exported.misfits.items()):
        yield f"{field}: {count:,} values are not of the declared type; their cells are empty"
    if exported.fields_left_out:
        yield f"left out: {exported.fields_left_out:,} values of fields beyond the first 10,000"
    if (difference := exported.difference) is not None and job.since is not None:
        yield (
            f"{difference.total:,} labels changed since {text_of(job.since)}: in {difference.rows_changed:,} rows that"
            f" existed then, and in {difference.rows_added:,} new rows"
            + (f", in {job.diff}" if job.diff is not None else "")
        )
        for field, counts in sorted(difference.labels.items()):
            yield f"  {field}: " + ", ".join(f"{counts[what]:,} {what}" for what in WHATS)


def _as_json(job: "Job", exported: "Exported") -> dict[str, Any]:
    counts: dict[str, Any] = {
        "application": job.application,
        "sink": shown(job.url),
        "as_of": text_of(job.as_of),
        "output": str(job.output),
        "rows": exported.rows,
        "columns": exported.columns,
        "statuses": {name: exported.statuses[name] for name in ("joined", "unlabelled", "predicted")},
        "unknown": exported.unknown,
        "orphans": exported.orphans,
        "events_later": exported.events_later,
        "rules": exported.rules,
        "misfits": exported.misfits,
    }
    if job.weights is not None:
        counts["weighted"], counts["unweighted"] = exported.weighted, exported.unweighted
    if (difference := exported.difference) is not None and job.since is not None:
        counts["since"] = text_of(job.since)
        counts["labels"] = {
            field: {what: changes[what] for what in WHATS} for field, changes in sorted(difference.labels.items())
        }
        counts["rows_added"], counts["rows_changed"] = difference.rows_added, difference.rows_changed
    return counts
