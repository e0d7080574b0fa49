"""Two versions compared on ripe labels only, with a 95 % interval. Pure.

For shares it is R. G. Newcombe's hybrid of two Wilson intervals (Statistics in Medicine 17 (1998), 873-890, method 10).
For mean errors it is B. L. Welch's interval (Biometrika 34 (1947)) with Student's quantile, for the degrees of freedom
of F. E. Satterthwaite (Biometrics Bulletin 2 (1946)). A sampled row counts for 1 / its rate. The number of labels is L.
Kish's effective number (Survey Sampling (1965)); if all rates are equal, that is the plain number.
"""

import math

from msgspec import Struct

from .accuracy import Sums
from .pairing import Pair
from .student import NORMAL, quantile
from .versions import said

LABELS_MIN = 2
"""Labels of each version that an interval of mean errors needs. One error does not show how much errors vary. With an
effective number between 1 and 2 there is less than one degree of freedom, for which the interval says nothing."""


class Side(Struct, frozen=True):
    """One version: its ripe predictions, their labels by the age, the coverage, and the accuracy or the mean error."""

    version: str | None
    predictions: int
    labels: int
    coverage: float
    value: float | None
    brier: float | None = None
    """For probabilities: Brier's score."""
    bias: float | None = None
    """For numbers: the mean of output minus label."""


class Comparison(Struct, frozen=True, kw_only=True):
    """The value of `b` minus the value of `a`, with its interval."""

    a: Side
    b: Side
    difference: float | None
    low: float | None
    high: float | None
    method: str

    @property
    def sentence(self) -> str:
        if self.difference is None:
            return "There are not enough ripe labels of both versions to compare them."
        names = f"{said(self.b.version)} minus {said(self.a.version)}"
        if self.low is None or self.high is None:
            return f"{names}: {_signed(self.difference)}. An interval needs {LABELS_MIN} ripe labels of each version."
        is_clear = self.low > 0 or self.high < 0
        clear = "the interval excludes 0" if is_clear else "it may be chance: the interval includes 0"
        interval = f"({_signed(self.low)} to {_signed(self.high)})"
        return f"{names}: {_signed(self.difference)} {interval}; {clear}."


def compared(a: tuple[str | None, Sums], b: tuple[str | None, Sums], pair: Pair) -> Comparison:
    """Return the comparison of the sums of two versions over ripe days."""
    sides = [side(*a, pair), side(*b, pair)]
    is_share = pair.kind != "numbers"
    method = "Newcombe's hybrid score interval" if is_share else "Welch's interval"
    first, second = sides[0].value, sides[1].value
    if first is None or second is None:
        return Comparison(a=sides[0], b=sides[1], difference=None, low=None, high=None, method=method)
    low, high = newcombe(first, effective(a[1]), second, effective(b[1])) if is_share else _welch(a[1], b[1])
    return Comparison(a=sides[0], b=sides[1], difference=second - first, low=low, high=high, method=method)


def side(version: str | None, sums: Sums, pair: Pair) -> Side:
    extra = sums.by_age.mean_extra
    return Side(
        version=version,
        predictions=sums.rows,
        labels=sums.by_age.rows,
        coverage=sums.by_age.w / sums.w if sums.w else 0.0,
        value=sums.by_age.mean,
        brier=extra if pair.has_brier else None,
        bias=extra if pair.kind == "numbers" else None,
    )


def effective(sums: Sums) -> float:
    """Return Kish's effective number of labels: (sum w)^2 / sum w^2."""
    return sums.by_age.w**2 / sums.w2


def newcombe(pa: float, na: float, pb: float, nb: float, normal: float = NORMAL) -> tuple[float, float]:
    """Return the interval of pb - pa, for shares of na and nb labels. `normal` is the quantile of its level."""
    (la, ua), (lb, ub) = _wilson(pa, na, normal), _wilson(pb, nb, normal)
    difference = pb - pa
    return difference - math.hypot(pb - lb, ua - pa), difference + math.hypot(ub - pb, pa - la)


def _wilson(p: float, n: float, normal: float) -> tuple[float, float]:
    """Return the interval of a share, by E. B. Wilson, JASA 22 (1927)."""
    centre = (p + normal**2 / (2 * n)) / (1 + normal**2 / n)
    half = normal / (1 + normal**2 / n) * math.sqrt(p * (1 - p) / n + normal**2 / (4 * n**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def _welch(a: Sums, b: Sums) -> tuple[float, float] | tuple[None, None]:
    """Return the interval; None and None where a version has fewer labels than LABELS_MIN."""
    fa, fb = (effective(one) - 1 for one in (a, b))
    # Of two equal weights the effective number may be below 2 by a rounding.
    if min(fa, fb) < LABELS_MIN - 1 - 1e-9:
        return None, None
    (ma, va), (mb, vb) = _mean_and_variance(a, fa), _mean_and_variance(b, fb)
    share = va / (va + vb) if va + vb else 0.5
    half = quantile(1 / (share**2 / fa + (1 - share) ** 2 / fb)) * math.sqrt(va + vb)
    return mb - ma - half, mb - ma + half


def _mean_and_variance(sums: Sums, freedom: float) -> tuple[float, float]:
    """Return the mean and its variance: the weighted variance divided by its degrees of freedom."""
    mean = sums.by_age.value / sums.by_age.w
    spread = max(0.0, sums.value2 / sums.by_age.w - mean**2)
    return mean, spread / freedom


def _signed(value: float) -> str:
    return f"{value:+.3f}" if abs(value) < 1_000 else f"{value:+.4g}"
