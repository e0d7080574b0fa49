"""What a report remarks about scores and labels: only what the figures bear out."""

import random

import pytest

from joinback_worker.answers.remarks import inverted
from joinback_worker.answers.scores import Scores, scores_of


def scores(labelled: list[tuple[float, bool]], w: float = 1.0) -> list[Scores]:
    """Return the scores of one version, counted pair by pair as `questions.scores` does."""
    positive = [score for score, label in labelled if label]
    other = [score for score, label in labelled if not label]
    in_order = sum((a > b) + (a == b) / 2 for a in positive for b in other) * w * w
    sums = (len(labelled) * w, sum(score for score, _ in labelled) * w, len(positive) * w, len(other) * w)
    return scores_of([("a", 0, len(labelled), *sums, len(positive) * w * w, len(other) * w * w, in_order)])


def drawn(chance: random.Random, rows: int, skill: float) -> list[tuple[float, bool]]:
    """Return scores and labels. Skill 0: they have nothing to do with each other; -1: a high score means false."""
    found = []
    for _ in range(rows):
        score = chance.random()
        found.append((score, chance.random() < 0.5 + skill * (score - 0.5)))
    return found


def test_chance_is_no_wrong_way_round() -> None:
    """Of 200 data sets of random labels none is told to turn --positive round; half of them have an AUC below 0.5."""
    chance = random.Random(197)
    told = [scores(drawn(chance, rows=chance.choice((5, 20, 60, 200)), skill=0.0)) for _ in range(200)]
    below = [one for (one,) in told if one.auc is not None and one.auc < 0.5]
    assert 70 < len(below) < 130
    assert not [one for one in told if inverted(one)]


def test_inverted_scores_are_told() -> None:
    """Of 50 data sets whose high scores mean the other label, each is told, with its AUC; none the right way round."""
    chance = random.Random(197)
    for _ in range(50):
        labelled = drawn(chance, rows=200, skill=-1.0)
        (one,) = scores(labelled)
        sentence = inverted([one])
        assert sentence is not None
        assert f"of version a order the labels the wrong way round: their AUC is {one.auc:.3f}" in sentence
        assert inverted(scores([(1 - score, label) for score, label in labelled])) is None


def test_a_weight_is_no_further_label() -> None:
    """A weight that all rows have changes neither the AUC nor what chance may give."""
    labelled = drawn(random.Random(197), rows=40, skill=-1.0)
    (plain,), (heavy,) = scores(labelled), scores(labelled, w=100.0)
    assert (heavy.auc, heavy.auc_by_chance) == pytest.approx((plain.auc, plain.auc_by_chance))
