"""Which output is compared with which field, and how: set by a person, declared in joinback.toml, or guessed. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType, structs

from joinback.errors import ConfigurationError
from joinback_worker.law.rules import FieldRules, Rules

from .candidates import candidates, check_outputs, declared, listed, positive_of, question
from .choice import (
    OUTCOMES_MAX,
    Choice,
    are_classes,
    as_text,
    comparable,
    is_flat,
    is_number,
    is_share,
    is_yes_no,
    objection,
)
from .dialect import Keys, plain
from .quantiles import share_of
from .refusal import named, why_not
from .samples import fields_of, outputs_seen, value_at

Kind = Literal["score", "classes", "numbers"]


class Pair(Struct, frozen=True, kw_only=True):
    """The comparison of an output with a feedback field."""

    field: str
    output: str | None
    """None: the output is a value, not an object. For a nested output, all names with dots between them."""
    keys: tuple[str, ...] = ()
    """The names of a nested output; empty for one that is not nested."""
    kind: Kind
    is_text: bool = False
    """Whether the labels are texts. Else they are numbers, or true and false as 1 and 0."""
    threshold: float = 0.5
    positive: Any = True
    """For a score: the label whose probability it is."""
    is_probability: bool = True
    """For a score: whether all values seen are from 0 to 1."""
    outcomes: list[Any] = []
    """The labels seen, as numbers or texts; empty if there are more than OUTCOMES_MAX."""
    quantiles: dict[str, float] = {}
    """Outputs that are quantiles of the number: name -> share."""
    guessed: bool = True

    @property
    def path(self) -> tuple[str, ...]:
        """The path to the output: the names of nested objects, from the outside in."""
        return self.keys or (() if self.output is None else (self.output,))

    def beside(self, name: str) -> tuple[str, ...]:
        """Return the path to a quantile, which is beside the output in the same object."""
        *above, own = self.path
        return (*above, name.removeprefix(str(self.output).removesuffix(own)))

    @property
    def has_brier(self) -> bool:
        return self.kind == "score" and self.is_probability

    @property
    def said(self) -> str:
        """The comparison in words."""
        output = "the output" if self.output is None else f"output {self.output!r}"
        if self.kind == "score":
            return f"{output} >= {self.threshold:g} against field {self.field!r} = {plain(self.positive)}"
        return f"{output} against field {self.field!r}, as {self.kind}"


def pair_of(samples: Sequence[tuple[Any, Mapping[str, Any]]], rules: Rules, choice: Choice) -> Pair | str:
    """Return the comparison, or the reason why there is none. Raises ConfigurationError for a wrong choice."""
    fields = fields_of(samples, rules)
    if choice.field is not None and choice.field not in fields:
        raise ConfigurationError(f"no feedback has the field {choice.field!r}; known are {listed(fields)}")
    if not samples:
        return "no prediction has a label yet"
    outputs = outputs_seen(samples)
    check_outputs(outputs, [choice.output, *(declared(rules, name).output for name in fields)], choice)
    if not outputs:
        return "there is no output to compare: the newest predictions with a label have empty outputs"
    if not fields:
        return "there is no label to compare: the newest feedback is empty"
    wanted = [choice.field] if choice.field is not None else fields
    objections: list[str] = []
    tried = [
        (field, output)
        for field in wanted
        for output in candidates(field, outputs, declared(rules, field), choice, len(fields))
    ]
    found = [
        pair
        for field, output in tried
        if (pair := _compared(samples, field, output, outputs, declared(rules, field), choice, objections))
    ]
    if not found and objections:
        raise ConfigurationError(objections[0])
    found.sort(key=lambda pair: _rank(pair, rules))
    rivals = [pair for pair in found[1:] if _rank(pair, rules) == _rank(found[0], rules)]
    if found and (not rivals or _is_meant(found[0], rivals, rules)):
        return found[0]
    if len(wanted) == len(tried) == 1:
        ((field, output),) = tried
        return why_not(output, field, _both(samples, field, output, outputs), declared(rules, field).scalar)
    return question(sorted(name or "the output itself" for name in outputs), fields, choice)


def _is_meant(pair: Pair, rivals: Sequence[Pair], rules: Rules) -> bool:
    """Return whether joinback.toml or a common name says that this field is meant, and no other output suits it."""
    return not all(_rank(pair, rules)[:5]) and all(rival.field != pair.field for rival in rivals)


def _rank(pair: Pair, rules: Rules) -> tuple[bool, ...]:
    """Return how well a comparison suits, the best first. Of two that suit equally, none is guessed."""
    own = declared(rules, pair.field)
    return (
        own.output is None,
        own.threshold is None,
        pair.field != pair.output,
        positive_of(own) is UNSET,
        pair.field not in rules.labels,
        pair.kind != "score",
    )


def _compared(
    samples: Sequence[tuple[Any, Mapping[str, Any]]],
    field: str,
    output: str | None,
    outputs: Mapping[str | None, Keys],
    rules: FieldRules,
    choice: Choice,
    objections: list[str],
) -> Pair | None:
    """Return how these two are compared; None if they cannot be. Objections to the choice are added to `objections`."""
    keys, both = outputs.get(output, ()), comparable(_both(samples, field, output, outputs))
    ours, labels = [ours for ours, _ in both], [label for _, label in both]
    is_field_meant = choice.field is not None or rules.threshold is not None or positive_of(rules) is not UNSET
    # An output without a name is set as soon as the field is.
    guessed = not (choice.output or rules.output or (output is None and is_field_meant))
    pair = Pair(field=field, output=output, keys=tuple(keys) if len(keys) > 1 else (), kind="classes", guessed=guessed)
    if not both:
        return None
    choice = structs.replace(choice, positive=as_text(choice.positive, labels))
    if why := objection(choice, field, output, ours, labels):
        objections.append(why)
        return None
    positive = choice.positive if choice.positive is not UNSET else positive_of(rules)
    numbers, texts = all(map(is_number, ours)), all(isinstance(label, str) for label in labels)
    few = sorted({label if isinstance(label, str) else float(label) for label in labels if is_flat(label)}, key=str)
    outcomes = few if len(few) <= OUTCOMES_MAX else []
    threshold = choice.threshold if choice.threshold is not None else rules.threshold
    if numbers and _is_score(ours, labels, threshold is not None, positive):
        if texts and positive is UNSET:
            return None
        return structs.replace(
            pair,
            kind="score",
            is_text=isinstance(positive, str),
            threshold=0.5 if threshold is None else threshold,
            positive=_as_seen(True if positive is UNSET else positive, labels),
            is_probability=is_share(ours),
            outcomes=outcomes,
        )
    if numbers and not is_yes_no([*ours, *labels]):
        return _of_numbers(pair, ours, labels, outputs, objections)
    if are_classes(ours, labels, is_told=not guessed or choice.field is not None):
        return structs.replace(pair, is_text=texts, outcomes=outcomes)
    return None


def _both(
    samples: Sequence[tuple[Any, Mapping[str, Any]]],
    field: str,
    output: str | None,
    outputs: Mapping[str | None, Keys],
) -> list[tuple[Any, Any]]:
    """Return the values of the output and of the field, where both are known."""
    pairs = [(value_at(given, output, outputs.get(output, ())), feedback.get(field)) for given, feedback in samples]
    return [(ours, label) for ours, label in pairs if ours is not None and label is not None]


def _of_numbers(
    pair: Pair, ours: Sequence[float], labels: Sequence[Any], outputs: Mapping[str | None, Keys], objections: list[str]
) -> Pair | None:
    """Return how numbers that are no score are compared; None if they cannot be."""
    is_named = not pair.guessed or pair.field == pair.output
    if is_yes_no(labels):
        if is_named:
            objections.append(
                f"{named(pair.output)} is a number, and the field {pair.field!r} is yes or no: give --threshold,"
                " or set `threshold` in joinback.toml"
            )
        return None
    # A probability is not guessed to be a number of something else.
    if not all(map(is_number, labels)) or (is_share(ours) and not is_share(labels) and not is_named):
        return None
    return structs.replace(pair, kind="numbers", quantiles=_quantiles(pair, outputs))


def _is_score(ours: Sequence[Any], labels: Sequence[Any], has_threshold: bool, positive: Any | UnsetType) -> bool:
    """Return whether the numbers are the probability of a label: they are from 0 to 1, and there are two labels."""
    if has_threshold or positive is not UNSET:
        return True
    return is_yes_no(labels) and is_share(ours) and not is_yes_no(ours)


def _quantiles(pair: Pair, outputs: Mapping[str | None, Keys]) -> dict[str, float]:
    """Return the quantiles beside the output: name -> share."""
    found = {}
    for name, keys in outputs.items():
        share = share_of(keys[-1]) if keys and keys[:-1] == pair.path[:-1] else None
        if share is not None:
            found[str(name)] = share
    return dict(sorted(found.items(), key=lambda item: item[1]))


def _as_seen(positive: Any, labels: Sequence[Any]) -> Any:
    """Return the positive label as the labels spell it: 1 and 0 where they are numbers."""
    if isinstance(positive, str) or positive not in (0, 1):
        return positive
    return bool(positive) if any(isinstance(label, bool) for label in labels) else int(positive)
