"""Sentences about labels and scores that make a person doubt the comparison. Pure."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from joinback_worker.law.rules import Rules

from .accuracy import Cell
from .dialect import is_comparable, plain
from .pairing import Pair
from .scores import Scores
from .versions import said


def unseen_positive(pair: Pair) -> str | None:
    """Return a sentence if labels are texts and none of those seen is the positive one; else None."""
    if pair.kind != "score" or not pair.is_text or not pair.outcomes or pair.positive in pair.outcomes:
        return None
    seen = ", ".join(map(plain, pair.outcomes))
    return f"None of the newest labels is {plain(pair.positive)}; they are {seen}. Should --positive be one of them?"


def defaulted(field: str, rules: Rules) -> str | None:
    """Return a sentence if joinback.toml declares a default for the field; else None."""
    declared = rules.feedback.get(field)
    if declared is None or declared.default is None:
        return None
    return (
        f"The default of {field!r} is no label. Predictions that have it count as missing: in coverage, in bounds, and"
        " in what the figures say once all labels have come."
    )


def not_compared(cells: Iterable[Cell]) -> list[str]:
    """Return a sentence on predictions, and one on labels, that cannot be compared, if there are any."""
    outputs = labels = 0
    for cell in cells:
        if not cell.is_judgeable:
            outputs += cell.rows
        elif cell.place is not None and not cell.is_known:
            labels += cell.rows
    said = []
    if outputs:
        said.append(
            f"{outputs:,} predictions lack an output to compare: it is null, of another type, or beyond 1e100."
            " No figure of accuracy or coverage counts them."
        )
    if labels:
        said.append(
            f"{labels:,} labels that came cannot be compared: they are null, of another type, or beyond 1e100. Accuracy"
            " and coverage count them as missing; the label curve and the triangle count them."
        )
    return said


def one_value(field: str, outcomes: Collection[Any], samples: Iterable[tuple[Any, Mapping[str, Any]]]) -> str | None:
    """Return a sentence if all labels that the figures rest on are one value; `samples` say how it is spelt."""
    if len(outcomes) != 1:
        return None
    labels = (feedback.get(field) for _, feedback in samples)
    label = next((label for label in labels if label is not None and is_comparable(label)), *outcomes)
    return (
        f"The field {field!r} has only ever had one value, {plain(label)}:"
        " the figures say nothing about predictions that turn out otherwise."
    )


def inverted(scores: Sequence[Scores]) -> str | None:
    """Return a sentence if the scores of a version order the labels the wrong way round, by more than chance."""
    found = [(one.auc, one) for one in scores if one.is_inverted and one.auc is not None]
    if not found:
        return None
    auc, worst = min(found, key=lambda one: one[0])
    is_only = len(scores) == 1 and worst.version is None
    of = "" if is_only else f" of version {said(worst.version)}"
    return (
        f"The scores{of} order the labels the wrong way round: their AUC is {auc:.3f}, and chance gives 0.5."
        " Should --positive be the other label?"
    )
