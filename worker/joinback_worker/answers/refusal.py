"""Why an output and a field are not compared, and what a person can do about it. Pure."""

from collections.abc import Sequence
from shlex import quote
from typing import Any

from joinback_worker.law.rules import Scalar

from .choice import LABELS_SHOWN, OUTCOMES_MAX, are_classes, comparable, is_share, is_yes_no, kinds
from .dialect import COMPARABLE_MAX, plain
from .mending import mend, type_of


def named(output: str | None) -> str:
    return "the output" if output is None else f"the output {output!r}"


def why_not(output: str | None, field: str, both: Sequence[tuple[Any, Any]], declared: Scalar | None) -> str:
    """Return why these two, which a person chose or which are the only ones, cannot be compared as they are.

    `both` are the values of the output and of the field where both are known. `declared` is the type of the field.
    """
    if not both:
        return f"no row has both {named(output)} and the field {field!r}"
    compared = comparable(both)
    if not compared:
        return f"{named(output)} or the field {field!r} is beyond {COMPARABLE_MAX:g} in each row, too far to compare"
    ours, labels = [ours for ours, _ in compared], [label for _, label in compared]
    kind, label_kind = _in_words(ours), _in_words(labels)
    pair = f"{named(output)} is {kind}, and the field {field!r} is {label_kind}"
    option = f"--field {quote(field)}" if output is None else f"--output {quote(output)}"
    if kind not in _COMPARABLE:
        return f"{pair}. {_of_output(ours, labels, option)}"
    if label_kind in ("a list", "an object"):
        return f"{pair}. A report compares single values: log such a value in a field of its own"
    if label_kind not in _COMPARABLE:
        return f"{pair}. {mend(field, ours, labels, declared)}"
    if kind == "a number":
        if label_kind == "a text":
            return _texts(pair, field, ours, labels, declared)
        if is_yes_no(labels):
            return f"{pair}. From which number on does it mean yes? Give --threshold"
        return (
            f"{named(output)} is from 0 to 1, and the field {field!r} has other numbers. To compare the two as they"
            f" are, give {option}. If the output is the probability of one label, give it, such as --positive"
            f" {plain(labels[0])}"
        )
    if kind == "true or false" and label_kind == "a number":
        return f"{pair}. To compare true and false as 1 and 0, give {option}"
    return f"{pair}. {_of_texts(field, ours, labels, declared)}"


_COMPARABLE = ("a number", "true or false", "a text")


def _in_words(values: Sequence[Any]) -> str:
    """Return in words what the values are. `values` is not empty."""
    found = sorted(kinds(values))
    return found[0] if len(found) == 1 else f"now {', now '.join(found)}"


def _of_output(ours: Sequence[Any], labels: Sequence[Any], option: str) -> str:
    """Return what to do about outputs of several kinds, or of one that is not compared. Rows keep their outputs."""
    if len(kinds(ours)) == 1:
        return "A report compares single values: log such a value as an output of its own"
    if are_classes(ours, labels, is_told=True):
        return f"To compare true and false as 1 and 0, give {option}"
    return "A report compares values of one kind, and rows keep their outputs: log one kind under another name"


def _of_texts(field: str, ours: Sequence[Any], labels: Sequence[Any], declared: Scalar | None) -> str:
    """Return what to do if one side is texts, and the other is no number that could mean one."""
    has_texts = isinstance(labels[0], str)
    if has_texts and type_of(ours, labels) is None:
        return "Log the label as true or false: true where it confirms the output's true"
    if has_texts or set(ours) & set(map(plain, labels)):
        return mend(field, ours, labels, declared)
    return "Log both as values of one type"


def _texts(pair: str, field: str, ours: Sequence[float], labels: Sequence[str], declared: Scalar | None) -> str:
    """Return what to do about a number whose labels are texts."""
    seen = sorted(set(labels))
    shown = ", ".join(seen[:LABELS_SHOWN]) + (", …" if len(seen) > LABELS_SHOWN else "")
    if len(seen) > 2 and type_of(ours, labels) in ("int", "float"):
        return f"{pair}. {mend(field, ours, labels, declared)}"
    if len(seen) > OUTCOMES_MAX:
        return f"{pair} with more than {OUTCOMES_MAX} different values, so it is no label of a few classes"
    threshold = "" if is_share(ours) else ", and --threshold: from which number on it means that label"
    return (
        f"{pair} ({shown}). Which one does a high number mean? Give --positive, such as --positive"
        f" {quote(seen[0])}{threshold}"
    )
