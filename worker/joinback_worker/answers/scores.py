"""Scores compared with ripe labels: does a 0.3 come true three times in ten, and do higher scores come true more? Pure.

Brier's score is the mean of (p - y)^2 (G. W. Brier, Monthly Weather Review 78 (1950)). The area under the ROC curve is
the share of pairs of a positive and a negative label that the scores order rightly; a tie counts for half (J. A.
Hanley, B. J. McNeil, Radiology 143 (1982)). The calibration error is the weighted mean over ten equal buckets (M. P.
Naeini et al., Obtaining well calibrated probabilities using Bayesian binning, AAAI 2015).
"""

from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import Struct

from .questions import TEN


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
    calibration_error: float | None
    buckets: list[Bucket]


def scores_of(answer: Iterable[Sequence[Any]]) -> list[Scores]:
    """Return the scores of the result of `questions.scores`, by version."""
    pairs: dict[str | None, list[float]] = {}
    tenths: dict[str | None, list[tuple[Bucket, float]]] = {}
    for version, tenth, rows, *sums in answer:
        w, score, positive, negative, in_order = map(float, sums)
        so_far = pairs.get(version, [0.0, 0.0, 0.0])
        pairs[version] = [a + b for a, b in zip(so_far, (in_order, positive, negative), strict=True)]
        if tenth is not None:
            bucket = Bucket(tenth / TEN, (tenth + 1) / TEN, int(rows), score / w, positive / w)
            tenths.setdefault(version, []).append((bucket, w))
    return [
        Scores(
            version=version,
            labels=sum(bucket.labels for bucket, _ in tenths.get(version, [])),
            auc=in_order / (positive * negative) if positive and negative else None,
            calibration_error=_error(tenths.get(version, [])),
            buckets=[bucket for bucket, _ in tenths.get(version, [])],
        )
        for version, (in_order, positive, negative) in sorted(pairs.items(), key=lambda item: item[0] or "")
    ]


def _error(buckets: Sequence[tuple[Bucket, float]]) -> float | None:
    whole = sum(w for _, w in buckets)
    return sum(w * abs(one.mean_score - one.share_positive) for one, w in buckets) / whole if whole else None
