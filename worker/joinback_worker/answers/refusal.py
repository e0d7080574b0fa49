"""Why an output and a field are not compared, and what a person can do about it. Pure."""

from collections.abc import Sequence
from shlex import quote
from typing import Any

from .choice import LABELS_SHOWN, OUTCOMES_MAX, comparable, is_number, is_share, is_yes_no
from .dialect import COMPARABLE_MAX, plain


def named(output: str | None) -> str:
    return "the output" if output is None else f"the output {output!r}"


def why_not(output: str | None, field: str, both: Sequence[tuple[Any, Any]]) -> str:
    """Return why these two, which a person chose or which are the only ones, cannot be compared as they are.

    `both` are the values of the output and of the field where both are known.
    """
    if not both:
        return f"no row has both {named(output)} and the field {field!r}"
    compared = comparable(both)
    if not compared:
        return f"{named(output)} or the field {field!r} is beyond {COMPARABLE_MAX:g} in each row, too far to compare"
    ours, labels = [ours for ours, _ in compared], [label for _, label in compared]
    kind, label_kind = _kind(ours), _kind(labels)
    pair = f"{named(output)} is {kind}, and the field {field!r} is {label_kind}"
    if not (kind in _COMPARABLE and label_kind in _COMPARABLE):
        return f"{pair}. A report compares single values of one type: log such a value"
    if kind == "a number":
        if label_kind == "a text":
            return _texts(pair, ours, labels)
        if is_yes_no(labels):
            return f"{pair}. From which number on does it mean yes? Give --threshold"
        option = f"--field {quote(field)}" if output is None else f"--output {quote(output)}"
        return (
            f"{named(output)} is from 0 to 1, and the field {field!r} has other numbers. To compare the two as they"
            f" are, give {option}. If the output is the probability of one label, give it, such as --positive"
            f" {plain(labels[0])}"
        )
    if label_kind == "a text" and kind == "true or false" and _spell(labels, "true", "false", "0", "1"):
        return f'{pair}. Log the label as true or false, or declare `type = "bool"` in joinback.toml'
    if label_kind == "a text" and kind == "true or false":
        return f"{pair}. Log the label as true or false: true where it confirms the output's true"
    return f"{pair}. Log both as values of one type"


_COMPARABLE = ("a number", "true or false", "a text")


def _kind(values: Sequence[Any]) -> str:
    """Return in words what the values are. `values` is not empty."""
    kinds = sorted({_kind_of(value) for value in values})
    return kinds[0] if len(kinds) == 1 else f"now {', now '.join(kinds)}"


def _kind_of(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    if is_number(value):
        return "a number"
    return "a text" if isinstance(value, str) else "a list" if isinstance(value, list) else "an object"


def _texts(pair: str, ours: Sequence[float], labels: Sequence[str]) -> str:
    """Return what to do about a number whose labels are texts."""
    seen = sorted(set(labels))
    shown = ", ".join(seen[:LABELS_SHOWN]) + (", …" if len(seen) > LABELS_SHOWN else "")
    if len(seen) > 2 and all(map(_is_numeral, seen)):
        return f'{pair}. Log the label as a number, or declare `type = "float"` in joinback.toml'
    if len(seen) > OUTCOMES_MAX:
        return f"{pair} with more than {OUTCOMES_MAX} different values, so it is no label of a few classes"
    threshold = "" if is_share(ours) else ", and --threshold: from which number on it means that label"
    return (
        f"{pair} ({shown}). Which one does a high number mean? Give --positive, such as --positive"
        f" {quote(seen[0])}{threshold}"
    )


def _is_numeral(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _spell(texts: Sequence[str], *known: str) -> bool:
    return all(text.lower() in known for text in texts)
