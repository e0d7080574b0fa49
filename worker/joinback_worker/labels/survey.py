"""What the columns of a source are: settled by all of their cells, and said, before anything is written.

What a column leaves open (1,234 or 1.234; the third of April or the fourth of March; numbers but for one text) is
asked, with the cells that leave it open, and never guessed.
"""

import decimal
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, tzinfo
from typing import Any

from msgspec import Struct

from joinback.errors import JoinbackError

from . import numbers
from .cell_values import DIGITS, KINDS, WORDS, reader_of, shown
from .numbers import COMMA, POINT, Decimal
from .times import UNITS_S, Days, TimeReader, days_of, iso


class Told(Struct, frozen=True, kw_only=True):
    """What somebody said of the cells, so that it is not guessed."""

    types: Mapping[str, str] = {}
    """Column -> kind."""
    nulls: frozenset[str] = frozenset()
    decimal: Decimal | None = None
    day_first: bool | None = None
    zone: tzinfo | None = None


class Settled(Struct, frozen=True, kw_only=True):
    """A column as it is read: `says` is for a person, `read` raises Unreadable."""

    name: str
    kind: str
    says: str
    read: Callable[[Any], Any]


class Seen(Struct):
    """The first cell of some kind in a column."""

    row: int
    cell: Any

    def __str__(self) -> str:
        return f"row {self.row} has {shown(self.cell)}"


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
        """Count a cell that says something."""
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
            self._note("no word", row, cell)
        if numbers.has_leading_zero(cell):
            self._note("leading zero", row, cell)
        self._see_number(row, cell)

    def _see_number(self, row: int, cell: str) -> None:
        point = numbers.parsed(cell, POINT)
        # Most cells hold neither mark.
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

    def settle(self, told: Told, now: datetime) -> Settled:
        """Return what the column is. Raises JoinbackError, which asks, where its cells leave that open."""
        kind = told.types.get(self.name)
        if kind is not None and kind not in KINDS:
            raise JoinbackError(f"--type {self.name}={kind}: a field is one of {', '.join(KINDS)}")
        if kind in ("int", "float"):
            return self._settled(kind, "as told", self._decimal(told))
        if kind is not None:
            return self._settled(kind, "as told")
        if self._total == 0:
            return self._settled("any", "no cell says anything")
        if self._has_fractions and self._types.keys() <= {"int", "float", "Decimal"}:
            # Excel and JSON write 3.0 as 3.
            return self._settled("float", "")
        if self._is_typed:
            return self._settled("any", ", ".join(f"{name}" for name, _ in self._types.most_common()))
        return self._guess(told)

    def _guess(self, told: Told) -> Settled:
        if self._words + self._digits == self._total and self._words:
            return self._settled("bool", "")
        if (zero := self._first.get("leading zero")) is not None:
            return self._settled("str", f"leading zeros: {zero}")
        decimal = self._decimal(told)
        if self._fits[decimal] == self._total:
            kind = "float" if self._floats[decimal] else "int"
            hint = f"only 0 and 1; --type {self.name}=bool if they mean no and yes" if self._is_digits() else ""
            return self._settled(kind, hint, decimal)
        self._check_mixed("bool", self._words + (self._digits if self._words else 0), "no word")
        self._check_mixed("float" if self._floats[decimal] else "int", self._fits[decimal], f"not {decimal}")
        return self._settled("str", "")

    def _is_digits(self) -> bool:
        return self._digits == self._total

    def _check_mixed(self, kind: str, fitting: int, odd: str) -> None:
        """Raise where most cells are of a kind: the others may be its mistakes, or the column be text."""
        if 2 * fitting > self._total:
            raise JoinbackError(
                f"{self.name} is {kind} in {fitting:,} of {self._total:,} rows, but {self._first[odd]};"
                f" say --type {self.name}={kind} (those rows are refused), --type {self.name}=str, or --null for it"
            )

    def _decimal(self, told: Told) -> Decimal:
        if told.decimal is not None:
            return told.decimal
        point, comma = self._fits[POINT], self._fits[COMMA]
        if point == comma and (either := self._first.get("either")) is not None:
            raise JoinbackError(
                f"{self.name}: {either}, which is {numbers.parsed(either.cell, POINT)} or"
                f" {numbers.parsed(either.cell, COMMA)}, and no other cell tells; say --decimal . or --decimal ,"
            )
        return COMMA if comma > point else POINT

    def _settled(self, kind: str, why: str, decimal: Decimal = POINT) -> Settled:
        marks = ""
        if kind in ("int", "float") and (
            seen := self._first.get("either") or self._first.get(f"not {_other(decimal)}")
        ):
            value = numbers.parsed(seen.cell, decimal) if isinstance(seen.cell, str) else None
            marks = "" if value is None else f"{shown(seen.cell)} is {value}"
        says = ": ".join(part for part in (kind, ", ".join(filter(None, (why, marks)))) if part)
        return Settled(name=self.name, kind=kind, says=says, read=reader_of(kind, decimal))


def _other(decimal: Decimal) -> Decimal:
    return COMMA if decimal == POINT else POINT


class TimeSurvey:
    """Looks at the cells of a column of times."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._total = 0
        self._readable = 0
        self._first: dict[str, Seen] = {}

    def see(self, row: int, cell: Any) -> None:
        """Count a cell that says something."""
        self._total += 1
        if not isinstance(cell, str):
            self._readable += not isinstance(cell, int | float)
        elif iso(cell) is not None:
            self._readable += 1
        elif (days := days_of(cell)) is not None:
            self._readable += 1
            self._see_days(row, cell, days)
        else:
            self._note("no time", row, cell)

    def _see_days(self, row: int, cell: str, days: Days) -> None:
        if days.mark != ".":
            self._note("days", row, cell)
            if days.first > 12:
                self._note("day first", row, cell)
            if days.second > 12:
                self._note("month first", row, cell)
        else:
            self._note("dots", row, cell)

    def _note(self, what: str, row: int, cell: Any) -> None:
        if what not in self._first:
            self._first[what] = Seen(row, cell)

    def settle(self, told: Told, now: datetime) -> Settled:
        """Return how the times are read. Raises JoinbackError, which asks, where the cells leave that open."""
        unit = told.types.get(self.name)
        if unit == "time":
            unit = None
        if unit is not None and unit not in UNITS_S:
            raise JoinbackError(f"--type {self.name}={unit}: a time is one of {', '.join(UNITS_S)}, time")
        zone = told.zone or UTC
        if unit is not None:
            return self._settled(f"{unit} since 1970", TimeReader(now=now, zone=zone, unit=unit))
        if self._total and not self._readable:
            # The first cell tells what is wrong with all of them.
            seen = self._first.get("no time")
            raise JoinbackError(
                f"{self.name} holds no times: {seen or 'it holds numbers'}; write ISO 8601, such as"
                f" 2026-11-23T11:00:00Z, or say --type {self.name}=unix_s, unix_ms or unix_us"
            )
        day_first, order = self._order(told)
        where = f"in {zone}" if told.zone else "UTC"
        says = ", ".join(filter(None, (order, f"{where} where a cell names no zone")))
        return self._settled(says, TimeReader(now=now, zone=zone, day_first=day_first))

    def _settled(self, says: str, read: TimeReader) -> Settled:
        return Settled(name=self.name, kind="time", says=f"time: {says}", read=read)

    def _order(self, told: Told) -> tuple[bool, str]:
        either = self._first.get("days")
        if either is None:
            return True, f"day first, as with dots ({self._first['dots']})" if "dots" in self._first else ""
        if told.day_first is not None:
            return told.day_first, "day first, as told" if told.day_first else "month first, as told"
        day, month = self._first.get("day first"), self._first.get("month first")
        if day and month:
            raise JoinbackError(
                f"{self.name} has two orders of day and month: {day}, {month}; say --day-first or --month-first"
                " (the others are refused)"
            )
        if not day and not month:
            raise JoinbackError(
                f"{self.name}: {either}: day first or month first? no cell tells; say --day-first or --month-first"
            )
        return bool(day), f"day first ({day})" if day else f"month first ({month})"
