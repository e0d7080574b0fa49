"""How `joinback status` shows an overview: readable at 80 columns, and without a frame if it is piped."""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import NamedTuple

from msgspec import structs
from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table

from joinback_worker.operating.findings import Finding
from joinback_worker.operating.spans import brief, span
from joinback_worker.operating.states import Overview, Sink, State

from .show import printable


class _Column(NamedTuple):
    heading: str
    cell: Callable[[State, datetime], str]
    is_optional: bool = False
    """Whether the column is shown only if some application has a value in it."""


def lines(found: Overview, *, has_box: bool) -> list[RenderableType]:
    """Return a table of applications, and the lines of text below it."""
    shown: list[RenderableType] = []
    if found.applications:
        shown.append(_table(found, has_box=has_box))
    else:
        shown.append("no application yet: a client announces its application with its first event; see joinback.ping()")
    shown += [printable(line) for line in _workers(found)]
    shown += [printable(line) for line in _sinks(found)]
    if found.all_findings:
        shown.append("")
    for one in found.all_findings:
        shown += [printable(line) for line in finding_lines(one)]
    return shown


def fitted(found: Overview, width: int, height: int) -> list[RenderableType]:
    """Return as much of it as a screen holds: applications with trouble and the worst findings first."""
    kept = max(APPLICATIONS_MIN, height // 3)
    cut = structs.replace(found, applications=found.applications[:kept])
    table, *text = lines(cut, has_box=True)
    if (more := len(found.applications) - kept) > 0:
        text.insert(0, f"{more} more applications: joinback status")
    room = height - min(kept, len(found.applications)) - HEADING_LINES
    shown: list[RenderableType] = [table]
    for place, line in enumerate(text):
        room -= max(1, -(-len(str(line)) // width))
        if room < 0:
            return [*shown, f"{len(text) - place} more lines: joinback status"]
        shown.append(line)
    return shown


APPLICATIONS_MIN = 3
HEADING_LINES = 6
"""Lines for the heading and the rule of the table, for how to end, and for what was left out."""


def finding_lines(one: Finding) -> Iterator[str]:
    """Yield the sentence of a finding, and what fixes it."""
    yield f"{'!' if one.is_trouble else '-'} {one.name}: {one.says}"
    if one.fix:
        yield f"    {one.fix}"


def _table(found: Overview, *, has_box: bool) -> Table:
    # The box brings a space between columns. With one more, all columns would not fit into 80.
    padding = (0, 0) if has_box else (0, 1, 0, 0)
    table = Table(box=SIMPLE_HEAD if has_box else None, padding=padding, pad_edge=False, show_edge=False)
    table.add_column("\napplication", overflow="fold", min_width=len("application"))
    cells = [[column.cell(state, found.at) for state in found.applications] for column in _COLUMNS]
    kept = [(column, own) for column, own in zip(_COLUMNS, cells, strict=True) if not column.is_optional or any(own)]
    for column, _ in kept:
        table.add_column(column.heading, justify="right", overflow="fold")
    for place, state in enumerate(found.applications):
        mark = "! " if state.is_troubled else ""
        table.add_row(printable(f"{mark}{state.application}"), *(own[place] for _, own in kept))
    return table


def _workers(found: Overview) -> Iterator[str]:
    yield f"workers alive  {len(found.workers)}"
    for worker in found.workers:
        words = [f"  {worker.name}  version {worker.version}"]
        if worker.applications:
            words.append(f"only {', '.join(worker.applications)}")
        last = "last try" if worker.trouble else "last drain"
        words.append(f"{last} {_ago(worker.last_drain_at, found.at)}")
        words.append(f"next {_until(worker.next_drain_at, found.at)}")
        if (quiet_s := worker.quiet_s(found.at)) is not None:
            words.append(f"last sign of life {span(quiet_s)} ago")
        yield ", ".join(words)


def _sinks(found: Overview) -> Iterator[str]:
    if not found.sinks:
        yield "sink  none published yet: the first drain publishes it"
    for sink in found.sinks:
        yield from _sink(sink, found.at)


def _sink(sink: Sink, now: datetime) -> Iterator[str]:
    whose = f"  of {', '.join(sink.applications)}" if sink.applications else ""
    written = "not written yet" if sink.last_written_at is None else f"last written {_ago(sink.last_written_at, now)}"
    state = "down" if sink.error else written
    lag = f", {span(sink.lag_s)} behind" if sink.lag_s is not None else ""
    yield f"sink  {sink.url}{whose}"
    yield f"  {state}{lag}"


def _ago(moment: datetime | None, now: datetime) -> str:
    return "never" if moment is None else f"{span((now - moment).total_seconds())} ago"


def _until(moment: datetime | None, now: datetime) -> str:
    if moment is None:
        return "not known"
    left_s = (moment - now).total_seconds()
    # During a drain, and after the worker was killed.
    return f"in {span(left_s)}" if left_s > -1 else f"was due {span(-left_s)} ago"


def _rate(per_min: float | None) -> str:
    if per_min is None:
        return "?"
    return short(per_min) if per_min >= 10 or per_min == 0 else f"{per_min:.1f}"


def short(number: float) -> str:
    """Return a count in six characters at most: `9,999`, `12k`, `3.4M`."""
    if number < 10_000:
        return f"{number:,.0f}"
    return f"{number / 1e3:,.0f}k" if number < 1e6 else f"{number / 1e6:,.1f}M"


def _since(moment: datetime | None, now: datetime) -> str:
    return "never" if moment is None else brief((now - moment).total_seconds())


def _dead(state: State, _: datetime) -> str:
    return (
        short(state.dead_now)
        if state.dead_now == state.dead_ever
        else f"{short(state.dead_now)}/{short(state.dead_ever)}"
    )


def _next(state: State, now: datetime) -> str:
    if state.next_drain_at is None:
        return ""
    left_s = (state.next_drain_at - now).total_seconds()
    return brief(left_s) if left_s > -1 else "due"


_COLUMNS = (
    _Column("in\n/min", lambda state, _: _rate(state.received_per_min)),
    _Column("out\n/min", lambda state, _: _rate(state.rows_per_min)),
    _Column("joined\n24 h", lambda state, _: short(state.joined_of_day)),
    _Column("orphans\n24 h", lambda state, _: short(state.orphans_of_day)),
    _Column("\noldest", lambda state, _: "" if state.oldest_claimable_s is None else brief(state.oldest_claimable_s)),
    _Column(
        "newer\nworker", lambda state, _: short(state.waiting_for_upgrade) if state.waiting_for_upgrade else "", True
    ),
    _Column("dead\n/ever", _dead),
    _Column(
        "dead\nexpire",
        lambda state, _: brief(state.dead_expire_in_s) if state.dead_now and state.dead_expire_in_s else "",
        True,
    ),
    _Column("last\ndrain", lambda state, now: _since(state.last_drain_at, now)),
    _Column("next\ndrain", _next, True),
    _Column("\ndiff", lambda state, _: f"{state.books.difference:+,}" if state.books.difference else "", True),
)
