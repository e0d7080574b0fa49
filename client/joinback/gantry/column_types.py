"""The type of a column of a CSV file: all its cells are numbers, booleans or text.

| a cell, trimmed | is |
| --- | --- |
| a number as JSON writes it, if a float keeps all its digits: `7`, `-2.5`, `1e-100` | a number |
| `true`, `false` in any case | a boolean |
| one of MISSING in any case | missing; it does not matter for the type of its column |
| anything else: `007`, `+5`, `.5`, `1,900`, `7%`, more digits than a float holds | text |

Text is kept with its white space.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, TypeAlias

from msgspec import Struct

MISSING = frozenset({"", "-", "null", "none", "nan", "-nan", "na", "n/a", "#na", "#n/a", "<na>", "nat", r"\n"})
"""What pandas, R, exports of SQL and spreadsheets write for a missing value; in lower case."""

_JSON_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d{1,3})?", re.ASCII).fullmatch
_PLAIN_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?", re.ASCII).fullmatch
_EXACT_LENGTH = 15
"""A float keeps all digits of a number with so many characters."""
_WHOLE_FLOAT = re.compile(r"(?:0|[1-9]\d{0,14})\.0+", re.ASCII).fullmatch
_LIKE_NUMBER = re.compile(r"[-+]?[$€£]?[\d.,' ]*\d[\d.,' ]*[%$€£]?", re.ASCII).fullmatch


class ColumnType(Struct):
    """`read` turns a cell into a value. `oddity` says which line made the column text, and why."""

    read: Callable[[str], Any]
    kind: str
    oddity: str = ""
    is_odd: bool = False
    """Whether the cells before that line were all numbers, or all booleans: then the line may be a mistake."""


def is_missing(cell: str) -> bool:
    return cell.strip().lower() in MISSING


def _text(cell: str) -> str | None:
    return None if is_missing(cell) else cell


def _number(cell: str) -> int | float | None:
    if cell.isdigit():
        return int(cell)
    # No word for a missing value has a point.
    if "." in cell:
        return float(cell)
    cell = cell.strip()
    if not cell[-1:].isdigit():
        return None
    return int(cell) if cell.lstrip("-").isdigit() else float(cell)


def _boolean(cell: str) -> bool | None:
    return {"true": True, "false": False}.get(cell.strip().lower())


_TRIMMED = ColumnType(lambda cell: None if is_missing(cell) else cell.strip(), "keys")
_WHOLE = ColumnType(lambda cell: None if is_missing(cell) else cell.strip().partition(".")[0], "keys as integers")
"""For a column of whole floats."""


Types: TypeAlias = dict[str, ColumnType]


def types_of(
    lines: Iterable[tuple[int, list[str]]], width: int, values: Mapping[int, str], keys: Mapping[int, str]
) -> tuple[Types, Types]:
    """Return the types of the columns of values, and of those of join keys, by name.

    `values` and `keys` are column number -> name. Lines with another number of cells than `width` do not matter.
    """
    types: Types = {}
    undecided = [_Undecided(n, name) for n, name in values.items()]
    maybe_whole = {n: False for n in keys}
    for number, cells in lines:
        if len(cells) != width:
            continue
        for column in undecided:
            cell = cells[column.n]
            # The fast way, for nearly all cells of nearly all files.
            if column.is_of_numbers and len(cell) <= _EXACT_LENGTH and _PLAIN_NUMBER(cell):
                column.seen = True
            elif (why := column.look(cell)) is not None:
                types[column.name] = ColumnType(_text, "text", f"line {number}: {why}", column.seen)
                undecided = [other for other in undecided if other is not column]
        for n in list(maybe_whole):
            if _WHOLE_FLOAT(cells[n].strip()):
                maybe_whole[n] = True
            elif not is_missing(cells[n]):
                del maybe_whole[n]
    types |= {column.name: column.type() for column in undecided}
    types = {name: types[name] for name in values.values()}
    return types, {name: _WHOLE if maybe_whole.get(n) else _TRIMMED for n, name in keys.items()}


class _Undecided:
    """A column whose cells so far are of one type."""

    def __init__(self, n: int, name: str) -> None:
        self.n = n
        self.name = name
        self.is_of_numbers = True
        self.seen = False

    def look(self, cell: str) -> str | None:
        """Return why this cell makes the column text; None if it does not."""
        cell = cell.strip()
        if self.is_of_numbers and _is_number(cell):
            self.seen = True
            return None
        if cell.lower() in MISSING:
            return None
        is_boolean = cell.lower() in ("true", "false")
        if is_boolean and not (self.seen and self.is_of_numbers):
            self.seen, self.is_of_numbers = True, False
            return None
        if self.is_of_numbers:
            return "true or false among numbers" if is_boolean else _oddity(cell)
        return "neither true nor false"

    def type(self) -> ColumnType:
        if not self.seen:
            return ColumnType(_text, "empty")
        return ColumnType(_number, "numbers") if self.is_of_numbers else ColumnType(_boolean, "booleans")


def _is_number(cell: str) -> bool:
    if not _JSON_NUMBER(cell):
        return False
    # Python and others write the shortest text of a float. The Decimals compare any other way to write it.
    return repr(value := float(cell)) == cell or (abs(value) != float("inf") and Decimal(repr(value)) == Decimal(cell))


def _oddity(cell: str) -> str:
    """Return what a cell is that is not a number; without the cell itself, which may be private."""
    if _JSON_NUMBER(cell):
        return "a number whose digits no float keeps"
    return "a number that is not written as in JSON" if _LIKE_NUMBER(cell) else "text"
