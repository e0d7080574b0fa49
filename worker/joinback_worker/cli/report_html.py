"""A report as one self-contained page: style and pictures stand in it, and nothing comes from elsewhere, no script."""

from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

from joinback_worker.answers.curve import Curve, duration
from joinback_worker.answers.report import Report

from .report_tables import Table, tables, value_name

_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 640, 240, 46, 24
"""Of a picture, in CSS pixels, and what its scales take of it."""
_STYLE = """
:root { color-scheme: light dark; --ink: #1a1a1a; --soft: #667; --line: #0b63b5; --band: #0b63b526; --flat: #b5530b; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e6e6; --soft: #9aa; --line: #6db3f2; --band: #6db3f233; --flat: #f2a36d; }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .15rem .6rem; text-align: right; border-bottom: 1px solid #8884; }
th { text-align: right; color: var(--soft); font-weight: 600; }
td:first-child, th:first-child { text-align: left; }
.wide { overflow-x: auto; }
svg { max-width: 100%; height: auto; }
svg text { font-size: 11px; fill: var(--soft); }
details { margin: .5rem 0; }
.note { border-left: 4px solid var(--flat); padding-left: .8rem; }
@media print { details > * { display: block; } }
"""


def page(report: Report) -> str:
    """Return the page. Whatever came from elsewhere is escaped."""
    return "\n".join(_parts(report))


def _parts(report: Report) -> Iterator[str]:
    name = escape(report.application)
    yield f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{name}: labels and accuracy</title>'
    yield '<meta name="viewport" content="width=device-width">'
    yield """<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">"""
    yield f"<style>{_STYLE}</style></head><body><h1>{name}</h1>"
    counts = ", ".join(f"{count:,} {escape(status)}" for status, count in sorted(report.statuses.items()))
    yield f"<p>{report.now:%Y-%m-%d %H:%M} UTC: {counts}.</p>"
    if report.pair is not None:
        how = "guessed" if report.pair.guessed else "as told"
        yield f"<p>Compared: {escape(report.pair.said)} ({how})."
    yield f"<p>One age: {escape(duration(report.age_s))}, {escape(report.age_why)}.</p>"
    yield from (f'<p class="note">{escape(note)}</p>' for note in report.notes)
    found = tables(report)
    yield "<h2>How late labels come</h2>"
    for curve in report.curves:
        yield f"<h3>{'First label of a row' if curve.field is None else escape(curve.field)}</h3>"
        yield f"<p>{escape(curve.sentence)}</p>"
        if curve.points:
            yield _curve(curve)
    yield _folded("The curves in numbers", found["curve"])
    if report.days:
        yield f"<h2>{escape(value_name(report).capitalize())} by prediction day</h2>"
        yield "<p>The line so far flatters while labels are missing. The band holds, whatever they will be.</p>"
        yield _days(report)
        yield _folded("By day in numbers", found["days"])
    yield "<h2>Label triangle</h2><p>A row that differs from those above it at the same age is the first alarm.</p>"
    yield _table(found["triangle"])
    if report.versions:
        yield f"<h2>Versions</h2><p>Of days that are {escape(duration(report.age_s))} old.</p>"
        yield _table(found["versions"])
        if report.comparison is not None:
            yield f"<p>{escape(report.comparison.sentence)} {escape(report.comparison.method)}, 95 in 100.</p>"
    if report.scores:
        yield "<h2>Calibration</h2>" + _table(found["calibration"])
    yield "</body></html>"


def _curve(curve: Curve) -> str:
    end = curve.points[-1].age_s or 1.0
    at = [(_x(p.age_s / end), p) for p in curve.points]
    upper = [(x, _y(p.high)) for x, p in at]
    lower = [(x, _y(p.low)) for x, p in reversed(at)]
    marks = _band(upper + lower) + _line([(x, _y(p.share)) for x, p in at], "line")
    return _picture(f"Share of predictions with a label by age: {curve.sentence}", marks, "0", duration(end))


def _days(report: Report) -> str:
    """Of all versions together on each day, by what the predictions are: the band, so far, and at the one age."""
    days = sorted({day.day for day in report.days})
    sums: dict[str, dict[str, float]] = {day: dict.fromkeys(("n", "low", "high"), 0.0) for day in days}
    so_far: dict[str, tuple[float, float]] = {}
    at_age: dict[str, tuple[float, float]] = {}
    for day in report.days:
        if day.at_least is not None and day.at_most is not None:
            sums[day.day]["n"] += day.predictions
            sums[day.day]["low"] += day.predictions * day.at_least
            sums[day.day]["high"] += day.predictions * day.at_most
        for into, value in ((so_far, day.so_far), (at_age, day.at_age)):
            if value is not None:
                n, total = into.get(day.day, (0.0, 0.0))
                into[day.day] = n + day.labels, total + day.labels * value
    top = max([1.0] + [total / n for n, total in so_far.values() if n]) if report.pair else 1.0
    place = {day: _x(number / max(1, len(days) - 1)) for number, day in enumerate(days)}
    bounded = [(place[day], one) for day, one in sums.items() if one["n"]]
    band = [(x, _y(one["high"] / one["n"] / top)) for x, one in bounded]
    band += [(x, _y(one["low"] / one["n"] / top)) for x, one in reversed(bounded)]
    marks = _band(band)
    for found, colour in ((so_far, "flat"), (at_age, "line")):
        marks += _line([(place[day], _y(total / n / top)) for day, (n, total) in sorted(found.items()) if n], colour)
    label = "Bounds as a band; so far in orange; at one age in blue"
    return _picture(label, marks, days[0], days[-1], "100 %" if top == 1.0 else f"{top:.3g}")


def _picture(label: str, marks: str, first: str, last: str, top: str = "100 %") -> str:
    base = _HEIGHT - _BOTTOM
    return (
        f'<svg role="img" aria-label="{escape(label)}" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}">'
        f'<path d="M{_LEFT} 6V{base}H{_WIDTH}" fill="none" stroke="var(--soft)"/>{marks}'
        f'<text x="{_LEFT - 4}" y="14" text-anchor="end">{escape(top)}</text>'
        f'<text x="{_LEFT - 4}" y="{base}" text-anchor="end">0</text>'
        f'<text x="{_LEFT}" y="{_HEIGHT - 6}">{escape(first)}</text>'
        f'<text x="{_WIDTH}" y="{_HEIGHT - 6}" text-anchor="end">{escape(last)}</text></svg>'
    )


def _band(points: Sequence[tuple[float, float]]) -> str:
    return f'<polygon points="{_joined(points)}" fill="var(--band)"/>' if points else ""


def _line(points: Sequence[tuple[float, float]], colour: str) -> str:
    return f'<polyline points="{_joined(points)}" fill="none" stroke="var(--{colour})" stroke-width="2"/>'


def _joined(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _x(share: float) -> float:
    return _LEFT + share * (_WIDTH - _LEFT)


def _y(share: float) -> float:
    return 6 + (1 - share) * (_HEIGHT - _BOTTOM - 6)


def _folded(title: str, table: Table) -> str:
    return f"<details><summary>{escape(title)}</summary>{_table(table)}</details>"


def _table(table: Table) -> str:
    head, rows = table
    cells = "".join(f"<tr>{''.join(f'<td>{_cell(cell)}</td>' for cell in row)}</tr>" for row in rows)
    titles = "".join(f'<th scope="col">{escape(name.replace("_", " "))}</th>' for name in head)
    return f'<div class="wide"><table><thead><tr>{titles}</tr></thead><tbody>{cells}</tbody></table></div>'


def _cell(value: Any) -> str:
    return escape(
        f"{value:.3f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
    )
