"""Which outputs come into question for a field, by what is declared or chosen; else, what to ask a person. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import UNSET, UnsetType

from joinback.errors import ConfigurationError
from joinback_worker.law.rules import FieldRules, Rules

from .choice import Choice
from .dialect import Keys
from .quantiles import is_quantile


def candidates(
    field: str, outputs: Mapping[str | None, Keys], rules: FieldRules, choice: Choice, fields: int
) -> list[str | None]:
    """Return the outputs that a field may be compared with. `fields` is the number of fields seen."""
    if choice.output is not None:
        return [choice.output]
    if rules.output is not None:
        return [rules.output]
    if field in outputs:
        return [field]
    is_declared = rules.threshold is not None or positive_of(rules) is not UNSET
    if choice.field is None and fields > 1 and len(outputs) > 1 and not is_declared:
        return []
    # A quantile is compared beside another output, not in its place.
    return [name for name, keys in outputs.items() if not keys or not is_quantile(keys[-1])] or list(outputs)


def check_outputs(outputs: Mapping[str | None, Keys], named: Iterable[str | None], choice: Choice) -> None:
    """Raise ConfigurationError if an output that is named is an object, or one that is chosen was not seen."""
    for name in {*named} - {None, *outputs}:
        if within := sorted(one for one in outputs if one and one.startswith(f"{name}.")):
            raise ConfigurationError(f"the output {name!r} is an object: name an output in it, such as {within[0]}")
    if choice.output is not None and choice.output not in outputs:
        known = listed(sorted(name for name in outputs if name is not None))
        value = ": the output is a value" if list(outputs) == [None] else ""
        raise ConfigurationError(f"no output {choice.output!r}; known are {known}{value}")


def question(outputs: Sequence[str], fields: Sequence[str], choice: Choice) -> str:
    """Return the question which output and which field are meant, of those that are not chosen and not the only one."""
    asked, names = [], []
    for option, known, chosen in (("output", outputs, choice.output), ("field", fields, choice.field)):
        if chosen is None and len(known) > 1:
            asked.append(option)
            names.append(f"{option}s: {listed(known)}")
    unclear = "which output to compare with which field" if len(asked) == 2 else f"which {asked[0]} to compare"
    return f"it is not clear {unclear}: give {' and '.join(f'--{option}' for option in asked)} ({'; '.join(names)})"


def listed(names: Sequence[str]) -> str:
    """Return the names as a sentence lists them, an empty one in quotes."""
    return ", ".join(name or "''" for name in names) or "none"


def positive_of(rules: FieldRules) -> Any | UnsetType:
    """Return the declared positive label. Of a number, `higher` and `lower` are no labels."""
    is_direction = rules.positive in ("higher", "lower") and rules.scalar != "str"
    return UNSET if is_direction else rules.positive


def declared(rules: Rules, field: str) -> FieldRules:
    return rules.feedback.get(field, FieldRules())
