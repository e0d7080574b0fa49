"""Outputs that are quantiles by their names."""

from datetime import UTC, datetime

import pytest

from joinback_worker.answers.answer import Report
from joinback_worker.answers.choice import Choice
from joinback_worker.answers.pairing import Pair, pair_of
from joinback_worker.answers.quantiles import is_quantile, share_of
from joinback_worker.cli.report_text import lines
from joinback_worker.dashboard.mailed import page
from joinback_worker.law.rules import Rules


@pytest.mark.parametrize(
    ("name", "share"),
    [
        ("p5", 0.05), ("p05", 0.05), ("p50", 0.5), ("P90", 0.9), ("q10", 0.1),
        ("quantile_90", 0.9), ("quantile25", 0.25), ("p97.5", 0.975), ("p2.5", 0.025), ("p99.9", 0.999),
        ("p995", 0.995), ("p050", 0.05), ("q0.9", 0.9), ("q.05", 0.05), ("quantile_0.975", 0.975),
    ],
)  # fmt: skip
def test_the_share_that_a_name_says(name: str, share: float) -> None:
    """One or two digits are percents, also with a decimal; three are thousandths; below one it is the share itself."""
    assert share_of(name) == share
    assert is_quantile(name)


@pytest.mark.parametrize("name", ["p0", "p00", "p000", "p100", "p0.0", "q1000", "price", "p", "p9x", "p10.", "q1.5.2"])
def test_a_name_that_says_none(name: str) -> None:
    """The smallest and the largest value are at most, or at least, all labels: there is no share to check."""
    assert share_of(name) is None


def test_which_quantiles_are_checked() -> None:
    """Outputs beside a number that have a share, in its order; p0 and p100 are no rivals of the number either."""
    samples = [({"v": 2.5, "p0": -9.0, "p100": 9.0, "p97.5": 1.96, "p5": -1.6}, {"sold": 1.5})]
    pair = pair_of(samples, Rules(), Choice())
    assert isinstance(pair, Pair)
    assert (pair.output, list(pair.quantiles.items())) == ("v", [("p5", 0.05), ("p97.5", 0.975)])


def test_a_share_is_printed_as_its_name_says() -> None:
    """97.5 stays 97.5, in the terminal and on the page."""
    pair = Pair(field="v", output="v", kind="numbers", quantiles={"p97.5": 0.975})
    at = datetime(2026, 1, 1, tzinfo=UTC)
    told = Report(
        application="a", now=at, statuses={}, age_s=86_400.0, age_why="as asked", curves=[], pair=pair,
        quantiles={"p97.5": 0.971},
    )  # fmt: skip
    sentence = "97.1 % of labels are at most p97.5; by its name 97.5 % should be."
    assert sentence in page(told)
    assert any(sentence in line for line in lines(told))
