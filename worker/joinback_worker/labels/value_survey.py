"""The survey of a column of values. All its cells settle what it is, and that is reported before anything is written.

If the cells leave it open (1,234 or 1.234; numbers but for one text), the user is asked, and shown such a cell. Nothing
is guessed then.
"""

import decimal
from collections import Counter
from datetime import datetime
from typing import Any

from joinback.errors import JoinbackError

from . import numbers
from .cell_values import DIGITS, KINDS, WORDS, reader_of, shown
from .numbers import COMMA, POINT, Decimal
from .settled import Given, Seen, Settled


class ValueSurvey:
    """Looks at the cells of a column of values."""

    def __init__(self, name: str, *, is_typed: bool) -> None:
        self.name = name
        self._is_typed = is_typed
        self._total = 0
        self._types: Counter[str] = Counter()
        self._has_fractions = False
        self._words = 0
        self._digits = 0
        self._fits = {POINT: 0, COMMA: 0}
        self._floats = {POINT: False, COMMA: False}
        self._first: dict[str, Seen] = {}

    def see(self, row: int, cell: Any) -> None:
        """Count a cell that has a value."""
        self._total += 1
        if type(cell) is not str:
            self._types[type(cell).__name__] += 1
            self._has_fractions |= isinstance(cell, float) or (
                isinstance(cell, decimal.Decimal) and cell.as_tuple().exponent != 0
            )
            return
        self._types["str"] += 1
        if cell in DIGITS:
            self._digits += 1
        elif len(cell) <= 5 and cell.casefold() in WORDS:
            self._words += 1
            self._note(f"not {POINT}", row, cell)
            self._note(f"not {COMMA}", row, cell)
            return
        else:
            self._note("not a word", row, cell)
        if numbers.has_leading_zero(cell):
            self._note("leading zero", row, cell)
        self._see_number(row, cell)

    def _see_number(self, row: int, cell: str) -> None:
        point = numbers.parsed(cell, POINT)
        # Most cells hold neither mark, so they need not be parsed twice.
        comma = point if type(point) is int and cell.isalnum() else numbers.parsed(cell, COMMA)
        for mark, number in ((POINT, point), (COMMA, comma)):
            if number is None:
                self._note(f"not {mark}", row, cell)
            else:
                self._fits[mark] += 1
                self._floats[mark] |= type(number) is float
        if point != comma and point is not None and comma is not None:
            self._note("either", row, cell)

    def _note(self, what: str, row: int, cell: Any) -> None:
        if what not in self._first:
            self._first[what] = Seen(row, cell)

    def settle(self, given: Given, now: datetime) -> Settled:
        """Return what the column is. Raises JoinbackError, which asks the user, if its cells leave that open."""
        kind, why = given.types.get(self.name), "as given"
        if kind is not None and kind not in KINDS:
            raise JoinbackError(f"--type {self.name}={kind}: a field is one of {', '.join(KINDS)}")
        if kind is None and self.name in given.declared:
            kind, why = given.declared[self.name], f"as {given.declared_in} declares"
        if kind is not None:
            return self._settled(kind, why, self._decimal(given) if kind in ("int", "float") else POINT)
        if self._total == 0:
            return self._settled("any", "all cells are empty")
        if self._has_fractions and self._types.keys() <= {"int", "float", "Decimal"}:
            # All are numbers, and Excel and JSON write 3.0 as 3.
            return self._settled("float", "")
        if self._is_typed:
            return self._settled("any", ", ".join(f"{name}" for name, _ in self._types.most_common()))
        return self._guess(given)

    def _guess(self, given: Given) -> Settled:
        if self._words + self._digits == self._total and self._words:
            return self._settled("bool", "")
        if (zero := self._first.get("leading zero")) is not None:
            return self._settled("str", f"leading zeros: {zero}")
        self._check_mixed("bool", self._words + (self._digits if self._words else 0), "not a word")
        if 2 * max(self._fits.values()) <= self._total:
            return self._settled("str", "")
        decimal = self._decimal(given)
        if self._fits[decimal] == self._total:
            kind = "float" if self._floats[decimal] else "int"
            hint = f"only 0 and 1; --type {self.name}=bool if they mean no and yes" if self._is_digits() else ""
            return self._settled(kind, hint, decimal)
        self._check_mixed("float" if self._floats[decimal] else "int", self._fits[decimal], f"not {decimal}")
        return self._settled("str", "")

    def _is_digits(self) -> bool:
        return self._digits == self._total

    def _check_mixed(self, kind: str, fitting: int, odd: str) -> None:
        """Raise JoinbackError if most cells are of a kind: the others may be mistakes, or the column is text."""
        if 2 * fitting > self._total:
            raise JoinbackError(
                f"{self.name} is {kind} in {fitting:,} of {self._total:,} rows, but {self._first[odd]};"
                f" add --type {self.name}={kind} (others are refused), --type {self.name}=str, or --null for that text"
            )

    def _decimal(self, given: Given) -> Decimal:
        if given.decimal is not None:
            return given.decimal
        point, comma = self._fits[POINT], self._fits[COMMA]
        if point == comma and (either := self._first.get("either")) is not None:
            raise JoinbackError(
                f"{self.name}: {either}, which is {numbers.parsed(either.cell, POINT)} or"
                f" {numbers.parsed(either.cell, COMMA)}, and no other cell decides it; add --decimal . or --decimal ,"
            )
        return COMMA if comma > point else POINT

    def _settled(self, kind: str, why: str, decimal: Decimal = POINT) -> Settled:
        marks = ""
        if kind in ("int", "float") and (
            seen := self._first.get("either") or self._first.get(f"not {_other(decimal)}")
        ):
            value = numbers.parsed(seen.cell, decimal) if isinstance(seen.cell, str) else None
            marks = "" if value is None else f"{shown(seen.cell)} is {value}"
        if why.startswith("as "):
            description = ": ".join(filter(None, (f"{kind}, {why}", marks)))
        else:
            description = ": ".join(filter(None, (kind, ", ".join(filter(None, (why, marks))))))
        return Settled(name=self.name, kind=kind, description=description, read=reader_of(kind, decimal))


def _other(decimal: Decimal) -> Decimal:
    return COMMA if decimal == POINT else POINT
