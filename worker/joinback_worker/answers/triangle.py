"""The label triangle: weekly cohorts by age. A cell is empty until the whole week has that age. Pure.

Insurers arrange claims this way (T. Mack, Distribution-free calculation of the standard error of chain ladder reserve
estimates, ASTIN Bulletin 23 (1993)). A row that differs from those above it at the same age is the earliest sign that
labels come later, or that a service sends wrong keys.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from msgspec import Struct

from . import accuracy
from .accuracy import day_text
from .curve import LADDER_S
from .dialect import DAY_US

COLUMNS = 6
"""Ages per table, so that it fits a terminal."""


class Cell(Struct, frozen=True):
    share: float | None
    """The share of the week's predictions that have a label by the age."""
    value: float | None
    """The accuracy, or the mean absolute error, by these labels."""


class Week(Struct, frozen=True):
    """Predictions from Monday to Sunday."""

    monday: str
    predictions: int
    cells: list[Cell | None]
    """A cell per age; None if the week is too young."""


class Triangle(Struct, frozen=True):
    ages_s: list[float]
    weeks: list[Week]


def ages_around(age_s: float) -> list[int]:
    """Return COLUMNS ages in seconds around the one age: those that people usually name."""
    spoken = sorted({*LADDER_S, round(age_s)})
    first = max(0, spoken.index(round(age_s)) - COLUMNS // 2 - 1)
    return [round(one) for one in spoken[first : first + COLUMNS]]


def triangle_of(
    cells: Iterable[accuracy.Cell], ages_s: Sequence[int], places: Sequence[int], now_us: int, has_unlabelled: bool
) -> Triangle:
    """Return the triangle. `places` are the places of `ages_s` among the ages of the cells."""
    by_week: dict[int, list[accuracy.Cell]] = defaultdict(list)
    for cell in cells:
        # Weeks begin on Monday. Day 0, 1970-01-01, was a Thursday.
        by_week[(cell.day + 3) // 7].append(cell)
    weeks = []
    for week, own in sorted(by_week.items()):
        end_us = (week * 7 + 4) * DAY_US
        row = [
            _cell(own, place, has_unlabelled) if end_us + age * 1e6 <= now_us else None
            for age, place in zip(ages_s, places, strict=True)
        ]
        weeks.append(Week(day_text(week * 7 - 3), sum(cell.rows for cell in own), row))
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
