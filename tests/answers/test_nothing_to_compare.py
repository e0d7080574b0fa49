"""Samples of which some or all hold nothing to compare."""

from typing import Any

import pytest

from joinback.errors import ConfigurationError
from joinback_worker.answers.choice import Choice
from joinback_worker.answers.pairing import pair_of
from joinback_worker.law.rules import Rules


def test_a_number_too_far_is_not_looked_at() -> None:
    """An outlier among the samples changes no guess; if there is nothing else, the reason says so."""
    samples = [({"p": 0.2}, {"y": True}), ({"p": 0.7}, {"y": False})]
    outliers: list[Any] = [({"p": 10**400}, {"y": True}), ({"p": 0.1}, {"y": -(10**400)}), ({"p": -1e200}, {"y": 1})]
    assert pair_of([*outliers, *samples], Rules(), Choice()) == pair_of(samples, Rules(), Choice())
    assert "is beyond 1e+100 in each row" in str(pair_of(outliers, Rules(), Choice()))
    with pytest.raises(ConfigurationError, match="the field 'y' has no such label"):
        pair_of(samples, Rules(), Choice(positive=10**400))


@pytest.mark.parametrize(
    ("samples", "choice", "says"),
    [
        ([({}, {"y": True})], Choice(), "there is no output to compare: the newest predictions with a label"),
        ([({}, {"y": True, "z": 1})], Choice(), "there is no output to compare"),
        ([({}, {"y": True})], Choice(field="y"), "there is no output to compare"),
        ([({"p": 0.2}, {})], Choice(), "there is no label to compare: the newest feedback is empty"),
    ],
)
def test_nothing_to_compare(samples: Any, choice: Choice, says: str) -> None:
    """Outputs without a name or a value leave nothing to choose, and so does such feedback: one line says so."""
    assert str(pair_of(samples, Rules(), choice)).startswith(says)


def test_an_output_that_is_not_there() -> None:
    """The names that are there are listed, also an empty one; only an output that is a value is called one."""
    for outputs, known in (({}, "known are none"), (0.4, "known are none: the output is a value"), ({"": 1}, "are ''")):
        with pytest.raises(ConfigurationError, match=f"no output 'q'; .*{known}$"):
            pair_of([(outputs, {"y": True})], Rules(), Choice(output="q"))
