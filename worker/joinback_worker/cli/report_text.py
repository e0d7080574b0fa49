"""A report in a terminal of 80 columns. Bars and curves are drawn with characters."""

from collections.abc import Iterator, Sequence
from textwrap import wrap

from joinback_worker.answers.accuracy import Day
from joinback_worker.answers.answer import Report
from joinback_worker.answers.curve import STEPS, Curve, Point, duration
from joinback_worker.answers.headline import figure, headline, value_name
from joinback_worker.answers.versions import shown as name_of

COLUMNS = 80
DAYS_MIN, DAYS_MAX, RIPE_MIN = 20, 80, 14
"""Lines of a table: a screen, and then more until RIPE_MIN of them are ripe, up to DAYS_MAX. --csv has all."""
ROWS = 8
"""Lines of a curve's picture."""
_EIGHTHS = " ▁▂▃▄▅▆▇█"
_PARTS = " ▏▎▍▌▋▊▉█"


def lines(report: Report) -> Iterator[str]:
    """Yield the report line by line."""
    yield from _head(report)
    for curve in report.curves:
        yield from _curve(curve)
    if report.days:
        yield from _days(report)
    yield from _triangle(report)
    if report.versions:
        yield from _versions(report)
    yield from _scores(report)
    if report.to_keep:
        yield ""
        yield "To keep this comparison, put it into joinback.toml (JOINBACK_CONFIG):"
        yield from (f"  {line}" for line in report.to_keep)
    for note in report.notes:
        yield ""
        yield from wrap(note, COLUMNS, initial_indent="! ", subsequent_indent="  ")


def _head(report: Report) -> Iterator[str]:
    statuses = ", ".join(f"{count:,} {status}" for status, count in sorted(report.statuses.items()))
    yield from wrap(f"{report.application} at {report.now:%Y-%m-%d %H:%M} UTC: {statuses}", COLUMNS)
    if report.pair is not None:
        how = "guessed: see --output, --field, --threshold, --positive" if report.pair.guessed else "as set"
        yield from wrap(f"compared  {report.pair.said}", COLUMNS, subsequent_indent=" " * 10)
        yield f"          ({how})"
    if report.why_no_pair is not None:
        yield from wrap(f"compared  nothing: {report.why_no_pair}", COLUMNS, subsequent_indent=" " * 10)
    yield f"one age   {duration(report.age_s)}: {report.age_why}"
    for sentence in headline(report):
        yield ""
        yield from wrap(sentence, COLUMNS)


def _curve(curve: Curve) -> Iterator[str]:
    yield ""
    yield f"HOW LATE LABELS COME: {'the first of a row' if curve.field is None else curve.field}"
    yield from _prose(curve.sentence)
    if not curve.points:
        return
    yield from _picture(curve.points)
    ages = [
        f"{name[1:]} % after {duration(age)}" if age is not None else f"{name[1:]} %: not reached"
        for name, age in curve.ages_s.items()
    ]
    yield from _prose(f"Of {curve.rows:,} predictions {', '.join(ages)}.")
    last = curve.points[-1]
    band = f"{last.low * 100:.1f} to {last.high * 100:.1f} % (95 % band)"
    yield f"  At {duration(last.age_s)}: {band}, {last.at_risk:,} at risk."


def _picture(points: Sequence[Point]) -> Iterator[str]:
    """Yield the share by age as columns. The top of the scale is 100 %."""
    end = points[-1].age_s
    shares = [max(p.share for p in points if p.age_s <= end * step / STEPS) for step in range(STEPS + 1)]
    for row in reversed(range(ROWS)):
        cells = (_EIGHTHS[min(8, max(0, round((share * ROWS - row) * 8)))] for share in shares)
        mark = f"{(row + 1) * 100 // ROWS:>4} %" if (row + 1) % 2 == 0 else "      "
        yield f"  {mark} ┤{''.join(cells).rstrip()}"
    yield f"         └{'─' * (STEPS + 1)}"
    yield f"          0{duration(end):>{STEPS}}"


def _days(report: Report) -> Iterator[str]:
    shown = _newest(report.days)
    yield ""
    yield f"{value_name(report).upper()} BY PREDICTION DAY"
    at = _short(report.age_s)
    names = f"{'so far':>7} {'at ' + at:>8} {'bounds':>13} {'estimate':>8}"
    yield f"  {'day':10} {'version':7} {'n':>7} {'coverage':>11} {names}"
    if len(report.days) > len(shown):
        yield f"  … {len(report.days) - len(shown):,} earlier lines: --csv days"
    for day in shown:
        yield _day(day)
    yield "  so far: the labels that came; it misleads while others are missing"
    if any(day.version is None for day in shown) and any(day.version is not None for day in shown):
        yield f"  version {name_of(None)}: predictions without a version"
    if any(day.at_least is not None for day in shown):
        yield "  bounds: accuracy is between these, whatever the missing labels will be"
    if not all(day.ripe for day in shown):
        yield f"  unripe: some predictions of the day are younger than {duration(report.age_s)}"
    if any(day.estimate is not None for day in shown):
        until = duration(report.estimate_until_s)
        yield f"  estimate: by the labels that come within {until}, if delays stay as they were"


def _newest(days: list[Day]) -> list[Day]:
    first = ripe = 0
    for first in range(len(days) - 1, -1, -1):
        ripe += days[first].ripe
        lines = len(days) - first
        if lines >= DAYS_MAX or (lines >= DAYS_MIN and ripe >= RIPE_MIN):
            break
    return days[first:]


def _day(day: Day) -> str:
    coverage = "" if day.coverage is None else f"{_bar(day.coverage, 4)} {day.coverage * 100:4.0f} %"
    bounds = "" if day.at_least is None or day.at_most is None else f"{day.at_least:.3f}-{day.at_most:.3f}"
    at_age = figure(day.at_age) if day.ripe else "unripe"
    return (
        f"  {day.day:10} {_version(day.version, 7):7} {day.predictions:>7,} {coverage:>11} {figure(day.so_far):>7}"
        f" {at_age:>8} {bounds:>13} {figure(day.estimate):>8}"
    ).rstrip()


def _triangle(report: Report) -> Iterator[str]:
    if report.triangle is None or not report.triangle.weeks:
        return
    yield ""
    yield f"LABEL TRIANGLE: share labelled, and {value_name(report)}, by age of the week"
    yield f"  {'week of':10} {'n':>7}" + "".join(f"{_short(age):>10}" for age in report.triangle.ages_s)
    for week in report.triangle.weeks[-DAYS_MIN:]:
        cells = [
            f"{'' if c.share is None else f'{c.share * 100:.0f}%'} {figure(c.value, 2)}" if c else ""
            for c in week.cells
        ]
        yield f"  {week.monday:10} {week.predictions:>7,}{''.join(f'{cell:>10}' for cell in cells)}".rstrip()


def _versions(report: Report) -> Iterator[str]:
    yield ""
    yield f"VERSIONS, over the days that are {duration(report.age_s)} old"
    scores = {one.version: one for one in report.scores}
    is_error = value_name(report) != "accuracy"
    head = f"  {'version':12} {'n':>9} {'labels':>9} {'coverage':>8} {'error' if is_error else 'accuracy':>9}"
    yield head + (f" {'bias':>9}" if is_error else f" {'AUC':>6} {'Brier':>6} {'miscalibr.':>10}" if scores else "")
    for side in report.versions:
        one = scores.get(side.version)
        more = f" {figure(side.bias):>9}" if is_error else ""
        if one is not None:
            more = f" {figure(one.auc):>6} {figure(side.brier):>6} {figure(one.calibration_error):>10}"
        yield (
            f"  {_version(side.version, 12):12} {side.predictions:>9,} {side.labels:>9,} {side.coverage * 100:>6.0f} %"
            f" {figure(side.value):>9}{more}"
        ).rstrip()
    if report.comparison is not None:
        yield from _prose(report.comparison.sentence)
        yield f"  ({report.comparison.method}, 95 %, by ripe labels only)"
    elif len(report.versions) > 2:
        yield "  to compare two: --version A --version B"


def _scores(report: Report) -> Iterator[str]:
    if report.scores:
        yield ""
        yield "CALIBRATION, of ripe labels: the mean score, and the share that came true"
        names = [one.version for one in report.scores][-2:]
        yield f"  {'score':9}" + "".join(f" {_version(name, 12):>12} {'labels':>8} {'came':>6}" for name in names)
        for low in range(10):
            cells = ""
            for one in report.scores[-2:]:
                found = next((b for b in one.buckets if round(b.low * 10) == low), None)
                cells += (
                    f" {found.mean_score:>12.3f} {found.labels:>8,} {found.share_positive:>6.3f}" if found else " " * 29
                )
            yield f"  {low / 10:.1f}-{(low + 1) / 10:.1f}  {cells}".rstrip()
    for name, share in report.quantiles.items():
        asked = report.pair.quantiles[name] if report.pair else 0.0
        yield f"  {share * 100:.1f} % of labels are at most {name}; by its name {asked * 100:g} % should be."


def _prose(text: str) -> list[str]:
    return wrap(text, COLUMNS, initial_indent="  ", subsequent_indent="  ")


def _bar(share: float, width: int) -> str:
    full, part = divmod(round(share * width * 8), 8)
    return ("█" * full + (_PARTS[part] if part else "")).ljust(width)


def _short(seconds: float) -> str:
    number, unit = duration(seconds).split()
    return f"{number} {unit[0] if unit[0] != 'm' else 'min'}"


def _version(version: str | None, width: int) -> str:
    name = name_of(version)
    return name if len(name) <= width else name[: width - 1] + "…"
