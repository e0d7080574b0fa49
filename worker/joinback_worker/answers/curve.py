"""How late labels come: Kaplan and Meier's estimate, in which predictions without a label are censored. Pure.

E. L. Kaplan, P. Meier, Nonparametric estimation from incomplete observations, JASA 53 (1958), 457-481. The variance is
Greenwood's (1926); the band is symmetric in log(-log S), so that it stays between 0 and 1: J. D. Kalbfleisch,
R. L. Prentice, The Statistical Analysis of Failure Time Data, 2nd ed. (2002), section 1.4.
lifelines computes the same.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from .dialect import DAY_US
from .questions import AT_RISK_MIN

SHARES = (0.5, 0.8, 0.9, 0.95)
"""Shares of the predictions. The curve gives the age at which this share has a label."""
STEPS = 60
"""Steps of the drawn curve: the columns that a terminal has for it."""
LADDER_S = (
    60,
    300,
    900,
    3_600,
    10_800,
    21_600,
    43_200,
    *(86_400 * days for days in (1, 3, 7, 14, 30, 45, 60, 90, 180)),
)
"""Ages that people usually name."""
_NORMAL_975 = 1.959963984540054
"""The normal quantile of a 95 % band."""


class Point(Struct, frozen=True):
    """The share of predictions with a label by the age `age_s`, its band, and how many predictions were at risk."""

    age_s: float
    share: float
    low: float
    high: float
    at_risk: int


class Curve(Struct, frozen=True, kw_only=True):
    """The curve of one field, or why there is none. The field None is the first label of the row."""

    field: str | None
    refused: str | None = None
    rows: int = 0
    labels: int = 0
    points: list[Point] = []
    ages_s: dict[str, float | None] = {}
    """`p50`, `p80`, …: the age at which this share of predictions has a label; None if it is not reached."""
    maturity_s: int | None = None
    by_maturity: float | None = None
    usual_s: float | None = None
    """The age at which 80 % of the labels that came had come, also where there is no curve."""

    @property
    def sentence(self) -> str:
        """What the curve says, in one sentence."""
        if self.refused is not None:
            return self.refused
        if self.maturity_s is not None:
            if self.by_maturity is None:
                within = duration(self.maturity_s)
                return f"It is not known how many labels come within your {within}: too few rows are so old."
            return f"{self.by_maturity * 100:.0f} % of labels come within your {duration(self.maturity_s)}."
        last = self.points[-1]
        return f"{last.share * 100:.0f} % of predictions have a label after {duration(last.age_s)}."


def ages_us(oldest_us: int, *wanted_s: float | None) -> list[int]:
    """Return the ages of a curve's points: evenly spaced ones, those that people usually name, and the wanted ones."""
    drawn = [oldest_us * step // STEPS for step in range(1, STEPS + 1)]
    spoken = [round(age_s * 1e6) for age_s in (*LADDER_S, *wanted_s) if age_s is not None]
    return sorted({0, *drawn, *(age for age in spoken if age <= oldest_us)})


def curve_of(
    field: str | None, ages: Sequence[int], answer: Sequence[Sequence[Any]], maturity_s: int | None = None
) -> Curve:
    """Return the curve of the result of `questions.curve` for these ages.

    S(t) = prod over t_i <= t of (1 - d_i / n_i). Greenwood: var(log S) = sum of d_i / (n_i (n_i - d_i)). The query
    computes both label by label, and explains why the results are equal.
    """
    rows, labels = (sum(int(row[place]) for row in answer) for place in (1, 2))
    if not rows:
        return Curve(field=field, refused="There are no predictions yet.")
    if not labels:
        return Curve(
            field=field, rows=rows, refused="No label has come yet, so no delay is known.", maturity_s=maturity_s
        )
    if rows < AT_RISK_MIN:
        return Curve(
            field=field, rows=rows, labels=labels, maturity_s=maturity_s,
            refused=f"Fewer than {AT_RISK_MIN} predictions are too few to estimate a delay.",
        )  # fmt: skip
    by_place = {int(row[0]): row for row in answer}
    points, log_s, variance, left = [], 0.0, 0.0, rows
    last = max(int(row[5]) for row in answer if row[5] is not None)
    at_risk = min(int(row[6]) for row in answer if row[6] is not None)
    # The end is a point of its own: at one time many labels may come, and after it few are at risk.
    for age in sorted({last, *(age for age in ages if age <= last)}):
        if (row := by_place.get(bisect_left(ages, age))) is not None:
            log_s, variance, left = log_s + float(row[3]), variance + float(row[4]), left - int(row[1])
        # `left` is the number at risk just after the age, and `at_risk` that just before the last one.
        points.append(Point(age / 1e6, *_band(log_s, variance), left if age < last else at_risk))
    first = [
        min((int(row[7 + n]) for row in answer if row[7 + n] is not None), default=None) for n in range(len(SHARES))
    ]
    ages_s = {
        f"p{share * 100:g}": None if age is None or age > last else age / 1e6
        for share, age in zip(SHARES, first, strict=True)
    }
    by_maturity = next((point.share for point in points if point.age_s == maturity_s), None)
    goal = 0.8 * points[-1].share
    return Curve(
        field=field, rows=rows, labels=labels, points=points, ages_s=ages_s, maturity_s=maturity_s,
        by_maturity=by_maturity, usual_s=next((point.age_s for point in points if point.share >= goal > 0), None),
    )  # fmt: skip


def sensible_age_s(curve: Curve | None, maturity_s: int | None, history_s: float) -> tuple[float, str]:
    """Return the one age at which days are compared, and why this one.

    It is the maturity, if predictions are so old. Else it is the age at which 80 % of the labels have come, rounded up
    to whole days, hours or minutes.
    """
    if maturity_s is not None and maturity_s + 86_400 <= history_s:
        return float(maturity_s), "the maturity that joinback.toml declares"
    if curve is None or curve.usual_s is None:
        return 86_400.0, "a day, because no delay is known; see --age-days"
    age_s, why = curve.ages_s.get("p80"), "80 % of predictions have a label by then"
    if age_s is None:
        age_s, why = curve.usual_s, "80 % of the labels that came so far had come by then"
    unit = 86_400 if age_s > 43_200 else 3_600 if age_s > 1_800 else 60
    return max(1, math.ceil(age_s / unit)) * float(unit), why


def duration(seconds: float) -> str:
    """Return a time span as people say it: `30 days`, `1.5 hours`."""
    for unit, size in (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1)):
        if seconds >= size or size == 1:
            count = f"{seconds / size:.3g}"
            return f"{count} {unit}" + ("" if count == "1" else "s")
    raise AssertionError


def _band(log_s: float, variance: float) -> tuple[float, float, float]:
    """Return the share with a label, and its band."""
    s = math.exp(log_s)
    if log_s >= 0:
        return 0.0, 0.0, 0.0
    if s == 0.0 or variance == 0.0:
        return 1 - s, 1 - s, 1 - s
    spread = _NORMAL_975 * math.sqrt(variance) / -log_s
    low, high = (math.exp(-math.exp(math.log(-log_s) + sign * spread)) for sign in (-1, 1))
    return 1 - s, 1 - low, 1 - high


def days(seconds: float) -> float:
    return seconds * 1e6 / DAY_US
