"""An estimate of the accuracy that all labels will show: each label also counts for missing labels like it. Pure.

A label of outcome y on a day of age a counts for 1 / F_y(a). F_y(a) is the share of y's labels that old cohorts had at
that age. This is inverse probability weighting (D. G. Horvitz, D. J. Thompson, JASA 47 (1952), 663-685), where the
probability of being seen depends on the outcome, as in delayed-feedback models (O. Chapelle, Modeling delayed feedback
in display advertising, KDD 2014). It is an estimate of the labels that come by the age of the old cohorts, as these do
not show later ones. It is wrong if delays have changed since. Without an old cohort for each outcome, and for two
outcomes at least, there is no estimate: if only one was ever told, the others may be what is missing.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any, Protocol

from msgspec import Struct

LABELS_MIN = 30
"""The labels that an outcome needs in old cohorts. Fewer do not show its delays."""
SHARE_MIN = 0.1
"""The smallest F. Below it, one label would count for more than ten."""
CAP_D = 45.0
"""A reference cohort need not be older than this, unless the age itself is greater. So there are two per quarter."""


class Known(Protocol):
    """Labels of one outcome: their weight, and the weight of the right ones."""

    w: float
    value: float


class Delays(Struct, frozen=True):
    """For each outcome, the share of its labels that came by the end of each equal part of the reference age."""

    reference_d: float
    shares: Mapping[Any, Sequence[float]]

    def share(self, outcome: Any, age_d: float) -> float | None:
        """Return F of an outcome at an age, interpolated linearly; None if it is not known."""
        shares = self.shares.get(outcome)
        if shares is None:
            return None
        place = min(age_d / self.reference_d, 1.0) * (len(shares) - 1)
        low = min(int(place), len(shares) - 2)
        return shares[low] + (shares[low + 1] - shares[low]) * (place - low)


def reference_age_d(age_d: float) -> float:
    """Return how old a cohort must be to show the delays: three times the age, at most CAP_D, at least the age."""
    return max(age_d, min(3 * age_d, CAP_D))


def delays_of(answer: Iterable[Sequence[Any]], reference_d: float, bins: int) -> Delays | None:
    """Return the delays of the result of `questions.delays_by_outcome`; None without old cohorts of two outcomes."""
    weights: dict[Any, list[float]] = {}
    rows: dict[Any, int] = {}
    for outcome, place, weight, count in answer:
        weights.setdefault(outcome, [0.0] * bins)[min(int(place), bins - 1)] += float(weight)
        rows[outcome] = rows.get(outcome, 0) + int(count)
    shares = {
        outcome: [0.0, *(part / sum(parts) for part in accumulate(parts))]
        for outcome, parts in weights.items()
        if rows[outcome] >= LABELS_MIN
    }
    return Delays(reference_d, shares) if len(shares) > 1 else None


def weighted(known: Mapping[Any, Known], age_d: float, delays: Delays) -> float | None:
    """Return the estimate for predictions of this age; None if the delays of an outcome are not known well enough."""
    right = whole = 0.0
    for outcome, labels in known.items():
        share = delays.share(outcome, age_d)
        if share is None or share < SHARE_MIN:
            return None
        right += labels.value / share
        whole += labels.w / share
    return right / whole if whole else None
