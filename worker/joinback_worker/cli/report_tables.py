"""The tables of a report as CSV: a head, and rows of plain cells."""

from collections.abc import Sequence
from typing import Any

from joinback_worker.answers.answer import Report
from joinback_worker.answers.curve import duration
from joinback_worker.answers.headline import value_name
from joinback_worker.answers.versions import shown

TABLES = ("days", "curve", "triangle", "versions", "calibration", "quantiles")

Table = tuple[Sequence[str], list[list[Any]]]


def tables(report: Report) -> dict[str, Table]:
    """Return each table by its name. A figure that is not known is an empty cell."""
    return {
        "days": _days(report),
        "curve": _curve(report),
        "triangle": _triangle(report),
        "versions": _versions(report),
        "calibration": _calibration(report),
        "quantiles": _quantiles(report),
    }


def _days(report: Report) -> Table:
    head = ["day", "version", "predictions", "labels", "coverage", "so_far", "at_age", "at_age_coverage", "at_least"]
    head += ["at_most", "estimate", "brier", "bias", "ripe"]
    return head, [
        [day.day, shown(day.version), *(_cell(getattr(day, name)) for name in head[2:])] for day in report.days
    ]


def _curve(report: Report) -> Table:
    head = ["field", "age_days", "share_labelled", "low", "high", "at_risk"]
    return head, [
        [_cell(curve.field), point.age_s / 86_400, point.share, point.low, point.high, point.at_risk]
        for curve in report.curves
        for point in curve.points
    ]


def _triangle(report: Report) -> Table:
    head = ["week", "predictions"]
    if report.triangle is None:
        return head, []
    for age in report.triangle.ages_s:
        head += [f"labelled after {duration(age)}", f"{value_name(report)} after {duration(age)}"]
    rows = []
    for week in report.triangle.weeks:
        row: list[Any] = [week.monday, week.predictions]
        for cell in week.cells:
            row += ["", ""] if cell is None else [_cell(cell.share), _cell(cell.value)]
        rows.append(row)
    return head, rows


def _versions(report: Report) -> Table:
    head = ["version", "ripe_predictions", "labels", "coverage", value_name(report).replace(" ", "_"), "auc"]
    head += ["brier", "bias"]
    areas = {one.version: one.auc for one in report.scores}
    return head, [
        [shown(s.version), s.predictions, s.labels, s.coverage]
        + [_cell(one) for one in (s.value, areas.get(s.version), s.brier, s.bias)]
        for s in report.versions
    ]


def _calibration(report: Report) -> Table:
    head = ["version", "from", "to", "labels", "mean_score", "share_positive"]
    return head, [
        [shown(one.version), b.low, b.high, b.labels, b.mean_score, b.share_positive]
        for one in report.scores
        for b in one.buckets
    ]


def _quantiles(report: Report) -> Table:
    named = report.pair.quantiles if report.pair else {}
    return ["output", "share_by_its_name", "share_at_most"], [
        [name, named[name], share] for name, share in report.quantiles.items()
    ]


def _cell(value: Any) -> Any:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else value
