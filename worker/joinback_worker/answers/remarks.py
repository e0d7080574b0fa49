"""Sentences about labels and scores that make a person doubt the comparison. Pure."""

from collections.abc import Sequence

from .dialect import plain
from .pairing import Pair
from .scores import Scores


def unseen_positive(pair: Pair) -> str | None:
    """Return a sentence if labels are texts and none of those seen is the positive one; else None."""
    if pair.kind != "score" or not pair.is_text or not pair.outcomes or pair.positive in pair.outcomes:
        return None
    seen = ", ".join(map(plain, pair.outcomes))
    return f"None of the newest labels is {plain(pair.positive)}; they are {seen}. Should --positive be one of them?"


def inverted(scores: Sequence[Scores]) -> str | None:
    """Return a sentence if the scores of a version order the labels the wrong way round, by more than chance."""
    found = [(one.auc, one) for one in scores if one.is_inverted and one.auc is not None]
    if not found:
        return None
    auc, worst = min(found, key=lambda one: one[0])
    of = "" if worst.version is None else f" of version {worst.version}"
    return (
        f"The scores{of} order the labels the wrong way round: their AUC is {auc:.3f}, and chance gives 0.5."
        " Should --positive be the other label?"
    )
