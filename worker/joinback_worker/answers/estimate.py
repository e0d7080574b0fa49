"""The accuracy that all labels would show, estimated: each label counts for those of its outcome still to come. Pure.

A label of outcome y on a day of age a counts 1 / F_y(a), where F_y(a) is the share of y's labels that old cohorts had
at that age: inverse probability weighting, D. G. Horvitz, D. J. Thompson, JASA 47 (1952), 663-685, with the
probability of being seen by outcome, as delayed-feedback models have it (O. Chapelle, Modeling delayed feedback in
display advertising, KDD 2014). It is wrong when delays changed since; where an outcome has no old cohort there is none.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any, Protocol

from msgspec import Struct

LABELS_MIN = 30
"""Of an outcome in old cohorts: its delays would be told by fewer."""
SHARE_MIN = 0.1
"""Below it a label would count for more than ten."""
CAP_D = 45.0
"""How old a reference cohort must be at most, unless the age itself is greater: two cohorts a quarter remain."""


class Known(Protocol):
    """Labels of one outcome: what they count for, and what of it is right."""

    w: float
    value: float


class Delays(Struct, frozen=True):
    """By outcome: of the labels that came within the reference age, the share by each of its equal parts."""

    reference_d: float
    shares: Mapping[Any, Sequence[float]]

    def share(self, outcome: Any, age_d: float) -> float | None:
        """Return F of an outcome at an age, between the parts' ends in a straight line; None where it is not known."""
        shares = self.shares.get(outcome)
        if shares is None:
            return None
        place = min(age_d / self.reference_d, 1.0) * (len(shares) - 1)
        low = min(int(place), len(shares) - 2)
        return shares[low] + (shares[low + 1] - shares[low]) * (place - low)


def reference_age_d(age_d: float) -> float:
    """Return how old a cohort must be to tell the delays: three times the age, 45 days at most."""
    return max(age_d, min(3 * age_d, CAP_D))


def delays_of(answer: Iterable[Sequence[Any]], reference_d: float, bins: int) -> Delays | None:
    """Return what `questions.delays_by_outcome` answered; None without an old cohort."""
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
    return Delays(reference_d, shares) if shares else None


def weighted(known: Mapping[Any, Known], age_d: float, delays: Delays) -> float | None:
    """Return the estimate for predictions of this age; None if an outcome's delays are not known, or too little is."""
    right = whole = 0.0
    for outcome, labels in known.items():
        share = delays.share(outcome, age_d)
        if share is None or share < SHARE_MIN:
            return None
        right += labels.value / share
        whole += labels.w / share
    return right / whole if whole else None
