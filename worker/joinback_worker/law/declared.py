"""Values against what is declared of their field. Pure.

A value of another type is taken for the declared one where that loses nothing: the text "true" for true, "12" or 12.0
for 12. What cannot be is kept as it was told. All is done on the JSON text, by expressions that the views of append
stores share; null is an explicit value of every type.
"""

import re

import msgspec
from msgspec import Raw

from .record import Record
from .rules import FieldRules, Rules, Scalar

# In quotes or not: a quote alone is no JSON, so none comes here.
INT = r'^"?(-?(?:0|[1-9][0-9]*))(?:\.0+)?"?$'
# Two digits of exponent: more may be beyond a double, and its text is then no number to others.
FLOAT = r'^"(-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]{1,2})?)"$'
TRUE = ("true", '"true"', "1", '"1"', "1.0")
"""In any case."""
FALSE = ("false", '"false"', "0", '"0"', "0.0")

_INT, _FLOAT = re.compile(INT), re.compile(FLOAT)
_NULL = Raw(b"null")


def reconciled(scalar: Scalar | None, value: Raw) -> Raw:
    """Return the JSON value as one of this type, or as it is if it is none."""
    if scalar is None or value == _NULL:
        return value
    text = bytes(value).decode()
    if scalar == "bool":
        lower = text.lower()
        return Raw(b"true") if lower in TRUE else Raw(b"false") if lower in FALSE else value
    if scalar == "str":
        return value if text[0] in '"{[' else Raw(f'"{text}"'.encode())
    found = (_INT if scalar == "int" else _FLOAT).match(text)
    return Raw(found[1].encode()) if found else value


def trouble_with(rules: FieldRules, value: Raw) -> str | None:
    """Return how a value breaks what is declared of its field, for a person; None if it does not."""
    value = reconciled(rules.scalar, value)
    if rules.scalar is None or value == _NULL:
        return None
    told = msgspec.json.decode(value)
    if rules.categories is not None:
        return None if told in rules.categories else f"is none of {', '.join(rules.categories)}"
    kinds: dict[Scalar, tuple[type, ...]] = {"bool": (bool,), "int": (int,), "float": (int, float), "str": (str,)}
    if not isinstance(told, kinds[rules.scalar]) or (isinstance(told, bool) and rules.scalar != "bool"):
        return f"is {_JSON_KINDS[type(told)]}, not {rules.scalar}"
    if isinstance(told, int | float):
        if rules.min is not None and told < rules.min:
            return f"is below {rules.min:g}"
        if rules.max is not None and told > rules.max:
            return f"is above {rules.max:g}"
    return None


def strict_troubles(record: Record, rules: Rules) -> dict[str, str]:
    """Return the feedback events that may not become a part of a row: their ids, and why."""
    found: dict[str, str] = {}
    if rules.strict:
        for event_id, event in record.feedback.items():
            for name in sorted(event.feedback.keys() & rules.strict):
                if trouble := trouble_with(rules.feedback[name], event.feedback[name]):
                    found[event_id] = f"{name} {trouble}"
    return found


_JSON_KINDS: dict[type, str] = {
    bool: "true or false", int: "an integer", float: "a float", str: "text", list: "an array", dict: "an object",
}  # fmt: skip
