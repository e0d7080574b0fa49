"""Two versions compared on ripe labels only, with an interval of 95 in 100. Pure.

Of shares: R. G. Newcombe's hybrid of two Wilson intervals (Statistics in Medicine 17 (1998), 873-890, method 10). Of
mean errors: B. L. Welch's (Biometrika 34 (1947)), with the normal quantile. Sampled rows count for 1 / their rate, and
by L. Kish's effective number (Survey Sampling (1965)), which is the plain one where all rates are the same.
"""

import math

from msgspec import Struct

from .accuracy import Sums

_Z = 1.959963984540054


class Side(Struct, frozen=True):
    """One version: ripe predictions, their labels by the age, the share of them, and what they say."""

    version: str | None
    predictions: int
    labels: int
    coverage: float
    value: float | None


class Comparison(Struct, frozen=True, kw_only=True):
    """The second less the first."""

    a: Side
    b: Side
    difference: float | None
    low: float | None
    high: float | None
    method: str

    @property
    def sentence(self) -> str:
        if self.difference is None or self.low is None or self.high is None:
            return "There are not enough ripe labels of both to compare them."
        clear = "the interval leaves out 0" if self.low > 0 or self.high < 0 else "it may be chance: the interval has 0"
        said = f"{self.difference:+.3f} ({self.low:+.3f} to {self.high:+.3f})"
        return f"{self.b.version} less {self.a.version}: {said}; {clear}."


def compared(a: tuple[str | None, Sums], b: tuple[str | None, Sums], is_share: bool) -> Comparison:
    """Return the comparison of two versions' sums over ripe days."""
    sides = [side(*a), side(*b)]
    method = "Newcombe's hybrid score interval" if is_share else "Welch's interval"
    first, second = sides[0].value, sides[1].value
    if first is None or second is None:
        return Comparison(a=sides[0], b=sides[1], difference=None, low=None, high=None, method=method)
    low, high = _newcombe(a[1], b[1]) if is_share else _welch(a[1], b[1])
    return Comparison(a=sides[0], b=sides[1], difference=second - first, low=low, high=high, method=method)


def side(version: str | None, sums: Sums) -> Side:
    coverage = sums.by_age.w / sums.w if sums.w else 0.0
    return Side(version, sums.rows, sums.by_age.rows, coverage, sums.by_age.mean)


def effective(sums: Sums) -> float:
    """Return Kish's number of labels: (sum w)^2 / sum w^2."""
    return sums.by_age.w**2 / sums.w2


def _newcombe(a: Sums, b: Sums) -> tuple[float, float]:
    (pa, la, ua), (pb, lb, ub) = (_wilson(one.by_age.value / one.by_age.w, effective(one)) for one in (a, b))
    difference = pb - pa
    return difference - math.hypot(pb - lb, ua - pa), difference + math.hypot(ub - pb, pa - la)


def _wilson(p: float, n: float) -> tuple[float, float, float]:
    """E. B. Wilson, JASA 22 (1927)."""
    centre = (p + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * math.sqrt(p * (1 - p) / n + _Z**2 / (4 * n**2))
    return p, max(0.0, centre - half), min(1.0, centre + half)


def _welch(a: Sums, b: Sums) -> tuple[float, float]:
    (ma, va), (mb, vb) = (_mean_and_variance(one) for one in (a, b))
    half = _Z * math.sqrt(va + vb)
    return mb - ma - half, mb - ma + half


def _mean_and_variance(sums: Sums) -> tuple[float, float]:
    """Of the mean: the weighted variance over the effective number, less one."""
    mean = sums.by_age.value / sums.by_age.w
    spread = max(0.0, sums.value2 / sums.by_age.w - mean**2)
    return mean, spread / max(1.0, effective(sums) - 1)
