r"""The value of a cell: nothing, or a value of the type of its column.

| the column or cell | the value |
| --- | --- |
| None, NaN; empty text, `NULL`, `None`, `NaN`, `NaT`, `<NA>` in any case, `\N`, or a text of --null | nothing |
| bool | `true` `yes` `y` `t` `1`, `false` `no` `n` `f` `0`, in any case |
| int | digits, with thousands separated or not; a typed number if it is whole |
| float | a number with the decimal mark of its column, with thousands separated or not |
| str | the text, without white space around it |
| any | a typed cell as it is, also a list or an object of JSON |
"""

from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from .numbers import POINT, parsed
from .numbers import Decimal as DecimalMark

KINDS = ("bool", "int", "float", "str")

TRUE = frozenset({"true", "yes", "y", "t"})
FALSE = frozenset({"false", "no", "n", "f"})
WORDS = TRUE | FALSE
DIGITS = {"1": True, "0": False}

_MISSING = frozenset({"", "null", "none", "nan", "-nan", "nat", "<na>", "\\n"})
SHOWN_CHARACTERS = 40
"""How much of a cell a message shows: enough to find it."""


class Unreadable(Exception):
    """A cell that is not of its column's type."""


def shown(cell: Any) -> str:
    """Return a cell as a message may show it."""
    text = cell if isinstance(cell, str) else str(cell)
    return repr(text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…")


def stripped(cell: Any, nulls: frozenset[str]) -> Any:
    """Return the cell, and a text without white space around it; None if the cell has no value."""
    if type(cell) is str:
        text = cell.strip()
        if len(text) <= 5 and text.casefold() in _MISSING:
            return None
        return None if text in nulls else text
    if isinstance(cell, float | Decimal) and cell != cell:
        return None
    return cell


def to_bool(cell: Any) -> bool:
    """Return the cell as a bool. Raises Unreadable."""
    if isinstance(cell, bool):
        return cell
    if isinstance(cell, str):
        word = cell.casefold()
        if word in WORDS:
            return word in TRUE
        if word in DIGITS:
            return DIGITS[word]
    elif isinstance(cell, int | float | Decimal) and cell in (0, 1):
        return cell == 1
    raise Unreadable(f"{shown(cell)} is not a bool: true, yes, y, t, 1, false, no, n, f or 0")


def to_int(cell: Any, decimal: DecimalMark = POINT) -> int:
    """Return the cell as an int. Raises Unreadable."""
    number = parsed(cell, decimal) if isinstance(cell, str) else cell
    if isinstance(number, int):
        return int(number)
    # Bounded, as int() of a Decimal with a million digits would take too long.
    if isinstance(number, float | Decimal) and -1e18 < number < 1e18 and number == int(number):
        return int(number)
    raise Unreadable(f"{shown(cell)} is not an int")


def to_float(cell: Any, decimal: DecimalMark = POINT) -> float:
    """Return the cell as a finite float. Raises Unreadable."""
    number = parsed(cell, decimal) if isinstance(cell, str) else cell
    if isinstance(number, int | float | Decimal) and not isinstance(number, bool):
        try:
            value = float(number)
        except OverflowError:
            value = float("inf")
        if abs(value) != float("inf"):
            return value
    raise Unreadable(f"{shown(cell)} is not a float")


def to_str(cell: Any) -> str:
    """Return the cell as text. Raises Unreadable."""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, str | int | float | Decimal | UUID):
        return str(cell)
    if isinstance(cell, datetime | date | time):
        return cell.isoformat()
    raise Unreadable(f"a {type(cell).__name__} cannot be text")


def to_any(cell: Any) -> Any:
    """Return a typed cell as an event can hold it. A Decimal becomes a number, not a text. Raises Unreadable."""
    if isinstance(cell, Decimal):
        return int(cell) if cell.as_tuple().exponent == 0 and abs(cell) < 10**18 else to_float(cell)
    if isinstance(cell, bytes | bytearray | memoryview):
        raise Unreadable("bytes cannot be a label")
    if isinstance(cell, float) and abs(cell) == float("inf"):
        raise Unreadable(f"JSON cannot hold the number {cell}")
    return cell


def reader_of(kind: str, decimal: DecimalMark) -> Callable[[Any], Any]:
    """Return the function that reads the cells of a column of this kind. The function raises Unreadable."""
    if kind == "int":
        return lambda cell: to_int(cell, decimal)
    if kind == "float":
        return lambda cell: to_float(cell, decimal)
    return {"bool": to_bool, "str": to_str, "any": to_any}[kind]
