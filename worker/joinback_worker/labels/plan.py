"""From a line to a label: which column is the key, the time, and each field, and how each is read."""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from string import Formatter
from typing import Any

from msgspec import Struct

import joinback
from joinback import cells, wire
from joinback.drops import NotLogged
from joinback.errors import JoinbackError

from .cell_values import Unreadable, shown, stripped
from .lines import Line, Source, check_columns
from .same_value import canonical_json
from .settled import Settled, Told
from .time_survey import TimeSurvey
from .value_survey import ValueSurvey

ENVELOPE_BYTES = 4_096
"""What an event holds beside its fields: times, names of environment and source; the client checks it exactly."""
IMPORTED = "import-"
"""What the ids of imported events begin with."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LOST_DIGITS = re.compile(r"[+-]?\d(?:[.,]\d+)?E\+\d\d", re.ASCII).fullmatch
"""What a spreadsheet makes of a long number."""


class Roles(Struct, frozen=True, kw_only=True):
    """Which columns are what, as somebody said."""

    key: str | None = None
    """A column, or a format over columns, such as `loan_{id}`."""
    key_fields: Mapping[str, str] = {}
    """Field of JoinKey.from_dict -> column, instead of `key`."""
    at: str
    fields: Mapping[str, str]
    """Field of the feedback -> column."""


class Label(Struct, frozen=True, gc=False):
    """One line that can be told."""

    row: int
    key: str
    at: datetime
    fields: dict[str, Any]
    event_id: str
    source: str | None = None
    corrects: Mapping[str, Sequence[str]] = {}
    """Earlier event -> the fields of it that this label takes back."""

    @property
    def moment(self) -> str:
        """Return what the ids of all imported events of its time begin with."""
        return self.event_id[: self.event_id.rindex("-") + 1]


class Refused(Struct, frozen=True):
    """One line that cannot be told, and why."""

    row: int
    why: str


class Silent(Struct, frozen=True):
    """One line without any label: it says nothing."""

    row: int


class Plan:
    """How the lines of one source become labels."""

    def __init__(self, application: str, roles: Roles, source: Source, told: Told, told_by: str | None = None) -> None:
        """`told_by` is the source of the feedback.

        Raises JoinbackError for columns that are not there, and formats that are none.
        """
        self._application = application
        self._roles = roles
        self._told = told
        self._told_by = told_by
        columns = source.columns()
        self._pieces = _pieces(roles, columns)
        used = [column for _, column in self._pieces if column] + [*roles.key_fields.values()]
        used += [roles.at, *roles.fields.values()]
        check_columns([*used, *told.types], columns)
        self.wanted = list(dict.fromkeys(used))
        for column in told.types:
            if column not in (roles.at, *roles.key_fields.values(), *roles.fields.values()):
                raise JoinbackError(f"--type {column}: no field and no time; a join key is text as it stands")
        self._place = {column: place for place, column in enumerate(self.wanted)}
        self._is_typed = source.is_typed
        self.settled: dict[str, Settled] = {}

    def survey(self, batches: Iterable[Sequence[Line]], now: datetime) -> Iterable[int]:
        """Look at all lines and settle what the columns are; yields how many lines were seen, batch by batch.

        Raises JoinbackError, which asks, for what they leave open.
        """
        values = {*self._roles.fields.values(), *self._roles.key_fields.values()} - {self._roles.at}
        looks: dict[str, ValueSurvey | TimeSurvey] = {
            name: ValueSurvey(name, is_typed=self._is_typed) for name in sorted(values)
        }
        looks[self._roles.at] = TimeSurvey(self._roles.at)
        nulls = self._told.nulls
        places = [(self._place[name], look.see) for name, look in looks.items()]
        for lines in batches:
            for row, found, trouble in lines:
                if trouble is None:
                    for place, see in places:
                        if (cell := stripped(found[place], nulls)) is not None:
                            see(row, cell)
            yield len(lines)
        for name, look in looks.items():
            self.settled[name] = look.settle(self._told, now)

    def says(self) -> dict[str, str]:
        """Return column -> what it is, for a person, in the order key, time, fields."""
        key = self._roles.key or f"JoinKey.from_dict of {', '.join(self._roles.key_fields)}"
        told = {column: f"join key, {key}" for _, column in self._pieces if column}
        for column in (*self._roles.key_fields.values(), self._roles.at, *self._roles.fields.values()):
            told[column] = self.settled[column].says
        return told

    def read(self, line: Line) -> Label | Refused | Silent:
        """Return what a line says. Call `survey` before."""
        if line.trouble is not None:
            return Refused(line.row, line.trouble)
        try:
            fields = self._fields(line.cells)
            if not fields:
                return Silent(line.row)
            key = self.key_of(line)
            at = self._value(line.cells, self._roles.at)
            if at is None:
                raise Unreadable(f"{self._roles.at} is missing: no time")
        except (Unreadable, NotLogged) as error:
            return Refused(line.row, str(error))
        return self._label(line.row, key, at, fields)

    def key_of(self, line: Line) -> str:
        """Return a line's join key. Raises Unreadable or Refused."""
        if self._roles.key_fields:
            return self._dict_key(line.cells)
        parts = [literal + (self._key_text(line.cells, column) if column else "") for literal, column in self._pieces]
        key = cells.key("".join(parts))
        if key is None:
            raise Unreadable("the join key is empty")
        return key

    def _dict_key(self, found: Sequence[Any]) -> str:
        values = {name: self._value(found, column) for name, column in self._roles.key_fields.items()}
        for name, value in values.items():
            if value is None:
                raise Unreadable(f"{self._roles.key_fields[name]} is missing: no join key")
        try:
            return str(joinback.JoinKey.from_dict(values))
        except TypeError as error:
            raise Unreadable(str(error)) from None

    def key_cells(self, line: Line) -> dict[str, Any]:
        """Return the cells that the key was made of, by the names that JoinKey.from_dict may have known them by."""
        names = self._roles.key_fields or {column: column for _, column in self._pieces if column}
        return {name: stripped(line.cells[self._place[column]], self._told.nulls) for name, column in names.items()}

    def _key_text(self, found: Sequence[Any], column: str) -> str:
        try:
            text = cells.key(stripped(found[self._place[column]], self._told.nulls))
        except NotLogged as refusal:
            raise Unreadable(f"{column}: {refusal}") from None
        if text is None:
            raise Unreadable(f"{column} is missing: no join key")
        if _LOST_DIGITS(text):
            raise Unreadable(f"{column} is {shown(text)}: it has lost digits; format the column as text, export again")
        return text

    def _fields(self, found: Sequence[Any]) -> dict[str, Any]:
        fields = {}
        for name, column in self._roles.fields.items():
            if (value := self._value(found, column)) is not None:
                fields[name] = value
        return fields

    def _value(self, found: Sequence[Any], column: str) -> Any:
        cell = stripped(found[self._place[column]], self._told.nulls)
        if cell is None:
            return None
        try:
            return self.settled[column].read(cell)
        except Unreadable as error:
            raise Unreadable(f"{column}: {error}") from None

    def _label(self, row: int, key: str, at: datetime, fields: dict[str, Any]) -> Label | Refused:
        try:
            said = canonical_json([self._application, key, fields, *([self._told_by] if self._told_by else [])])
        except (TypeError, ValueError, RecursionError) as error:
            return Refused(row, f"its fields are no JSON: {error}")
        if len(said) > wire.EVENT_BYTES_MAX - ENVELOPE_BYTES:
            most = wire.EVENT_BYTES_MAX - ENVELOPE_BYTES
            return Refused(row, f"{len(said):,} bytes of fields, at most {most:,} fit; is a quote never closed?")
        event_id = f"{_moment(at)}{hashlib.sha256(said).hexdigest()[:32]}"
        return Label(row, key, at, fields, event_id, self._told_by)


def _moment(at: datetime) -> str:
    """Return the beginning of an event id, by which another label of the same time is known without reading it."""
    return f"{IMPORTED}{(at - _EPOCH) // timedelta(microseconds=1):x}-"


def _pieces(roles: Roles, columns: Sequence[str]) -> list[tuple[str, str | None]]:
    """The parts of a join key: text, and the column that follows it."""
    if roles.key is None:
        return []
    # A column may be named like a format; the name comes first.
    if roles.key in columns or "{" not in roles.key:
        return [("", roles.key)]
    try:
        parsed = list(Formatter().parse(roles.key))
    except ValueError as error:
        raise JoinbackError(f"--key {roles.key!r} is no format: {error}; write it as 'loan_{{id}}'") from None
    if any(column == "" or spec or conversion for _, column, spec, conversion in parsed):
        raise JoinbackError(f"--key {roles.key!r}: a column stands in braces as it is, as in 'loan_{{id}}'")
    return [(literal, column) for literal, column, _, _ in parsed]
