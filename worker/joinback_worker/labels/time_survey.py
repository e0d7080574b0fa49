"""The survey of the column of times. All cells settle whether day or month comes first; else the user is asked."""

from datetime import UTC, datetime
from typing import Any

from joinback.errors import JoinbackError

from .settled import Given, Seen, Settled
from .times import UNITS_S, Days, TimeReader, days_of, fix_of_number, iso


class TimeSurvey:
    """Looks at the cells of a column of times."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._total = 0
        self._readable = 0
        self._first: dict[str, Seen] = {}

    def see(self, row: int, cell: Any) -> None:
        """Count a cell that has a value."""
        self._total += 1
        if not isinstance(cell, str):
            if isinstance(cell, int | float):
                self._note("not a time", row, cell)
            else:
                self._readable += 1
        elif iso(cell) is not None:
            self._readable += 1
        elif (days := days_of(cell)) is not None:
            self._readable += 1
            self._see_days(row, cell, days)
        else:
            self._note("not a time", row, cell)

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

    def settle(self, given: Given, now: datetime) -> Settled:
        """Return how the times are read. Raises JoinbackError, which asks the user, if the cells leave that open."""
        unit = given.types.get(self.name)
        if unit == "time":
            unit = None
        if unit is not None and unit not in UNITS_S:
            raise JoinbackError(f"--type {self.name}={unit}: a time is one of {', '.join(UNITS_S)}, time")
        zone = given.zone or UTC
        if unit is not None:
            return self._settled(f"{unit} since 1970", TimeReader(now=now, zone=zone, unit=unit))
        if self._total and not self._readable:
            # What is wrong with the first cell is most likely wrong with all of them.
            seen = self._first["not a time"]
            fix = fix_of_number(seen.cell, self.name)
            iso = "" if "spreadsheet" in fix else "write ISO 8601, such as 2026-11-23T11:00:00Z, or "
            raise JoinbackError(f"{self.name} holds no times: {seen}; {iso}{fix}")
        day_first, order = self._order(given)
        where = f"in {zone}" if given.zone else "UTC"
        description = ", ".join(filter(None, (order, f"{where} where a cell names no zone")))
        return self._settled(description, TimeReader(now=now, zone=zone, day_first=day_first))

    def _settled(self, description: str, read: TimeReader) -> Settled:
        return Settled(name=self.name, kind="time", description=f"time: {description}", read=read)

    def _order(self, given: Given) -> tuple[bool, str]:
        either = self._first.get("days")
        if either is None:
            return True, f"day first, as with dots ({self._first['dots']})" if "dots" in self._first else ""
        if given.day_first is not None:
            return given.day_first, "day first, as given" if given.day_first else "month first, as given"
        day, month = self._first.get("day first"), self._first.get("month first")
        if day and month:
            raise JoinbackError(
                f"{self.name} has two orders of day and month: {day}, {month}; add --day-first or --month-first"
                " (the other rows are refused)"
            )
        if not day and not month:
            raise JoinbackError(
                f"{self.name}: {either}: day first or month first? no cell decides it; add --day-first or --month-first"
            )
        return bool(day), f"day first ({day})" if day else f"month first ({month})"
