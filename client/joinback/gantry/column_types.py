"""What the cells of a column of a CSV file are: numbers, booleans or text, the same for all of them.

| a cell, trimmed | is |
| --- | --- |
| a number as JSON writes it, which a float gives back: `7`, `-2.5`, `1e-100`, 17 and more decimals | a number |
| `true`, `false` in any case | a boolean |
| one of MISSING in any case | missing; it has no say in the type of its column |
| anything else: `007`, `+5`, `.5`, `1,900`, `7%`, more digits than a float holds | text |

Text is kept with its white space.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, TypeAlias

from msgspec import Struct

MISSING = frozenset({"", "-", "null", "none", "nan", "-nan", "na", "n/a", "#na", "#n/a", "<na>", "nat", r"\n"})
"""As pandas, R, SQL's exports and spreadsheets write a value that is not there; in lower case."""

_JSON_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d{1,3})?", re.ASCII).fullmatch
_PLAIN_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?", re.ASCII).fullmatch
_EXACT_LENGTH = 16
"""A sign or a point and fifteen digits, which every float gives back."""
_WHOLE_FLOAT = re.compile(r"(?:0|[1-9]\d{0,14})\.0+", re.ASCII).fullmatch
_LIKE_NUMBER = re.compile(r"[-+]?[$€£]?[\d.,' ]*\d[\d.,' ]*[%$€£]?", re.ASCII).fullmatch


class ColumnType(Struct):
    """`read` makes a value of a cell. `oddity` says which line made the column text, and why."""

    read: Callable[[str], Any]
    kind: str
    oddity: str = ""
    is_odd: bool = False
    """Whether the cells before were all numbers, or all booleans: then the line may be a mistake."""


def is_missing(cell: str) -> bool:
    return cell.strip().lower() in MISSING


def _text(cell: str) -> str | None:
    return None if is_missing(cell) else cell


def _number(cell: str) -> int | float | None:
    cell = cell.strip()
    if not cell[-1:].isdigit():
        return None
    return int(cell) if cell.lstrip("-").isdigit() else float(cell)


def _boolean(cell: str) -> bool | None:
    return {"true": True, "false": False}.get(cell.strip().lower())


_TRIMMED = ColumnType(lambda cell: None if is_missing(cell) else cell.strip(), "keys")
_WHOLE = ColumnType(lambda cell: None if is_missing(cell) else cell.strip().partition(".")[0], "keys as integers")
"""Of a column of whole floats."""


Types: TypeAlias = dict[str, ColumnType]


def types_of(
    lines: Iterable[tuple[int, list[str]]], values: Mapping[int, str], keys: Mapping[int, str]
) -> tuple[Types, Types]:
    """The types of the columns of values and of those of join keys, by their names. Both are number -> name."""
    types: Types = {}
    undecided = {n: _Undecided() for n in values}
    whole_keys = dict.fromkeys(keys, False)
    for number, cells in lines:
        width = len(cells)
        for n, column in list(undecided.items()):
            if n < width and (why := column.look(cells[n])) is not None:
                types[values[n]] = ColumnType(_text, "text", f"line {number}: {why}", column.seen)
                del undecided[n]
        for n in list(whole_keys):
            if n < width and not is_missing(cells[n]):
                whole_keys[n] = _WHOLE_FLOAT(cells[n].strip()) is not None
                if not whole_keys[n]:
                    del whole_keys[n]
    types |= {values[n]: column.type() for n, column in undecided.items()}
    key_types = {name: _WHOLE if whole_keys.get(n) else _TRIMMED for n, name in keys.items()}
    return types, key_types


class _Undecided:
    """A column that is of one type so far."""

    def __init__(self) -> None:
        self.numbers = True
        self.seen = False
        self._has_booleans = False

    def look(self, cell: str) -> str | None:
        """Why this cell makes the column text; None if it does not."""
        if self._has_booleans or not _is_number(cell):
            return self._look_closely(cell.strip())
        self.seen = True
        return None

    def _look_closely(self, cell: str) -> str | None:
        if cell.lower() in MISSING:
            return None
        is_boolean = cell.lower() in ("true", "false")
        if is_boolean and (self._has_booleans or not self.seen):
            self._has_booleans = self.seen = True
            return None
        if self._has_booleans:
            return "neither true nor false"
        return "true or false among numbers" if is_boolean else _oddity(cell)

    def type(self) -> ColumnType:
        if not self.seen:
            return ColumnType(_text, "empty")
        return ColumnType(_boolean, "booleans") if self._has_booleans else ColumnType(_number, "numbers")


def _is_number(cell: str) -> bool:
    if len(cell) <= _EXACT_LENGTH and _PLAIN_NUMBER(cell):
        return True
    cell = cell.strip()
    if not _JSON_NUMBER(cell):
        return False
    # As Python and all who write the shortest text of a float do; the Decimals are for the others.
    return repr(value := float(cell)) == cell or (abs(value) != float("inf") and Decimal(repr(value)) == Decimal(cell))


def _oddity(cell: str) -> str:
    """What a cell is that is no number; without the cell, which may be private."""
    if _JSON_NUMBER(cell):
        return "a number that no float gives back"
    return "a number that is not written as in JSON" if _LIKE_NUMBER(cell) else "text"
