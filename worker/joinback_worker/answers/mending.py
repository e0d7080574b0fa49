"""Labels of several types: which declared type makes them one, and what to do about those that none converts. Pure."""

import json
from collections.abc import Sequence
from shlex import quote
from typing import Any

from msgspec import Raw

from joinback_worker.law.declared import trouble_with
from joinback_worker.law.rules import FieldRules, Scalar

from .choice import kinds
from .dialect import plain

_FOLD = "restart the workers and run `joinback sink refold APPLICATION`, which also converts the labels in rows"


def mend(field: str, ours: Sequence[Any], labels: Sequence[Any], declared: Scalar | None) -> str:
    """Return what makes the labels values of one type, such as the output has. `declared` is the type of the field.

    A label in a row stays as it is until the row is folded again, whatever services log from now on.
    """
    wanted = type_of(ours, labels)
    if wanted is None:
        return _log_again(field, ours, labels)
    if wanted == declared:
        return f'joinback.toml declares `type = "{wanted}"`, and the rows are older than that: {_FOLD}'
    return f'In joinback.toml declare `type = "{wanted}"` for the field, {_FOLD}'


def type_of(ours: Sequence[Any], labels: Sequence[Any]) -> Scalar | None:
    """Return the type that converts every label to what the output has; None if there is none."""
    return next((scalar for scalar in _types(ours) if all(_converts(scalar, label) for label in labels)), None)


def _log_again(field: str, ours: Sequence[Any], labels: Sequence[Any]) -> str:
    """Return how to replace the labels that the type of most labels does not convert."""
    common = max(_types(ours), key=lambda scalar: sum(_converts(scalar, label) for label in labels))
    odd = next(label for label in labels if not _converts(common, label))
    found = quote(f"feedback.{field}={plain(odd)}")
    return (
        f"{plain(odd)} is no {common}, as most labels are or can become: log such labels again, or take them"
        f" back with `joinback retract APPLICATION --field {quote(field)} --where {found}`"
    )


def _types(ours: Sequence[Any]) -> tuple[Scalar, ...]:
    """Return the types that the output may be compared with. As texts all values would be one type, and no number."""
    return ("str",) if kinds(ours) == {"a text"} else ("bool", "int", "float")


def _converts(scalar: Scalar, label: Any) -> bool:
    return trouble_with(FieldRules(type=scalar), Raw(json.dumps(label).encode())) is None
