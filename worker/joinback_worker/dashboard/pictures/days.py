"""Accuracy by prediction day: bounds as a band; lines for so far, one age and the estimate; coverage below. Pure."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date

from msgspec import Struct

from joinback_worker.answers.accuracy import Day

from .frame import Frame, Spot, Tick, band, lines, quarters

COVERAGE_HEIGHT = 64
TICKS_MAX = 6


class Bar(Struct, frozen=True):
    x: float
    y: float
    width: float
    height: float


class DaysPicture(Struct, frozen=True, kw_only=True):
    frame: Frame
    band: str
    so_far: str
    at_age: str
    estimate: str
    truth: str
    """The accuracy that all labels will show; only for made-up data."""
    unripe_x: float | None
    """The x from which on days are too young for the one age; None if none is."""
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    coverage_frame: Frame
    coverage: list[Bar]


def days_picture(days: Sequence[Day], *, is_share: bool, truth: Mapping[str, float] | None = None) -> DaysPicture:
    """Return the picture of days, which are ordered, the oldest first. There is at least one."""
    coverage_frame = Frame(height=316 + COVERAGE_HEIGHT, top=316, bottom=24)
    frame = Frame(height=300, bottom=20)
    first, last = (date.fromisoformat(days[place].day).toordinal() for place in (0, -1))
    span = max(1, last - first)
    by_number = {date.fromisoformat(day.day).toordinal(): day for day in days}
    # A day without predictions breaks each line.
    each = [by_number.get(number) for number in range(first, last + 1)]
    places = [frame.x(n / span) for n in range(len(each))] if last > first else [frame.x(0.5)]
    top = 1.0 if is_share else _top(days)

    def path(figure: Callable[[Day], float | None]) -> str:
        values = [None if day is None else figure(day) for day in each]
        spots: list[Spot | None] = [
            None if value is None else (x, frame.y(value / top)) for x, value in zip(places, values, strict=True)
        ]
        return lines(spots)

    unripe = next((n for n, day in enumerate(each) if day is not None and not day.ripe), None)
    half = (places[1] - places[0]) / 2 if len(places) > 1 else frame.width / 2
    return DaysPicture(
        frame=frame,
        band=band(
            None
            if day is None or day.at_least is None or day.at_most is None
            else (x, frame.y(day.at_least), frame.y(day.at_most))
            for x, day in zip(places, each, strict=True)
        ),
        so_far=path(lambda day: day.so_far),
        at_age=path(lambda day: day.at_age),
        estimate=path(lambda day: day.estimate),
        truth=path(lambda day: (truth or {}).get(day.day)),
        unripe_x=None if unripe is None else max(frame.left, round(places[unripe] - half, 1)),
        x_ticks=_ticks(frame, first, last),
        y_ticks=quarters(frame, None if is_share else top),
        coverage_frame=coverage_frame,
        coverage=[
            _bar(coverage_frame, x, day.coverage, min(half * 1.6, 24.0))
            for x, day in zip(places, each, strict=True)
            if day is not None and day.coverage is not None
        ],
    )


def _bar(frame: Frame, x: float, share: float, width: float) -> Bar:
    top = frame.y(share)
    left = max(frame.left, x - width / 2)
    return Bar(round(left, 1), top, round(min(frame.end, x + width / 2) - left, 1), round(frame.base - top, 1))


def _top(days: Sequence[Day]) -> float:
    """Return the top of the axis for numbers: a tenth above the largest figure, in two digits."""
    largest = max([value for day in days for value in (day.so_far, day.at_age) if value is not None], default=1.0)
    return float(f"{largest * 1.1:.1e}") or 1.0


def _ticks(frame: Frame, first: int, last: int) -> list[Tick]:
    span = max(1, last - first)
    step = next((step for step in (1, 2, 7, 14, 28, 56, 91, 182) if span / step <= TICKS_MAX), 364)
    return [
        Tick(
            frame.x((number - first) / span if last > first else 0.5),
            f"{date.fromordinal(number):%-d %b}",
            is_minor=(number - first) // step % 2 == 1,
        )
        for number in range(first, last + 1, step)
    ]
