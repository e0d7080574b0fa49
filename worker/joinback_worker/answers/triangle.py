"""The label triangle: cohorts of a week by their age, each cell empty until the whole week is so old. Pure.

As insurers lay out claims (T. Mack, Distribution-free calculation of the standard error of chain ladder reserve
estimates, ASTIN Bulletin 23 (1993)). A row that differs from those above it at the same age is the earliest sign that
labels come slower, or that a service lost its keys.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from msgspec import Struct

from . import accuracy
from .accuracy import day_text
from .curve import LADDER_S
from .dialect import DAY_US

COLUMNS = 6
"""Of a table that fits a terminal."""


class Cell(Struct, frozen=True):
    share: float | None
    """Of the week's predictions: with a label by the age."""
    value: float | None
    """Of these labels: the accuracy, or the mean absolute error."""


class Week(Struct, frozen=True):
    """Predictions from Monday to Sunday."""

    monday: str
    predictions: int
    cells: list[Cell | None]
    """By age; None: the week is too young."""


class Triangle(Struct, frozen=True):
    ages_s: list[float]
    weeks: list[Week]


def ages_around(age_s: float) -> list[int]:
    """Return the ages that people speak of around the one age, in seconds."""
    spoken = sorted({*LADDER_S, round(age_s)})
    first = max(0, spoken.index(round(age_s)) - COLUMNS // 2 - 1)
    return [round(one) for one in spoken[first : first + COLUMNS]]


def triangle_of(
    cells: Iterable[accuracy.Cell], ages_s: Sequence[int], places: Sequence[int], now_us: int, has_unlabelled: bool
) -> Triangle:
    """Return the triangle of these cells; `places` are those of its ages among the ages that were asked for."""
    by_week: dict[int, list[accuracy.Cell]] = defaultdict(list)
    for cell in cells:
        # Whole ones since 1970, whose first day was a Thursday.
        by_week[(cell.day + 3) // 7].append(cell)
    weeks = []
    for week, own in sorted(by_week.items()):
        end_us = (week * 7 + 4) * DAY_US
        told = [
            _cell(own, place, has_unlabelled) if end_us + age * 1e6 <= now_us else None
            for age, place in zip(ages_s, places, strict=True)
        ]
        weeks.append(Week(day_text(week * 7 - 3), sum(cell.rows for cell in own), told))
    return Triangle([float(age) for age in ages_s], weeks)


def _cell(cells: Iterable[accuracy.Cell], place: int, has_unlabelled: bool) -> Cell:
    w = labelled = known = value = 0.0
    for cell in cells:
        w += cell.w
        if cell.place is not None and cell.place <= place:
            labelled += cell.w
            if cell.is_known:
                known, value = known + cell.w, value + cell.value
    return Cell(labelled / w if has_unlabelled else None, value / known if known else None)
