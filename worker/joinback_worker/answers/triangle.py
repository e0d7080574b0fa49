"""The label triangle: cohorts of a week by their age, each cell empty until the whole week is so old. Pure.

As insurers lay out claims (T. Mack, Distribution-free calculation of the standard error of chain ladder reserve
estimates, ASTIN Bulletin 23 (1993)). A row that differs from those above it at the same age is the earliest sign that
labels come slower, or that a service lost its keys.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import Struct

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


def triangle_of(answer: Iterable[Sequence[Any]], ages_s: Sequence[int], now_us: int, has_unlabelled: bool) -> Triangle:
    """Return what `questions.triangle` answered for these ages."""
    weeks = []
    for week, rows, w, *cells in answer:
        end_us = (int(week) * 7 + 4) * DAY_US
        weeks.append(
            Week(
                day_text(int(week) * 7 - 3),
                int(rows),
                [
                    _cell(cells[3 * n : 3 * n + 3], float(w), has_unlabelled) if end_us + age * 1e6 <= now_us else None
                    for n, age in enumerate(ages_s)
                ],
            )
        )
    return Triangle([float(age) for age in ages_s], weeks)


def _cell(cells: Sequence[Any], w: float, has_unlabelled: bool) -> Cell:
    labelled, known, value = (float(cell or 0) for cell in cells)
    is_told = cells[2] is not None and known > 0
    return Cell(labelled / w if has_unlabelled else None, value / known if is_told else None)
