"""`joinback report APP`: how right the model is and how late labels come, as text, JSON, CSV or one HTML file."""

import asyncio
import csv
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import msgspec
from msgspec import UNSET

from joinback.errors import ConfigurationError
from joinback.settings import Settings, settings_from
from joinback_worker.answers.answer import NoApplication, Report, Wanted
from joinback_worker.answers.choice import AGE_DAYS_MAX, Choice, day_of, label_of
from joinback_worker.answers.report import report as answered

from .dashboard import MISSING
from .names import check_known
from .numbers import Number
from .report_tables import TABLES, tables
from .report_text import lines
from .show import printable, warn_of_path
from .terminal import terminal


@click.command(short_help="Show how right the model is and how late labels come.")
@click.argument("application")
@click.option("--age-days", type=Number(0, AGE_DAYS_MAX, min_open=True), help="The one age at which days are compared.")
@click.option("--field", help="The feedback field with the label.")
@click.option("--output", help="The output to compare with that field.")
@click.option("--threshold", type=float, help="A score of this or more means the positive label. [default: 0.5]")
@click.option("--positive", help="The label whose probability the score is, such as false or fraud. [default: true]")
@click.option("--since", metavar="DATE", help="Leave out predictions before this day (UTC).")
@click.option(
    "--version", "versions", multiple=True, metavar="NAME", help="A version to compare; - for none. Give it twice."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--csv", "table", type=click.Choice(TABLES), help="Print one table.")
@click.option(
    "--html",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write one self-contained page to this file.",
)
def report(
    application: str,
    since: str | None,
    versions: tuple[str, ...],
    as_json: bool,
    table: str | None,
    file: Path | None,
    **chosen: Any,
) -> None:
    """Show how late the labels of APPLICATION come, and how right its model is. Reads the sink and changes nothing.

    It guesses which output to compare with which field, and prints its guess. The options or joinback.toml set it.
    """
    settings = settings_from()
    warn_of_path(settings.sink_url)
    if len(versions) not in (0, 2):
        raise click.UsageError("--version compares two: give it twice")
    wanted = Wanted(
        application=application,
        now=datetime.now(UTC),
        since=None if since is None else day_of(since),
        age_d=chosen["age_days"],
        choice=Choice(
            field=chosen["field"],
            output=chosen["output"],
            threshold=chosen["threshold"],
            positive=UNSET if chosen["positive"] is None else label_of(chosen["positive"]),
        ),
        versions=(versions[0], versions[1]) if versions else None,
    )
    answer = _asked(settings, wanted)
    if file is not None:
        _write(file, _page(answer))
    if as_json:
        click.echo(msgspec.json.encode(answer))
    elif table is not None:
        if answer.why_no_pair is not None and table != "curve":
            click.echo(printable(f"joinback: nothing is compared: {answer.why_no_pair}", markup=False), err=True)
        header, rows = tables(answer)[table]
        csv.writer(sys.stdout, lineterminator="\n").writerows([header, *rows])
    elif file is None:
        for line in lines(answer):
            click.echo(printable(line, markup=False))


def _asked(settings: Settings, wanted: Wanted) -> Report:
    with terminal(stderr=True).status("asking the sink …") as status:

        def progress(what: str) -> None:
            status.update(f"asking the sink: {printable(what)} …")

        try:
            return asyncio.run(answered(settings, wanted, progress))
        except NoApplication as error:
            check_known([wanted.application], error.known)
            raise


def _page(answer: Report) -> str:
    try:
        from joinback_worker.dashboard.mailed import page
    except ModuleNotFoundError:
        raise ConfigurationError(f"--html: {MISSING}") from None
    return page(answer)


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"--html {file}: cannot be written: {error.strerror}") from None
    click.echo(f"wrote {file}", err=True)
