"""How a line becomes a label: which column is the key, the time and each field, and how each is read."""

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
from .settled import Given, Settled
from .time_survey import TimeSurvey
from .value_survey import ValueSurvey

ENVELOPE_BYTES = 4_096
"""Bytes of an event beside its fields: times, names of environment and source. The client checks the size exactly."""
IMPORTED = "import-"
"""The ids of all imported events begin with it."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LOST_DIGITS = re.compile(r"[+-]?\d(?:[.,]\d+)?E\+\d\d", re.ASCII).fullmatch
"""Matches what a spreadsheet makes of a long number: 1.23457E+15, say."""


class Roles(Struct, frozen=True, kw_only=True):
    """Which column is what, as the user gave it."""

    key: str | None = None
    """A column, or a format over columns, such as `loan_{id}`."""
    key_fields: Mapping[str, str] = {}
    """Field of JoinKey.from_dict -> column, instead of `key`."""
    at: str
    fields: Mapping[str, str]
    """Field of the feedback -> column."""


class Label(Struct, frozen=True, gc=False):
    """One line that can be sent as feedback."""

    row: int
    key: str
    at: datetime
    fields: dict[str, Any]
    event_id: str
    source: str | None = None
    corrects: Mapping[str, Sequence[str]] = {}
    """Id of an earlier event -> the fields of it that this label takes back."""

    @property
    def moment(self) -> str:
        """Return the beginning of its event id, which all imported events of the same time share."""
        return self.event_id[: self.event_id.rindex("-") + 1]


class Refused(Struct, frozen=True):
    """One line that cannot be sent, and why."""

    row: int
    why: str


class WithoutLabel(Struct, frozen=True):
    """One line whose label columns are all empty."""

    row: int


class Plan:
    """How the lines of one source become labels."""

    def __init__(
        self, application: str, roles: Roles, source: Source, given: Given, feedback_source: str | None = None
    ) -> None:
        """Check the roles. `feedback_source` becomes the source of each feedback event.

        Raises JoinbackError for a column that the source lacks, and for a wrong format.
        """
        self._application = application
        self._roles = roles
        self._given = given
        self._feedback_source = feedback_source
        columns = source.columns()
        self._pieces = _pieces(roles, columns)
        used = [column for _, column in self._pieces if column] + [*roles.key_fields.values()]
        used += [roles.at, *roles.fields.values()]
        check_columns([*used, *given.types], columns)
        self.wanted = list(dict.fromkeys(used))
        for column in given.types:
            if column not in (roles.at, *roles.key_fields.values(), *roles.fields.values()):
                raise JoinbackError(
                    f"--type {column}: it is neither a field nor the time; a join key is always read as text"
                )
        self._place = {column: place for place, column in enumerate(self.wanted)}
        self._is_typed = source.is_typed
        self.settled: dict[str, Settled] = {}

    def survey(self, batches: Iterable[Sequence[Line]], now: datetime) -> Iterable[int]:
        """Look at all lines and settle what the columns are. Yield the number of lines of each batch.

        Raises JoinbackError, which asks the user, if the lines leave something open.
        """
        values = {*self._roles.fields.values(), *self._roles.key_fields.values()} - {self._roles.at}
        looks: dict[str, ValueSurvey | TimeSurvey] = {
            name: ValueSurvey(name, is_typed=self._is_typed) for name in sorted(values)
        }
        looks[self._roles.at] = TimeSurvey(self._roles.at)
        nulls = self._given.nulls
        places = [(self._place[name], look.see) for name, look in looks.items()]
        for lines in batches:
            for row, found, trouble in lines:
                if trouble is None:
                    for place, see in places:
                        if (cell := stripped(found[place], nulls)) is not None:
                            see(row, cell)
            yield len(lines)
        for name, look in looks.items():
            self.settled[name] = look.settle(self._given, now)

    def descriptions(self) -> dict[str, str]:
        """Return column -> what it is, for a person. The order is key, time, fields."""
        key = self._roles.key or f"JoinKey.from_dict of {', '.join(self._roles.key_fields)}"
        descriptions = {column: f"join key, {key}" for _, column in self._pieces if column}
        for column in (*self._roles.key_fields.values(), self._roles.at, *self._roles.fields.values()):
            descriptions[column] = self.settled[column].description
        return descriptions

    def read(self, line: Line) -> Label | Refused | WithoutLabel:
        """Return what becomes of a line. Call `survey` before."""
        if line.trouble is not None:
            return Refused(line.row, line.trouble)
        try:
            fields = self._fields(line.cells)
            if not fields:
                return WithoutLabel(line.row)
            key = self.key_of(line)
            at = self._value(line.cells, self._roles.at)
            if at is None:
                raise Unreadable(f"{self._roles.at} is missing, which is the time")
        except (Unreadable, NotLogged) as error:
            return Refused(line.row, str(error))
        return self._label(line.row, key, at, fields)

    def key_of(self, line: Line) -> str:
        """Return a line's join key. Raises Unreadable, NotLogged."""
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
                raise Unreadable(f"{self._roles.key_fields[name]} is missing, which the join key needs")
        try:
            return str(joinback.JoinKey.from_dict(values))
        except TypeError as error:
            raise Unreadable(str(error)) from None

    def key_cells(self, line: Line) -> dict[str, Any]:
        """Return name -> cell of the cells that make the key, by the names that JoinKey.from_dict may have got."""
        names = self._roles.key_fields or {column: column for _, column in self._pieces if column}
        return {name: stripped(line.cells[self._place[column]], self._given.nulls) for name, column in names.items()}

    def _key_text(self, found: Sequence[Any], column: str) -> str:
        try:
            text = cells.key(stripped(found[self._place[column]], self._given.nulls))
        except NotLogged as refusal:
            raise Unreadable(f"{column}: {refusal}") from None
        if text is None:
            raise Unreadable(f"{column} is missing, which the join key needs")
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
        cell = stripped(found[self._place[column]], self._given.nulls)
        if cell is None:
            return None
        try:
            return self.settled[column].read(cell)
        except Unreadable as error:
            raise Unreadable(f"{column}: {error}") from None

    def _label(self, row: int, key: str, at: datetime, fields: dict[str, Any]) -> Label | Refused:
        try:
            source = [self._feedback_source] if self._feedback_source else []
            content = canonical_json([self._application, key, fields, *source])
        except (TypeError, ValueError, RecursionError) as error:
            return Refused(row, f"its fields cannot be JSON: {error}")
        if len(content) > wire.EVENT_BYTES_MAX - ENVELOPE_BYTES:
            most = wire.EVENT_BYTES_MAX - ENVELOPE_BYTES
            return Refused(row, f"{len(content):,} bytes of fields, but at most {most:,} fit; is a quote never closed?")
        event_id = f"{_moment(at)}{hashlib.sha256(content).hexdigest()[:32]}"
        return Label(row, key, at, fields, event_id, self._feedback_source)


def _moment(at: datetime) -> str:
    """Return the beginning of an event id. It shows which events are of the same time, without reading them."""
    return f"{IMPORTED}{(at - _EPOCH) // timedelta(microseconds=1):x}-"


def _pieces(roles: Roles, columns: Sequence[str]) -> list[tuple[str, str | None]]:
    """Return the parts of a join key: each a text, and the column that follows it."""
    if roles.key is None:
        return []
    # A column may have a name like a format. Then it is the column.
    if roles.key in columns or "{" not in roles.key:
        return [("", roles.key)]
    try:
        parsed = list(Formatter().parse(roles.key))
    except ValueError as error:
        raise JoinbackError(f"--key {roles.key!r} is not a format: {error}; write it as 'loan_{{id}}'") from None
    if any(column == "" or spec or conversion for _, column, spec, conversion in parsed):
        raise JoinbackError(f"--key {roles.key!r}: write only the name of a column between braces, as in 'loan_{{id}}'")
    return [(literal, column) for literal, column, _, _ in parsed]
