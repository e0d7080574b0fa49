"""Compare feedback values with the rules of their field. Pure.

A value of another type becomes one of the declared type if that loses nothing: the text "true" becomes true, "12" and
12.0 become 12. Any other value stays as it was logged. All this is done on the JSON text, with expressions that the
views of append stores use too. null is a valid value of every type.
"""

import re

import msgspec
from msgspec import Raw

from .record import Record
from .rules import FieldRules, Rules, Scalar

# Each quote is optional by itself, which is enough: text with one quote alone is not JSON and cannot come here.
INT = r'^"?(-?(?:0|[1-9][0-9]*))(?:\.0+)?"?$'
# At most two digits of exponent: with more, the number may be beyond a double, and other readers refuse it.
FLOAT = r'^"(-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]{1,2})?)"$'
TRUE = ("true", '"true"', "1", '"1"', "1.0")
"""Texts that mean true, compared in lower case."""
FALSE = ("false", '"false"', "0", '"0"', "0.0")

_INT, _FLOAT = re.compile(INT), re.compile(FLOAT)
_NULL = Raw(b"null")


def reconciled(scalar: Scalar | None, value: Raw) -> Raw:
    """Return the JSON value as one of this type, or unchanged if that would lose something or no type is declared."""
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
    """Return how a JSON value breaks the rules of its field, for a person, such as `is below 0`; None if it does not.

    The value is judged as one of the declared type if it can become one.
    """
    value = reconciled(rules.scalar, value)
    if rules.scalar is None or value == _NULL:
        return None
    decoded = msgspec.json.decode(value)
    if rules.categories is not None:
        return None if decoded in rules.categories else f"is none of {', '.join(rules.categories)}"
    kinds: dict[Scalar, tuple[type, ...]] = {"bool": (bool,), "int": (int,), "float": (int, float), "str": (str,)}
    if not isinstance(decoded, kinds[rules.scalar]) or (isinstance(decoded, bool) and rules.scalar != "bool"):
        return f"is {_JSON_KINDS[type(decoded)]}, not {rules.scalar}"
    if isinstance(decoded, int | float):
        if rules.min is not None and decoded < rules.min:
            return f"is below {rules.min:g}"
        if rules.max is not None and decoded > rules.max:
            return f"is above {rules.max:g}"
    return None


def strict_troubles(record: Record, rules: Rules) -> dict[str, str]:
    """Return why feedback events may not become part of a row, by event id: a value breaks the rules of a strict field.

    An event with several such values has one reason: that of the last field by name.
    """
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
