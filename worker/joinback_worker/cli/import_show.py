"""What `joinback import` shows: how it reads the columns, its progress, and what became of the lines."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from joinback.command_line import command_line
from joinback_worker.labels.job import Job
from joinback_worker.labels.near import Hint
from joinback_worker.labels.report import Report, as_json

from .show import printable
from .terminal import terminal


class Watching:
    """A progress bar on stderr, if that is a terminal. On stdout it prints first how the columns are read."""

    def __init__(self, job: Job, *, quiet: bool) -> None:
        self.settled: dict[str, str] = {}
        self._job = job
        self._quiet = quiet
        self._has_warned = False
        console = terminal(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("looking at columns", total=None)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def looked_at(self, rows: int) -> None:
        self._bar.update(self._task, completed=rows)

    def settles(self, source: str, columns: Mapping[str, str], doubts: Sequence[str]) -> None:
        self.settled = dict(columns)
        # Text printed meanwhile would break the bar.
        self._bar.stop()
        for doubt in doubts:
            click.echo(printable(f"joinback: {doubt}", markup=False), err=True)
        if not self._quiet:
            self._print(source, columns)
        self._bar.start()

    def _print(self, source: str, columns: Mapping[str, str]) -> None:
        click.echo(printable(source, markup=False))
        width = max(map(len, columns))
        for column, says in columns.items():
            click.echo(printable(f"  {column:<{width}}  {says}", markup=False))

    def begins(self, rows: int) -> None:
        self._bar.reset(self._task, total=rows, description=self._verb)

    def has_done(self, rows: int) -> None:
        self._bar.update(self._task, advance=rows, description=self._verb)

    def waits(self, why: str) -> None:
        if self._bar.disable and not self._has_warned:
            click.echo(f"joinback: {why}", err=True)
            self._has_warned = True
        self._bar.update(self._task, description=printable(why))

    @property
    def _verb(self) -> str:
        return "looking up" if self._job.dry_run else "importing"


def as_json_object(job: Job, columns: Mapping[str, str], report: Report) -> dict[str, Any]:
    return {"application": job.application, "dry_run": job.dry_run, "columns": dict(columns), **as_json(report)}


def as_lines(job: Job, report: Report, report_path: Path | None) -> Iterator[str]:
    """Return the report as lines of a terminal."""
    yield counted(report.rows, "row") + (", nothing written (--dry-run)" if job.dry_run else "")
    would = "would be written" if job.dry_run else "written"
    yield f"  {report.matched:>12,}  matched, {would}"
    yield f"  {report.already_told:>12,}  already there"
    if report.taken_back:
        yield f"  {report.taken_back:>12,}  taken back since, not written"
    if report.erased:
        yield f"  {report.erased:>12,}  of erased keys, not written"
    fate = would if job.orphans else "not written; --orphans writes them"
    yield f"  {report.unmatched:>12,}  unmatched" + (f", {fate}" if report.unmatched else "")
    yield f"  {report.refused:>12,}  refused"
    if report.without_a_label:
        yield f"  {report.without_a_label:>12,}  without a label"
    if report.not_sampled:
        yield f"  {report.not_sampled:>12,}  outside the sample: their predictions were never logged"
    for hint in report.hints:
        ours, theirs = hint.example
        found = f"{hint.matches} of {hint.tried} tried would match {hint.how}, such as {theirs} for {ours}"
        yield f"unmatched: {found}; {_fix(job, hint)}"
    yield from _listed(report, "unmatched", report.unmatched, report_path)
    yield from _listed(report, "refused", report.refused, report_path)
    yield from _listed(report, "taken_back", report.taken_back, report_path)
    yield from _listed(report, "erased", report.erased, report_path)
    if report.taken_back:
        undoing = command_line("retract", job.application, options=["--undo", "RECEIPT"])
        yield f"taken back: give these labels a later time, or undo the retraction ({undoing}); then import again"
    if report.before_prediction:
        are = "is earlier than its" if report.before_prediction == 1 else "are earlier than their"
        yield (
            f"note: {counted(report.before_prediction, 'label')} of the matched {are} prediction, so the delay is"
            " negative; a date without a time means midnight UTC"
        )
    if not job.dry_run and report.told:
        them = "it" if report.told == 1 else "them"
        yield f"Redis has {counted(report.told, 'label')}; the worker joins {them} at its next drain"


def counted(count: int, what: str) -> str:
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def _fix(job: Job, hint: Hint) -> str:
    key = job.roles.key
    if hint.prefix is not None and key is not None:
        return f"use --key '{hint.prefix}{key if '{' in key else '{' + key + '}'}'"
    if hint.how.startswith("as JoinKey.from_dict"):
        return "use --key-field for each field, and --type for its type"
    return "correct the keys in the source, or in its query"


def _listed(report: Report, what: str, count: int, report_path: Path | None) -> Iterator[str]:
    kind = what.replace("_", " ")
    entries = [entry for entry in report.listed if entry.what == what]
    for entry in entries:
        why = f"{entry.join_key}: {entry.why}" if entry.join_key is not None else entry.why
        yield f"{kind}: row {entry.row}: {why}"
    if count > len(entries):
        more = f"{report_path} has all" if report_path is not None else "--report FILE writes all"
        yield f"{kind}: and {count - len(entries):,} more; {more}"
