"""The kinds of typed columns, and JSON values as one of them. Pure.

A value of another kind than its column is NULL in that column, in Python and in each engine's SQL. A column of kind
`json` holds any value, as the text of its JSON.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec

Kind = Literal["bool", "int", "float", "str", "json"]

_WHOLE = re.compile(rb"-?[0-9]+")
INT_MAX = 2**63 - 1
"""The largest integer that the engines hold."""


def kind_of(raw: bytes) -> Kind | None:
    """Return the kind of a JSON value by its text; None for null. A number that no engine holds exactly is `json`."""
    first = raw[:1]
    if first == b"n":
        return None
    if first == b'"':
        return "str"
    if first in (b"t", b"f"):
        return "bool"
    if first in (b"{", b"["):
        return "json"
    if _WHOLE.fullmatch(raw):
        return "int" if _fits(raw) else "json"
    return "float" if math.isfinite(float(raw)) else "json"


def joined(a: Kind | None, b: Kind | None) -> Kind | None:
    """Return the kind that holds both: `float` for integers and fractions, `json` for any other two kinds."""
    if a is None or b is None or a == b:
        return a or b
    return "float" if {a, b} == {"int", "float"} else "json"


def value_of(raw: bytes, kind: Kind) -> Any:
    """Return a JSON value for a column of this kind; None if it has another kind."""
    return None if raw[:1] == b"n" else _VALUES[kind](raw)


def _fits(raw: bytes) -> bool:
    # Shorter ones always fit, so their digits need not be read.
    return len(raw) < 19 or (len(raw) <= 20 and -INT_MAX - 1 <= int(raw) <= INT_MAX)


def _int(raw: bytes) -> int | None:
    return int(raw) if _WHOLE.fullmatch(raw) and _fits(raw) else None


def _float(raw: bytes) -> float | None:
    if raw[:1] not in b"-0123456789":
        return None
    value = float(raw)
    return value if math.isfinite(value) else None


def _bool(raw: bytes) -> bool | None:
    return {b"true": True, b"false": False}.get(raw)


def _str(raw: bytes) -> str | None:
    return str(msgspec.json.decode(raw)) if raw[:1] == b'"' else None


_VALUES: Mapping[Kind, Callable[[bytes], Any]] = {
    "bool": _bool,
    "int": _int,
    "float": _float,
    "str": _str,
    "json": bytes.decode,
}
