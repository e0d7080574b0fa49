"""What a person chose to compare, and whether the values allow it. Pure."""

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import UNSET, Struct

from joinback.errors import ConfigurationError

from .dialect import is_comparable, plain

LABELS_SHOWN = 10
"""Labels that an error lists."""
OUTCOMES_MAX = 20
"""With more classes, each has too few labels to estimate its delays."""
AGE_DAYS_MAX = 3_650.0
"""Ten years. A larger number of days is most likely meant as hours or seconds."""


class Choice(Struct, frozen=True, kw_only=True):
    """What a person chose. What is None or UNSET is declared or guessed."""

    field: str | None = None
    output: str | None = None
    threshold: float | None = None
    positive: Any = UNSET


def label_of(text: str) -> Any:
    """Return the label that a person wrote: the value if it is JSON, else the text."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def as_text(positive: Any, labels: Sequence[Any]) -> Any:
    """Return the label as the text that it is if the labels are texts such as "1" or "true", which are JSON too."""
    is_text = isinstance(positive, int | float) and all(isinstance(label, str) for label in labels)
    return plain(positive) if is_text and plain(positive) in labels else positive


def day_of(text: str) -> datetime:
    """Return the time that a person wrote, in UTC if it names no zone. Raises ConfigurationError."""
    try:
        day = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(f"{text!r} is not a date; write it as 2026-10-01") from None
    return day.replace(tzinfo=UTC) if day.tzinfo is None else day


def objection(choice: Choice, field: str, output: str | None, ours: Sequence[Any], labels: Sequence[Any]) -> str | None:
    """Return why a person's threshold or positive label makes no sense for this output and this field, if so."""
    name = "the output" if output is None else f"the output {output!r}"
    if choice.threshold is not None:
        if not math.isfinite(choice.threshold):
            return f"threshold {choice.threshold:g}: it must be a finite number"
        if not all(map(is_number, ours)):
            return f"threshold {choice.threshold:g}: {name} is not a number, so it takes no threshold"
        if all(0 <= value <= 1 for value in ours) and not 0 < choice.threshold <= 1:
            return (
                f"threshold {choice.threshold:g}: {name} is a probability, as all its values are from 0 to 1;"
                " choose a threshold above 0 and at most 1"
            )
    if choice.positive is not UNSET:
        is_text = isinstance(choice.positive, str)
        if (
            not is_flat(choice.positive)
            or not is_comparable(choice.positive)
            or all(isinstance(label, str) != is_text for label in labels)
        ):
            seen = ", ".join(sorted({plain(label) for label in labels})[:LABELS_SHOWN])
            return f"positive {plain(choice.positive)}: the field {field!r} has no such label; it has {seen}"
    return None


def comparable(both: Iterable[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Return the values of an output and a field without the rows where either is a number beyond COMPARABLE_MAX."""
    return [(ours, label) for ours, label in both if is_comparable(ours) and is_comparable(label)]


def is_number(value: Any) -> bool:
    """Return whether a JSON value is a number; true and false are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_yes_no(values: Iterable[Any]) -> bool:
    """Return whether the values are yes or no: true, false, 0 or 1."""
    return all(isinstance(value, bool) or value in (0, 1) for value in values)


def is_share(values: Iterable[float]) -> bool:
    return all(0 <= value <= 1 for value in values)


def kinds(values: Sequence[Any]) -> set[str]:
    """Return in words of which kinds the values are. 1 and 0 beside true and false are true and false, too."""
    found = set(map(_kind, values))
    return {"true or false"} if "true or false" in found and is_yes_no(values) else found


def are_classes(ours: Sequence[Any], labels: Sequence[Any], *, is_told: bool) -> bool:
    """Return whether outputs and labels are equal or not, value by value. Only a person says that true is the number 1
    beside other numbers.
    """
    found = kinds([*ours, *labels])
    return found in ({"a text"}, {"a number"}, {"true or false"}) or (
        is_told and found == {"a number", "true or false"}
    )


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    if is_number(value):
        return "a number"
    return "a text" if isinstance(value, str) else "a list" if isinstance(value, list) else "an object"


def is_flat(value: Any) -> bool:
    """Return whether a JSON value is a text, a number, true or false."""
    return isinstance(value, str | int | float)
