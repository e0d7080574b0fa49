"""The intervals of two versions: those of the papers and of SciPy, also of two or three labels."""

from collections.abc import Sequence

import pytest

from joinback_worker.answers.accuracy import Part, Sums
from joinback_worker.answers.compare import compared
from joinback_worker.answers.pairing import Pair
from joinback_worker.answers.student import NORMAL, quantile

SHARES = Pair(field="a", output="a", kind="classes")


def sums(n: int, right: float, w: float = 1.0) -> Sums:
    """Of n ripe labels of one weight."""
    part = Part(n, n * w, right * w, 0.0)
    return Sums(rows=n, w=n * w, known=part, by_age=part, w2=n * w * w, value2=right * w)


def test_the_interval_of_two_shares_is_newcombes() -> None:
    """56 of 70 against 48 of 80: 0.0524 to 0.3339, as in his table II; the same if every row counts twenty."""
    for weight in (1.0, 20.0):
        found = compared(("b", sums(80, 48, weight)), ("a", sums(70, 56, weight)), SHARES)
        assert found.difference == pytest.approx(0.2)
        assert (found.low, found.high) == (pytest.approx(0.0524, abs=5e-5), pytest.approx(0.3339, abs=5e-5))
        assert "excludes 0" in found.sentence


NUMBERS = Pair(field="a", output="a", kind="numbers")


def errors(values: Sequence[float], w: float = 1.0) -> Sums:
    """Of ripe labels with these absolute errors, all of one weight."""
    n = len(values)
    part = Part(n, n * w, sum(values) * w, 0.0)
    squares = sum(value**2 for value in values)
    return Sums(rows=n, w=n * w, known=part, by_age=part, w2=n * w * w, value2=squares * w)


FEW = [0.39, 0.11], [2.2, 1.4]


def test_an_interval_of_few_labels() -> None:
    """Two labels of each version do not show a difference, however the rows are sampled: -1.894 to 4.994."""
    for weight in (1.0, 1 / 0.3):
        found = compared(("A", errors(FEW[0], weight)), ("B", errors(FEW[1], weight)), NUMBERS)
        assert (found.low, found.high) == (pytest.approx(-1.894, abs=1e-3), pytest.approx(4.994, abs=1e-3))
        assert found.sentence == "B minus A: +1.550 (-1.894 to +4.994); it may be chance: the interval includes 0."


def test_one_label_gives_no_interval() -> None:
    """With a single label of a version nobody knows how much its errors vary: the sentence says so."""
    uneven = errors([0.39, 0.11])
    uneven.w2 = 3.0
    for few in (errors([0.39]), uneven):
        found = compared(("A", few), ("B", errors([2.2, 1.4, 1.5])), NUMBERS)
        assert (found.low, found.high) == (None, None)
        assert found.sentence.endswith(". An interval needs 2 ripe labels of each version.")


def test_errors_of_any_size() -> None:
    """The largest numbers that are compared have an interval, which is printed in a few characters."""
    found = compared(("A", errors([2e100, 1e100])), ("B", errors([1e100, 0.0])), NUMBERS)
    assert "B minus A: -1e+100 (-" in found.sentence
    assert len(found.sentence) < 100
    alike = compared(("A", errors([1.0, 1.0])), ("B", errors([1.0, 1.0])), NUMBERS)
    assert (alike.low, alike.high) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("freedom", "want"),
    [(1, 12.706204736), (2, 4.302652730), (3, 3.182446305), (10, 2.228138852), (60, 2.000297822), (120, 1.979930405)],
)
def test_the_quantile_is_that_of_the_tables(freedom: float, want: float) -> None:
    """It is Student's, and with ever more degrees of freedom the normal one."""
    assert quantile(freedom) == pytest.approx(want, abs=1e-9)
    assert quantile(1e12) == pytest.approx(NORMAL, abs=1e-9)


@pytest.mark.heavy
def test_the_interval_is_that_of_scipy() -> None:
    """Quantiles of whole and broken degrees of freedom, and intervals of two to three hundred labels, are SciPy's."""
    from scipy.stats import t, ttest_ind

    for freedom in (1, 1.01, 1.24, 1.5, 2, 2.7, 5, 33.3, 99.99, 100, 250, 1e4, 1e7):
        assert quantile(freedom) == pytest.approx(t.ppf(0.975, freedom), rel=1e-9)
    for few, many in ((FEW[0], FEW[1]), ([1.0, 2.0, 4.0], [0.5, 0.7] * 150), ([3.0, 3.1], [1.0, 5.0, 2.0])):
        found = compared(("A", errors(few)), ("B", errors(many)), NUMBERS)
        want = ttest_ind(many, few, equal_var=False).confidence_interval(0.95)
        assert (found.low, found.high) == pytest.approx((want.low, want.high), rel=1e-9)
