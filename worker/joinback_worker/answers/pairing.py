"""Which output is compared with which field, and how: set by a person, declared in joinback.toml, or guessed. Pure."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType, structs

from joinback.errors import ConfigurationError
from joinback_worker.law.rules import FieldRules, Rules

from .choice import Choice, is_flat, is_number, objection
from .dialect import Keys, plain
from .samples import fields_of, outputs_seen, value_at

OUTCOMES_MAX = 20
"""With more classes, each has too few labels to estimate its delays."""
_QUANTILE = re.compile(r"(?:p|q|quantile_?)(0?\.?\d{1,3})$", re.IGNORECASE)

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
        raise ConfigurationError(f"no feedback has the field {choice.field!r}; known are {', '.join(fields) or 'none'}")
    if not samples:
        return "no prediction has a label yet"
    outputs = outputs_seen(samples)
    for name in {choice.output, *(_declared(rules, name).output for name in fields)} - {None, *outputs}:
        if within := sorted(one for one in outputs if one and one.startswith(f"{name}.")):
            raise ConfigurationError(f"the output {name!r} is an object: name an output in it, such as {within[0]}")
    if choice.output is not None and choice.output not in outputs:
        known = ", ".join(sorted(name for name in outputs if name)) or "none: the output is a value"
        raise ConfigurationError(f"no output {choice.output!r}; known are {known}")
    wanted = [choice.field] if choice.field is not None else fields
    objections: list[str] = []
    found = [
        pair
        for field in wanted
        for output in _candidates(field, outputs, _declared(rules, field), choice, len(fields))
        if (pair := _compared(samples, field, output, outputs, _declared(rules, field), choice, objections))
    ]
    if not found and objections:
        raise ConfigurationError(objections[0])
    found.sort(key=lambda pair: _rank(pair, rules))
    if found and (len(found) == 1 or _is_meant(found[0], rules) or _rank(found[0], rules) < _rank(found[1], rules)):
        return found[0]
    return (
        f"it is not clear which output to compare with which field: give --output and --field"
        f" (outputs: {', '.join(sorted(map(str, outputs)))}; fields: {', '.join(fields)})"
    )


def _is_meant(pair: Pair, rules: Rules) -> bool:
    """Return whether joinback.toml names the output or the label, or both have the same name."""
    return not all(_rank(pair, rules)[:3])


def _rank(pair: Pair, rules: Rules) -> tuple[bool, ...]:
    """Return how well a comparison suits, the best first. Of two that suit equally, none is guessed."""
    is_declared = _declared(rules, pair.field).output is not None
    return not is_declared, pair.field != pair.output, pair.field not in rules.labels, pair.kind != "score"


def _candidates(
    field: str, outputs: Mapping[str | None, Keys], rules: FieldRules, choice: Choice, fields: int
) -> list[str | None]:
    if choice.output is not None:
        return [choice.output]
    if rules.output is not None:
        return [rules.output]
    if field in outputs:
        return [field]
    if choice.field is None and fields > 1 and len(outputs) > 1:
        return []
    # A quantile is compared beside another output, not in its place.
    return [name for name, keys in outputs.items() if not keys or not _QUANTILE.match(keys[-1])] or list(outputs)


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
    keys = outputs.get(output, ())
    pairs = [(value_at(given, output, keys), feedback.get(field)) for given, feedback in samples]
    both: list[tuple[Any, Any]] = [(ours, label) for ours, label in pairs if ours is not None and label is not None]
    ours, labels = [ours for ours, _ in both], [label for _, label in both]
    guessed = not (choice.output or rules.output)
    pair = Pair(field=field, output=output, keys=tuple(keys) if len(keys) > 1 else (), kind="classes", guessed=guessed)
    if not both:
        return None
    if why := objection(choice, field, output, ours, labels):
        objections.append(why)
        return None
    positive = choice.positive if choice.positive is not UNSET else rules.positive
    if positive in ("higher", "lower") and isinstance(rules.positive, str):
        positive = UNSET
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
            positive=True if positive is UNSET else positive,
            is_probability=_is_share(ours),
            outcomes=outcomes,
        )
    if numbers and not _has_two([*ours, *labels]):
        return _of_numbers(pair, ours, labels, outputs, objections)
    if texts == all(isinstance(value, str) for value in ours) and all(map(is_flat, [*ours, *labels])):
        return structs.replace(pair, is_text=texts, outcomes=outcomes)
    return None


def _of_numbers(
    pair: Pair, ours: Sequence[float], labels: Sequence[Any], outputs: Mapping[str | None, Keys], objections: list[str]
) -> Pair | None:
    """Return how numbers that are no score are compared; None if they cannot be."""
    is_named = not pair.guessed or pair.field == pair.output
    if _has_two(labels):
        if is_named:
            name = "the output" if pair.output is None else f"the output {pair.output!r}"
            objections.append(
                f"{name} is a number, and the field {pair.field!r} is yes or no: give --threshold, or set `threshold`"
                " in joinback.toml"
            )
        return None
    # A probability is not guessed to be a number of something else.
    if not all(map(is_number, labels)) or (_is_share(ours) and not _is_share(labels) and not is_named):
        return None
    return structs.replace(pair, kind="numbers", quantiles=_quantiles(pair, outputs))


def _is_score(ours: Sequence[Any], labels: Sequence[Any], has_threshold: bool, positive: Any | UnsetType) -> bool:
    """Return whether the numbers are the probability of a label: they are from 0 to 1, and there are two labels."""
    if has_threshold or positive is not UNSET:
        return True
    return _has_two(labels) and _is_share(ours) and not _has_two(ours)


def _has_two(values: Iterable[Any]) -> bool:
    """Return whether the values are yes or no: true, false, 0 or 1."""
    return all(isinstance(value, bool) or value in (0, 1) for value in values)


def _is_share(values: Iterable[float]) -> bool:
    return all(0 <= value <= 1 for value in values)


def _quantiles(pair: Pair, outputs: Mapping[str | None, Keys]) -> dict[str, float]:
    """Return the quantiles beside the output: name -> share."""
    found = {}
    for name, keys in outputs.items():
        match = _QUANTILE.match(keys[-1]) if keys and keys[:-1] == pair.path[:-1] else None
        if match:
            share = float(match[1]) if "." in match[1] else float(match[1]) / 10 ** max(2, len(match[1]))
            if 0 < share < 1:
                found[str(name)] = share
    return dict(sorted(found.items(), key=lambda item: item[1]))


def _declared(rules: Rules, field: str) -> FieldRules:
    return rules.feedback.get(field, FieldRules())
