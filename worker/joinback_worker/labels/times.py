"""Times as tables hold them: in ISO 8601, with the day or the month first, or as local times of a named zone.

A whole column settles whether the day or the month comes first: `03/04/2026` alone may be either; in a column with
`13/04/2026` it is the third of April. With dots, as in `03.04.2026`, the day always comes first.
"""

import re
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Any, NamedTuple

from .cell_values import Unreadable, shown

FUTURE_MAX = timedelta(days=1)
"""A missing zone shifts a time by at most 14 hours. A time further ahead than this has not happened yet."""
EARLIEST = datetime(1971, 1, 1, tzinfo=UTC)
"""Times before it are no labels but zeros: of spreadsheets (1900) and of Unix (1970)."""
UNITS_S = {"unix_s": 1.0, "unix_ms": 0.001, "unix_us": 0.000001}
"""Unit of a number since 1970 -> seconds. `--type` gives the unit; a number alone does not show it."""

_DAYS = re.compile(
    r"(\d{1,2})([/.-])(\d{1,2})\2(\d{4})"
    r"(?:(?:T|,?\s+)(\d{1,2}):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?\s*([AaPp]\.?[Mm]\.?)?)?"
    r"\s*(Z|UTC|GMT|[+-]\d\d:?\d\d)?",
    re.ASCII,
)
_SHORT_YEAR = re.compile(r"\d{1,2}([/.-])\d{1,2}\1\d\d(?:\D.*)?", re.ASCII | re.DOTALL)
_ZONE_APART = re.compile(r"(?:\s+(?=[+-]\d\d:?\d\d$)|\s*(?:UTC|GMT)$)", re.ASCII)


SERIALS = range(25_569, 73_051)
"""Numbers of the days from 1970 to 2099 in spreadsheets. As Unix seconds they would all lie on one day of 1970."""


def fix_of_number(cell: Any, column: str) -> str:
    """Return how to fix a time that is a number: a day of a spreadsheet, or seconds (or parts) since 1970."""
    try:
        is_serial = int(float(cell)) in SERIALS
    except (ValueError, OverflowError):
        is_serial = False
    if is_serial:
        return "it looks like a spreadsheet's day number: format the column as a date there, and save it again"
    return f"add --type {column}=unix_s, unix_ms or unix_us"


class Days(NamedTuple):
    """A day whose first two numbers may be day and month, or month and day."""

    first: int
    second: int
    mark: str
    rest: tuple[str | None, ...]


def days_of(text: str) -> Days | None:
    """Return the parts of a text that begins with a day or month; None for any other text."""
    found = _DAYS.fullmatch(text)
    if found is None:
        return None
    first, mark, second, *rest = found.groups()
    return Days(int(first), int(second), mark, tuple(rest))


def iso(text: str) -> datetime | None:
    """Return the time of a text that begins with the year; None for any other text."""
    if text[4:5] == "/" and text[7:8] == "/":
        text = text.replace("/", "-", 2)
    if text[4:5] != "-" and text[8:9] != "T":
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(_ZONE_APART.sub(lambda m: "" if m.group().isspace() else "+00:00", text))
    except ValueError:
        return None


class TimeReader:
    """Reads the cells of a column of times, by the order, zone and unit that the survey settled."""

    def __init__(self, *, now: datetime, zone: tzinfo, day_first: bool = True, unit: str | None = None) -> None:
        self._latest = now + FUTURE_MAX
        self._zone = zone
        self._day_first = day_first
        self._unit = unit

    def __call__(self, cell: Any) -> datetime:
        """Return the time in UTC. Raises Unreadable."""
        try:
            at = self._in_zone(self._parsed(cell)).astimezone(UTC)
        except (TypeError, ValueError, OverflowError, OSError):
            raise Unreadable(f"{shown(cell)} is not a time") from None
        if at > self._latest:
            raise Unreadable(f"{shown(cell)} is in the future")
        if at < EARLIEST:
            raise Unreadable(f"{shown(cell)} is before {EARLIEST.year}")
        return at

    def _parsed(self, cell: Any) -> datetime:
        if self._unit is not None:
            return datetime.fromtimestamp(float(cell) * UNITS_S[self._unit], UTC)
        if isinstance(cell, datetime):
            return cell
        if isinstance(cell, date):
            return datetime(cell.year, cell.month, cell.day)  # noqa: DTZ001 - the zone is added later
        if not isinstance(cell, str):
            fix = f"; {fix_of_number(cell, 'COLUMN')}" if isinstance(cell, int | float) else ""
            raise Unreadable(f"{shown(cell)} is not a time{fix}")
        if (at := iso(cell)) is not None:
            return at
        if (days := days_of(cell)) is not None:
            return self._of_days(days)
        if _SHORT_YEAR.fullmatch(cell):
            raise Unreadable(f"{shown(cell)} has a year of two digits; write it in full")
        if cell.isdigit():
            raise Unreadable(f"{shown(cell)} is a number; {fix_of_number(cell, 'COLUMN')}")
        raise Unreadable(f"{shown(cell)} is not a time; write ISO 8601, such as 2026-11-23T11:00:00Z")

    def _of_days(self, days: Days) -> datetime:
        day, month = (days.first, days.second) if self._day_first or days.mark == "." else (days.second, days.first)
        year, hour, minute, second, part, half, zone = days.rest
        at = datetime(  # noqa: DTZ001 - the zone is added later
            int(year or 0), month, day, _hour(int(hour or 0), half), int(minute or 0), int(second or 0),
            int((part or "0")[:6].ljust(6, "0")),
        )  # fmt: skip
        if zone is None:
            return at
        return datetime.fromisoformat(at.isoformat() + ("+00:00" if zone in ("Z", "UTC", "GMT") else zone))

    def _in_zone(self, at: datetime) -> datetime:
        if at.tzinfo is not None:
            return at
        local = at.replace(tzinfo=self._zone)
        if self._zone is not UTC and local.astimezone(UTC).astimezone(self._zone).replace(tzinfo=None) != at:
            raise Unreadable(f"{at.isoformat(' ')} does not exist in {self._zone}: its clocks were put forward over it")
        return local


def _hour(hour: int, half: str | None) -> int:
    if half is None:
        return hour
    if not 1 <= hour <= 12:
        raise ValueError(hour)
    return hour % 12 + (12 if half[0] in "pP" else 0)
