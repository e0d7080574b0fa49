"""Scores compared with ripe labels: does a 0.3 come true three times in ten, and do higher scores come true more? Pure.

Brier's score is the mean of (p - y)^2 (G. W. Brier, Monthly Weather Review 78 (1950)). The area under the ROC curve is
the share of pairs of a positive and a negative label that the scores order rightly; a tie counts for half (J. A.
Hanley, B. J. McNeil, Radiology 143 (1982)). The calibration error is the weighted mean over ten equal buckets (M. P.
Naeini et al., Obtaining well calibrated probabilities using Bayesian binning, AAAI 2015).

If scores say nothing of n1 positive and n2 other labels, the area is 1/2 with the variance (n1 + n2 + 1) / (12 n1 n2)
(H. B. Mann, D. R. Whitney, Annals of Mathematical Statistics 18 (1947)). Ties make it smaller. Of sampled rows n1 and
n2 are Kish's effective numbers, as in `compare`.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import Struct

from .questions import TEN
from .slower import NORMAL
from .versions import order


class Bucket(Struct, frozen=True):
    """The ripe labels whose scores are from `low` to `high`."""

    low: float
    high: float
    labels: int
    mean_score: float
    share_positive: float


class Scores(Struct, frozen=True, kw_only=True):
    """The scores of one version."""

    version: str | None
    labels: int
    auc: float | None
    """None while only one of the two outcomes was seen."""
    auc_by_chance: float | None = None
    """Scores that say nothing of the labels come below it once in two thousand reports: NORMAL has two sides."""
    calibration_error: float | None
    buckets: list[Bucket]

    @property
    def is_inverted(self) -> bool:
        """Whether high scores mean the other label, by more than chance."""
        return self.auc is not None and self.auc_by_chance is not None and self.auc < self.auc_by_chance


def scores_of(answer: Iterable[Sequence[Any]]) -> list[Scores]:
    """Return the scores of the result of `questions.scores`, by version."""
    pairs: dict[str | None, list[float]] = {}
    tenths: dict[str | None, list[tuple[Bucket, float]]] = {}
    for version, tenth, rows, *sums in answer:
        w, score, positive, *_ = sums = [float(one) for one in sums]
        so_far = pairs.get(version, [0.0] * 5)
        pairs[version] = [a + b for a, b in zip(so_far, sums[2:], strict=True)]
        if tenth is not None:
            bucket = Bucket(tenth / TEN, (tenth + 1) / TEN, int(rows), score / w, positive / w)
            tenths.setdefault(version, []).append((bucket, w))
    return [
        Scores(
            version=version,
            labels=sum(bucket.labels for bucket, _ in tenths.get(version, [])),
            auc=in_order / (positive * negative) if positive and negative else None,
            auc_by_chance=_auc_by_chance(positive**2 / squared, negative**2 / others) if squared and others else None,
            calibration_error=_error(tenths.get(version, [])),
            buckets=[bucket for bucket, _ in tenths.get(version, [])],
        )
        for version, (positive, negative, squared, others, in_order) in sorted(
            pairs.items(), key=lambda item: order(item[0])
        )
    ]


def _auc_by_chance(positive: float, negative: float) -> float:
    return 0.5 - NORMAL * math.sqrt((positive + negative + 1) / (12 * positive * negative))


def _error(buckets: Sequence[tuple[Bucket, float]]) -> float | None:
    whole = sum(w for _, w in buckets)
    return sum(w * abs(one.mean_score - one.share_positive) for one, w in buckets) / whole if whole else None
