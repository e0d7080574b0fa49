"""Accuracy by prediction day and version that cannot mislead: with coverage, at one age, and between bounds. Pure.

The labels that came are not a random part of all labels: good news comes sooner than bad news. So accuracy is given
with its coverage, the share of predictions that have a label. It is given at one age for all days, so that days can be
compared. And it is given between two bounds: if all missing labels are wrong, and if all are right (C. F. Manski,
Partial Identification of Probability Distributions (2003), section 1.2). A row counts for 1 / its sample rate
(Horvitz, Thompson, JASA 47 (1952)).
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any

from msgspec import Struct, field

from .dialect import DAY_US
from .estimate import Delays, weighted
from .pairing import Pair
from .questions import Asked
from .versions import order

_EPOCH_DAY = date(1970, 1, 1).toordinal()


class Cell(Struct, frozen=True, kw_only=True):
    """Sums over predictions of one day, version and outcome whose labels came between the same two ages."""

    day: int
    """Days since 1970."""
    version: str | None
    outcome: Any
    """The label. None if none is known, or if there are too many different ones."""
    is_known: bool
    """Whether both the output and the label are known."""
    is_judgeable: bool
    """Whether there is an output that can be compared. Without one no label will ever say how good it was."""
    place: int | None
    """How many of the ages had passed when the label came: 0 if it came within the first. None if it has not come."""
    rows: int
    w: float
    """Sum of the weights."""
    w2: float
    """Sum of the squared weights."""
    age_d: float
    """Sum of the ages in days."""
    value: float
    """Weighted sum of 1 for each right output, or of absolute errors."""
    extra: float
    """Weighted sum of Brier's terms, or of errors."""
    value2: float
    """Weighted sum of squared values."""
    below: list[float]
    """For each quantile output, the weight of the labels that are at most it."""


class Part(Struct):
    """Sums over labels: their number, weight, `value` and `extra`, as in `Cell`."""

    rows: int = 0
    w: float = 0.0
    value: float = 0.0
    extra: float = 0.0

    def add(self, rows: int, w: float, value: float, extra: float) -> None:
        self.rows, self.w, self.value, self.extra = self.rows + rows, self.w + w, self.value + value, self.extra + extra

    @property
    def mean(self) -> float | None:
        return self.value / self.w if self.w else None

    @property
    def mean_extra(self) -> float | None:
        return self.extra / self.w if self.w else None


class Sums(Struct):
    """Sums over one or several days and versions: of all predictions whose output can be compared, of the labels known
    now, and of the labels known by the age.
    """

    rows: int = 0
    w: float = 0.0
    age_d: float = 0.0
    known: Part = field(default_factory=Part)
    by_age: Part = field(default_factory=Part)
    w2: float = 0.0
    """This, `value2` and `below` are as in `Cell`, over the labels known by the age."""
    value2: float = 0.0
    below: list[float] = []
    outcomes: dict[Any, Part] = {}
    """The labels known now, by their value."""

    def add(self, cell: "Cell", is_by_age: bool) -> None:
        """Add a cell. `is_by_age`: its labels came within the age."""
        self.rows, self.w, self.age_d = self.rows + cell.rows, self.w + cell.w, self.age_d + cell.age_d
        self.below = self.below or [0.0] * len(cell.below)
        if not cell.is_known:
            return
        parts = [self.known]
        if cell.outcome is not None:
            parts.append(self.outcomes.setdefault(cell.outcome, Part()))
        if is_by_age:
            parts.append(self.by_age)
            self.w2, self.value2 = self.w2 + cell.w2, self.value2 + cell.value2
            self.below = [a + b for a, b in zip(self.below, cell.below, strict=True)]
        for part in parts:
            part.add(cell.rows, cell.w, cell.value, cell.extra)


class Day(Struct, frozen=True, kw_only=True):
    """One prediction day of one version. A figure that is not known is None."""

    day: str
    version: str | None
    predictions: int
    labels: int
    coverage: float | None
    so_far: float | None
    """Accuracy, or mean absolute error, of the labels that came. It misleads while others are missing."""
    at_age: float | None
    """The same over the labels that came within the age; None while the day is younger."""
    at_age_coverage: float | None
    at_least: float | None
    at_most: float | None
    estimate: float | None
    brier: float | None = None
    bias: float | None = None
    """For numbers: the mean of output minus label, at the age."""
    ripe: bool
    """Whether all predictions of the day have reached the age."""


def cells_of(answer: Iterable[Sequence[Any]]) -> list[Cell]:
    """Return the cells of the result of `questions.cells`."""
    return [
        Cell(
            day=int(day), version=version, outcome=outcome, is_known=int(known) == 1, is_judgeable=int(known) >= 0,
            place=None if place is None else int(place), rows=int(rows), w=float(w), w2=float(w2), age_d=float(age_d),
            value=value, extra=extra, value2=value2, below=below,
        )
        for day, version, outcome, known, place, rows, w, w2, age_d, *sums in answer
        for value, extra, value2, *below in [[float(one or 0) for one in sums or (0, 0, 0)]]
    ]  # fmt: skip


def sums_of(cells: Iterable[Cell], by_age: int) -> dict[tuple[int, str | None], Sums]:
    """Return sums by (day since 1970, version), in order. `by_age` is the place of the one age among the ages."""
    found: dict[tuple[int, str | None], Sums] = defaultdict(Sums)
    for cell in cells:
        if not cell.is_judgeable:
            continue
        found[cell.day, cell.version].add(cell, cell.place is not None and cell.place <= by_age)
    return dict(sorted(found.items(), key=lambda item: (item[0][0], order(item[0][1]))))


def total(sums: Iterable[Sums]) -> Sums:
    """Return the sums over several days or versions."""
    whole = Sums()
    for one in sums:
        whole.rows, whole.w, whole.age_d = whole.rows + one.rows, whole.w + one.w, whole.age_d + one.age_d
        for part, other in ((whole.known, one.known), (whole.by_age, one.by_age)):
            part.add(other.rows, other.w, other.value, other.extra)
        whole.w2, whole.value2 = whole.w2 + one.w2, whole.value2 + one.value2
        whole.below = [a + b for a, b in zip(whole.below or [0.0] * len(one.below), one.below, strict=True)]
        for outcome, part in one.outcomes.items():
            whole.outcomes.setdefault(outcome, Part()).add(part.rows, part.w, part.value, part.extra)
    return whole


def together(sums: dict[tuple[int, str | None], Sums]) -> dict[tuple[int, str | None], Sums]:
    """Return the sums of each day over all versions, under the version None."""
    by_day: dict[int, list[Sums]] = defaultdict(list)
    for (day, _), one in sums.items():
        by_day[day].append(one)
    return {(day, None): total(ones) for day, ones in sorted(by_day.items())}


def days_of(
    sums: dict[tuple[int, str | None], Sums], asked: Asked, pair: Pair, delays: Delays | None, has_unlabelled: bool
) -> list[Day]:
    """Return the table. Without unlabelled rows there is no coverage, and no figure that depends on it."""
    return [_day(day, version, one, asked, pair, delays, has_unlabelled) for (day, version), one in sums.items()]


def _day(
    day: int, version: str | None, one: Sums, asked: Asked, pair: Pair, delays: Delays | None, has_unlabelled: bool
) -> Day:
    ripe = is_ripe(day, asked)
    is_share = pair.kind != "numbers"
    bounded = has_unlabelled and is_share and one.w > 0
    return Day(
        day=day_text(day),
        version=version,
        predictions=one.rows,
        labels=one.known.rows,
        coverage=one.known.w / one.w if has_unlabelled and one.w else None,
        so_far=one.known.mean,
        at_age=one.by_age.mean if ripe else None,
        at_age_coverage=one.by_age.w / one.w if ripe and has_unlabelled and one.w else None,
        at_least=one.known.value / one.w if bounded else None,
        at_most=1 - (one.known.w - one.known.value) / one.w if bounded else None,
        estimate=weighted(one.outcomes, one.age_d / one.rows, delays) if bounded and delays else None,
        brier=one.by_age.mean_extra if ripe and pair.has_brier else None,
        bias=one.by_age.mean_extra if ripe and pair.kind == "numbers" else None,
        ripe=ripe,
    )


def as_one_day(sums: dict[tuple[int, str | None], Sums], asked: Asked, pair: Pair, has_unlabelled: bool) -> Day | None:
    """Return days that are all ripe, or all unripe, as if they were one day, named by the last; None if there are none.

    It has no estimate, since an estimate needs one age.
    """
    if not sums:
        return None
    last = max(day for day, _ in sums)
    return _day(last, None, total(sums.values()), asked, pair, None, has_unlabelled)


def is_ripe(day: int, asked: Asked) -> bool:
    """Return whether all predictions of the day have reached the age."""
    return (day + 1) * DAY_US <= asked.ripe_before_us


def day_text(day: int) -> str:
    return date.fromordinal(_EPOCH_DAY + day).isoformat()
