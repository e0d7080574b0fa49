"""Which output is compared with which field: told, declared, or guessed from rows, and never by chance."""

import re
from typing import Any

import pytest

from joinback.errors import ConfigurationError
from joinback_worker.answers.choice import Choice
from joinback_worker.answers.pairing import Pair, pair_of
from joinback_worker.answers.remarks import unseen_positive
from joinback_worker.law.rules import FieldRules, Rules

SAMPLES = [
    ({"default": 0.2, "tier": "a"}, {"repaid": True, "tier": "b"}),
    ({"default": 0.7, "tier": "b"}, {"repaid": False}),
]


@pytest.mark.parametrize(
    ("samples", "rules", "choice", "want"),
    [
        (SAMPLES, Rules(), Choice(), Pair(field="tier", output="tier", kind="classes", is_text=True, outcomes=["b"])),
        (
            SAMPLES,
            Rules(feedback={"repaid": FieldRules(output="default", threshold=0.3, positive=False)}),
            Choice(),
            Pair(field="repaid", output="default", kind="score", threshold=0.3, positive=False, outcomes=[0.0, 1.0],
                 guessed=False),
        ),
        (
            SAMPLES,
            Rules(),
            Choice(field="repaid", output="default", positive=False, threshold=0.6),
            Pair(field="repaid", output="default", kind="score", threshold=0.6, positive=False, outcomes=[0.0, 1.0],
                 guessed=False),
        ),
        ([(0.07, {"hit": 1})], Rules(), Choice(), Pair(field="hit", output=None, kind="score", outcomes=[1.0])),
        ([(1, {"hit": 1})], Rules(), Choice(), Pair(field="hit", output=None, kind="classes", outcomes=[1.0])),
        (
            [({"n": 3, "p90": 9}, {"n": 2.5})],
            Rules(),
            Choice(),
            Pair(field="n", output="n", kind="numbers", quantiles={"p90": 0.9}),
        ),
    ],
)  # fmt: skip
def test_a_pair_is_guessed_declared_or_told(samples: Any, rules: Rules, choice: Choice, want: Pair) -> None:
    """What is told wins over what is declared, and that over a guess; values say how the two are compared."""
    assert pair_of(samples, rules, choice) == want


WITHIN = [({"scores": {"default": 0.2, "p90": 1}, "default.at": 1, "why": {}}, {"repaid": True})]


@pytest.mark.parametrize(
    ("samples", "output", "path"),
    [
        (WITHIN, "scores.default", ("scores", "default")),
        # A dot may be part of a name, and the name is meant then.
        (WITHIN, "default.at", ("default.at",)),
        ([({"a": {"b": 0.5}, "a.b": 0.7}, {"repaid": True})], "a.b", ("a.b",)),
        ([({"a": {"b": {"c": 0.5}}}, {"repaid": True})], "a.b.c", ("a", "b", "c")),
    ],
)
def test_an_output_within_another(samples: Any, output: str, path: tuple[str, ...]) -> None:
    """Names with dots between lead to it, told or declared; alone it is guessed."""
    told = pair_of(samples, Rules(), Choice(output=output))
    declared = pair_of(samples, Rules(feedback={"repaid": FieldRules(output=output)}), Choice())
    assert isinstance(told, Pair)
    assert (told, told.path, told.output) == (declared, path, output)


def test_the_quantiles_beside_it() -> None:
    """Of a number within another its quantiles are those beside it."""
    samples = [({"price": {"mean": 5, "p90": 9}, "p10": 1}, {"sold": 7.5})]
    pair = pair_of(samples, Rules(), Choice(output="price.mean"))
    assert isinstance(pair, Pair)
    assert pair.quantiles == {"price.p90": 0.9}
    assert pair.beside("price.p90") == ("price", "p90")


def test_an_output_that_holds_others() -> None:
    """It is no value to compare: one of those within is named instead."""
    for rules, choice in (
        (Rules(), Choice(output="scores")),
        (Rules(feedback={"repaid": FieldRules(output="scores")}), Choice()),
    ):
        with pytest.raises(
            ConfigurationError, match=r"'scores' is an object: name an output in it, such as scores\.default"
        ):
            pair_of(WITHIN, rules, choice)


def test_a_pair_that_is_not_clear_is_asked_for() -> None:
    """Where several could be meant, none is taken; what is not there is named."""
    samples = [({"a": 0.1, "b": 0.2}, {"x": True, "y": False})]
    assert "give --output and --field" in str(pair_of(samples, Rules(), Choice()))
    for choice, known in ((Choice(field="z"), "x, y"), (Choice(output="c"), "a, b")):
        with pytest.raises(ConfigurationError, match=known):
            pair_of(samples, Rules(), choice)


@pytest.mark.parametrize(
    ("samples", "rules", "choice", "want"),
    [
        # A probability is of a yes or no, and not of a number of days that stands beside it.
        ([({"default": 0.2}, {"days_late": 9, "repaid": True})], Rules(), Choice(), ("repaid", "default")),
        ([({"default": 0.2}, {"days_late": 9})], Rules(), Choice(), None),
        ([({"price": 200.5}, {"returned": False, "sold_for": 190})], Rules(), Choice(), ("sold_for", "price")),
        # Two that suit equally: none of them, unless somebody says which.
        ([({"a": 0.2, "b": 0.3}, {"hit": True})], Rules(), Choice(), None),
        ([({"a": 0.2, "b": 0.3}, {"hit": True})], Rules(), Choice(output="b"), ("hit", "b")),
        ([({"a": 0.2}, {"hit": True, "seen": True})], Rules(), Choice(), None),
        ([({"a": 0.2}, {"hit": True, "seen": True})], Rules(), Choice(output="a"), None),
        ([({"a": 0.2}, {"hit": True, "seen": True})], Rules(labels=["seen"]), Choice(), ("seen", "a")),
        # A quantile is no rival of the number it belongs to.
        ([({"p10": 1, "price": 5, "p90": 9}, {"sold_for": 6})], Rules(), Choice(), ("sold_for", "price")),
    ],
)
def test_what_suits_best_is_guessed(samples: Any, rules: Rules, choice: Choice, want: tuple[str, str] | None) -> None:
    """The guess is the only one that suits best; if there is none, the report asks."""
    pair = pair_of(samples, rules, choice)
    assert (None if isinstance(pair, str) else (pair.field, pair.output)) == want


def test_a_number_needs_a_threshold_to_say_yes_or_no() -> None:
    """Points from 300 to 850 are no yes or no: none of them would ever be right."""
    samples = [({"points": 300}, {"repaid": True}), ({"points": 720}, {"repaid": False})]
    assert "From which number on does it mean yes? Give --threshold" in str(pair_of(samples, Rules(), Choice()))
    with pytest.raises(ConfigurationError, match="'repaid' is yes or no: give --threshold"):
        pair_of(samples, Rules(), Choice(output="points"))


FRAUD = [({"score": 0.2, "ms": 9}, {"fate": "ok", "by": 7}), ({"score": 0.7, "ms": 8}, {"fate": "fraud", "by": 7})]


@pytest.mark.parametrize(
    ("samples", "choice", "says"),
    [
        (FRAUD, Choice(field="fate", output="score"), "Give --positive, such as --positive fraud"),
        ([({"score": 20}, {"y": "no"}), ({"score": 70}, {"y": "yes"})], Choice(), "--positive no, and --threshold"),
        ([({"p": 0.2}, {"stars": 5})], Choice(), "compare the two as they are, give --output p. If the output is the"),
        ([(0.2, {"stars": 5})], Choice(), "as they are, give --field stars. If the output is the probability of one"),
        ([({"yes": True}, {"ok": "false"})], Choice(), 'declare `type = "bool"` for the field'),
        ([({"yes": True}, {"ok": "fine"})], Choice(), "true where it confirms the output's true"),
        ([({"p": 3.5}, {"p": text}) for text in ("3.5", "4", "9")], Choice(), 'declare `type = "float"`'),
        ([({"p": 0.5}, {"why": f"text {n}"}) for n in range(21)], Choice(), "more than 20 different values"),
        ([([0.2, 0.8], {"y": True})], Choice(), "the output is a list, and the field 'y' is true or false. A report"),
        ([({"p": 0.2}, {"y": {"a": 1}})], Choice(), "the field 'y' is an object"),
        ([({"told": "foo"}, {"y": True})], Choice(), "Log both as values of one type"),
        ([({"p": 0.2}, {"y": None})], Choice(), "no row has both the output 'p' and the field 'y'"),
    ],
)
def test_two_that_cannot_be_compared(samples: Any, choice: Choice, says: str) -> None:
    """If one output and one field are left, the report says why they cannot be compared, and asks for no choice."""
    reason = str(pair_of(samples, Rules(), choice))
    assert says in reason
    assert "not clear" not in reason


def test_what_is_missing_can_be_given() -> None:
    """With the option that the reason names there is a comparison, also where a text looks like a number."""
    for samples, choice in (
        (FRAUD, Choice(field="fate", output="score", positive="fraud")),
        ([({"p": 0.2}, {"stars": 5})], Choice(output="p")),
        ([(0.2, {"stars": 5})], Choice(field="stars")),
        ([({"p": 0.2}, {"y": "1"}), ({"p": 0.3}, {"y": "0"})], Choice(positive=1)),
        ([({"p": 0.2}, {"y": "true"}), ({"p": 0.3}, {"y": "false"})], Choice(positive=True)),
    ):
        assert isinstance(pair_of(samples, Rules(), choice), Pair)


@pytest.mark.parametrize(
    ("samples", "choice", "says"),
    [
        (FRAUD, Choice(), "give --output and --field (outputs: ms, score; fields: by, fate)"),
        ([({"a": 0.2}, {"hit": True, "seen": True})], Choice(), "which field to compare: give --field (fields: hit, s"),
        ([(0.2, {"hit": True, "seen": True})], Choice(), "which field to compare: give --field (fields: hit, seen)"),
        ([({"a": 0.2, "b": 0.3}, {"hit": True})], Choice(), "which output to compare: give --output (outputs: a, b)"),
    ],
)
def test_only_what_is_open_is_asked_for(samples: Any, choice: Choice, says: str) -> None:
    """The report asks neither for an output where there is only one, nor for a field where there is only one."""
    assert says in str(pair_of(samples, Rules(), choice))


def test_a_declared_threshold_means_its_field() -> None:
    """A field whose threshold or positive label is declared is compared, as set, when other fields come; else asked."""
    samples = [(0.2, {"y": True, "z": False}), (0.8, {"y": False, "z": True})]
    for own in (FieldRules(threshold=0.4), FieldRules(type="bool", positive=False)):
        pair = pair_of(samples, Rules(feedback={"z": own}), Choice())
        assert isinstance(pair, Pair)
        assert (pair.field, pair.guessed) == ("z", False)
    # Which output is meant it does not say.
    two = [({"a": 0.2, "b": 0.3}, {"y": True, "z": False})]
    for rules in (Rules(feedback={"z": FieldRules(threshold=0.4)}), Rules(labels=["z"])):
        assert isinstance(pair_of(two, rules, Choice()), str)
    # Where it would be better high or low, a number has no positive label.
    assert isinstance(pair_of(samples, Rules(feedback={"z": FieldRules(type="int", positive="higher")}), Choice()), str)


SCORES = [({"default": 0.2, "tier": "a"}, {"repaid": True}), ({"default": 0.7, "tier": "b"}, {"repaid": False})]
TEXTS = [({"risk": 0.2}, {"fate": "paid"}), ({"risk": 0.7}, {"fate": "fraud"})]


@pytest.mark.parametrize(
    ("samples", "choice", "says"),
    [
        (SCORES, Choice(output="default", threshold=7), "threshold 7: the output 'default' is a probability"),
        (SCORES, Choice(output="default", threshold=0), "choose a threshold above 0 and at most 1"),
        (SCORES, Choice(output="default", threshold=float("nan")), "threshold nan: it must be a finite number"),
        (SCORES, Choice(output="tier", threshold=0.5), "the output 'tier' is not a number, so it takes no threshold"),
        (SCORES, Choice(output="default", positive="maybe"), "positive maybe: the field 'repaid' has no such label"),
        (SCORES, Choice(output="default", positive="maybe"), "; it has false, true"),
        (SCORES, Choice(output="default", positive=None), "positive null: the field 'repaid' has no such label"),
        (SCORES, Choice(output="default", positive=[1]), "positive [1]: "),
        (TEXTS, Choice(positive=1), "positive 1: the field 'fate' has no such label; it has fraud, paid"),
    ],
)
def test_a_choice_that_makes_no_sense(samples: Any, choice: Choice, says: str) -> None:
    """A threshold or a positive label that the values contradict is refused, with the reason."""
    with pytest.raises(ConfigurationError, match=re.escape(says)):
        pair_of(samples, Rules(), choice)


def test_a_threshold_of_a_score_that_is_no_probability() -> None:
    """A score of any size may have a threshold of any size."""
    samples = [({"points": 300}, {"repaid": True}), ({"points": 720}, {"repaid": False})]
    pair = pair_of(samples, Rules(), Choice(output="points", threshold=500))
    assert isinstance(pair, Pair)
    assert (pair.kind, pair.threshold, pair.is_probability) == ("score", 500, False)


def test_a_positive_label_that_was_not_seen() -> None:
    """A rare text may be missing among the newest labels, so it is accepted, and the report asks."""
    pair = pair_of(TEXTS, Rules(), Choice(output="risk", positive="theft"))
    assert isinstance(pair, Pair)
    assert unseen_positive(pair) == (
        "None of the newest labels is theft; they are fraud, paid. Should --positive be one of them?"
    )
    seen = pair_of(TEXTS, Rules(), Choice(output="risk", positive="fraud"))
    assert isinstance(seen, Pair)
    assert unseen_positive(seen) is None
