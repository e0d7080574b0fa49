"""How late labels come: Kaplan and Meier's estimate, with those that have none yet as censored. Pure.

E. L. Kaplan, P. Meier, Nonparametric estimation from incomplete observations, JASA 53 (1958), 457-481. The variance is
Greenwood's (1926); the band is symmetric in log(-log S), so that it stays between 0 and 1: J. D. Kalbfleisch,
R. L. Prentice, The Statistical Analysis of Failure Time Data, 2nd ed. (2002), section 1.4. lifelines draws the same.
"""

import math
from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from .dialect import DAY_US
from .questions import AT_RISK_MIN

SHARES = (0.5, 0.8, 0.9, 0.95)
"""Of the predictions: when so many have a label."""
STEPS = 60
"""Of the drawn curve: a terminal's columns."""
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
"""Ages that people speak of."""
_NORMAL_975 = 1.959963984540054
"""Of a band that holds 95 in 100."""


class Point(Struct, frozen=True):
    """Of the predictions `age_s` old: the share that has a label by then, its band, and how many were at risk."""

    age_s: float
    share: float
    low: float
    high: float
    at_risk: int


class Curve(Struct, frozen=True, kw_only=True):
    """The curve of one field (None: of the first label), or why there is none."""

    field: str | None
    refused: str | None = None
    rows: int = 0
    labels: int = 0
    points: list[Point] = []
    ages_s: dict[str, float | None] = {}
    """By share: after how long so many predictions have a label; None: that is not known, or never."""
    maturity_s: int | None = None
    by_maturity: float | None = None

    @property
    def sentence(self) -> str:
        """What the curve says, in a line."""
        if self.refused is not None:
            return self.refused
        if self.maturity_s is not None:
            if self.by_maturity is None:
                return f"How many labels come within your {duration(self.maturity_s)}: not known, too few are so old."
            return f"{self.by_maturity * 100:.0f} % of labels come within your {duration(self.maturity_s)}."
        last = self.points[-1]
        return f"{last.share * 100:.0f} % of predictions have a label after {duration(last.age_s)}."


def ages_us(oldest_us: int, *wanted_s: float | None) -> list[int]:
    """Return the ages at which a curve is told: the drawn ones, those people speak of, and those that are wanted."""
    drawn = [oldest_us * step // STEPS for step in range(1, STEPS + 1)]
    spoken = [round(age_s * 1e6) for age_s in (*LADDER_S, *wanted_s) if age_s is not None]
    return sorted({0, *drawn, *(age for age in spoken if age <= oldest_us)})


def curve_of(
    field: str | None, ages: Sequence[int], answer: Sequence[Sequence[Any]], maturity_s: int | None = None
) -> Curve:
    """Return the curve of what `questions.curve` answered for these ages.

    S(t) = prod over t_i <= t of (1 - d_i / n_i); Greenwood: var(log S) = sum of d_i / (n_i (n_i - d_i)), each taken
    label by label, which comes to the same: see there.
    """
    rows, labels = (sum(int(row[place]) for row in answer) for place in (1, 2))
    if not rows:
        return Curve(field=field, refused="There are no predictions yet.")
    if not labels:
        return Curve(
            field=field, rows=rows, refused="No label came yet: there is no delay to tell.", maturity_s=maturity_s
        )
    by_place = {int(row[0]): row for row in answer}
    points, log_s, variance, left = [], 0.0, 0.0, rows
    last = max((int(row[5]) for row in answer if row[5] is not None), default=0)
    for place, age in enumerate(ages):
        if place in by_place:
            _, ended, _, step, greenwood = by_place[place][:5]
            log_s, variance, left = log_s + float(step), variance + float(greenwood), left - int(ended)
        # At risk just after the age; the steps up to it had at least as many.
        if left < AT_RISK_MIN:
            break
        points.append(Point(age / 1e6, *_band(log_s, variance), left))
    if not points:
        return Curve(
            field=field, rows=rows, labels=labels, maturity_s=maturity_s,
            refused=f"Fewer than {AT_RISK_MIN} predictions: too few to tell a delay from.",
        )  # fmt: skip
    first = [
        min((int(row[6 + n]) for row in answer if row[6 + n] is not None), default=None) for n in range(len(SHARES))
    ]
    ages_s = {
        f"p{share * 100:g}": None if age is None or age > last else age / 1e6
        for share, age in zip(SHARES, first, strict=True)
    }
    by_maturity = next((point.share for point in points if point.age_s == maturity_s), None)
    return Curve(
        field=field, rows=rows, labels=labels, points=points, ages_s=ages_s, maturity_s=maturity_s,
        by_maturity=by_maturity,
    )  # fmt: skip


def sensible_age_s(curve: Curve | None, maturity_s: int | None, history_s: float) -> tuple[float, str]:
    """Return the one age, and why that one: the maturity, where predictions are so old; else when 80 % of what ever
    comes has come, in whole days where it is days.
    """
    if maturity_s is not None and maturity_s + 86_400 <= history_s:
        return float(maturity_s), "the maturity of joinback.toml"
    if curve is None or not curve.points:
        return 86_400.0, "a day, as no delay is known"
    age_s, why = curve.ages_s.get("p80"), "when 80 % of predictions have a label"
    if age_s is None:
        goal = 0.8 * curve.points[-1].share
        age_s = next(point.age_s for point in curve.points if point.share >= goal)
        why = "when 80 % of the labels that came have come"
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
