"""The records in a CSV file with a header.

The caller names the columns of inputs, outputs, feedback and tags. If it does not, they are the columns whose names
begin with `input`, `output`, `feedback` and `tags`. The columns `timestamp` (ISO 8601; UTC without a zone), `join_key`
and `feedback_id` have these names if the caller gives no others.

A column has one type, by the rules in `column_types`: numbers or booleans if all its cells are, else text. Tags and
join keys are always text. Keys are trimmed; if all keys in a column are whole floats (`1001.0`), they become integers.
A missing cell is null in inputs and outputs. In feedback and tags the field is left out. A line that has no inputs,
outputs or feedback is not logged.

The file is read twice, because a column's type is known only after its last line. A line's event id comes from the
file's name, the line's number and its cells. So a file that is logged again after an interruption changes nothing, if
its lines have join keys.
"""

import csv
import hashlib
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from msgspec import Struct

from joinback import cells as one_cell
from joinback.drops import NotLogged

from .column_types import ColumnType, is_missing, types_of
from .keys import join_key_of
from .records import Record, not_logged, record_of

_PREFIXES = {"inputs": "input", "outputs": "output", "feedback": "feedback", "tags": "tags"}
_LOST_DIGITS = re.compile(r"\d\.\d+E\+\d\d", re.ASCII).fullmatch
"""How a spreadsheet writes a long number."""

Cells: TypeAlias = list[str]
Line: TypeAlias = tuple[int, Cells]


class Load(Struct):
    """A file that is being read. As text it is a summary without any cell, because cells may be private."""

    name: str
    types: dict[str, ColumnType]
    """Name -> type of each column of values."""
    keys: dict[str, ColumnType]
    records: Iterator[Record]
    lines: int = 0
    refused: int = 0
    silent: int = 0
    """Lines that are neither a prediction nor feedback."""

    @property
    def is_odd(self) -> bool:
        """Whether a person should look at it: lines were refused, or one line made a column text."""
        return self.refused > 0 or any(type_.is_odd for type_ in self.types.values())

    def __str__(self) -> str:
        by_kind: dict[str, list[str]] = {}
        for column, type_ in [*self.types.items(), *self.keys.items()]:
            shown = f"{column} ({type_.oddity})" if type_.oddity else column
            by_kind.setdefault(type_.kind, []).append(shown)
        silent = f", {self.silent:,} without a label" if self.silent else ""
        columns = "".join(f"; {kind}: {', '.join(names)}" for kind, names in by_kind.items())
        return f"{self.name}: {self.lines:,} lines, {self.refused:,} refused{silent}{columns}"


def load(
    path: str | os.PathLike[str],
    sep: str,
    payloads: Mapping[str, Collection[str] | None],
    singles: Mapping[str, str | None],
    feedback_keys: Collection[str] | None,
) -> Load:
    """Return a file with one record per line. The record of a line that cannot be logged has its `trouble`.

    `payloads` and `singles` name columns; None means those with the usual names. Raises NotLogged if the file cannot be
    read or lacks the columns.
    """
    file = Path(path)
    try:
        header, lines = _lines(file, sep)
        sides, special = _roles(header, payloads, singles, feedback_keys or ())
        named = {*sides["inputs"], *sides["outputs"], *sides["feedback"], *(feedback_keys or ())}
        values = {n: name for n, name in enumerate(header) if name in named}
        keys = {header.index(name): name for role, name in special.items() if role != "timestamp"}
        types, key_types = types_of(lines, len(header), values, keys)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise NotLogged("invalid", f"{file.name} cannot be read: {error}") from None
    begun = Load(file.name, types, key_types, iter(()))
    begun.records = _records(begun, file, sep, _Layout(header, sides, special, feedback_keys, begun))
    return begun


class _Layout:
    """Where the parts of a record are in a line, and how to read them."""

    def __init__(
        self,
        header: Cells,
        sides: Mapping[str, Cells],
        special: Mapping[str, str],
        feedback_keys: Collection[str] | None,
        begun: Load,
    ) -> None:
        at = {name: n for n, name in enumerate(header)}

        def reads(names: Collection[str]) -> list[tuple[str, int, Callable[[str], Any]]]:
            return [(name, at[name], begun.types[name].read) for name in names]

        self.width = len(header)
        self.inputs, self.outputs, self.feedback = (reads(sides[side]) for side in ("inputs", "outputs", "feedback"))
        self.tags = [(name, at[name]) for name in sides["tags"]]
        self.keys = {role: (at[name], begun.keys[name].read) for role, name in special.items() if role != "timestamp"}
        self.timestamp = at[special["timestamp"]] if "timestamp" in special else None
        self.feedback_keys = feedback_keys
        self.key_inputs = reads(feedback_keys or ())


def _records(begun: Load, file: Path, sep: str, layout: _Layout) -> Iterator[Record]:
    for number, cells in _lines(file, sep)[1]:
        try:
            if len(cells) != layout.width:
                raise NotLogged("invalid", f"{len(cells)} cells, but the header has {layout.width}")
            record = _record(layout, cells)
            record.event_id = _identity(file, number, cells)
        except (NotLogged, ValueError) as error:
            record = not_logged(NotLogged("invalid", f"{file.name}, line {number}: {error}"))
        yield record
        # Here the recorder has tried to log it, and set its `trouble` if that failed.
        begun.lines += 1
        if record.trouble is not None:
            begun.refused += 1
        elif record.says_nothing:
            begun.silent += 1


def _lines(file: Path, sep: str) -> tuple[Cells, Iterator[Line]]:
    """Return the header, and each line that is not blank with its number."""

    def read() -> Iterator[Line]:
        # Excel begins a file in UTF-8 with a byte order mark.
        with file.open(newline="", encoding="utf-8-sig") as text:
            reader = csv.reader(text, delimiter=sep)
            yield from ((reader.line_num, cells) for cells in reader if cells)

    lines = read()
    _, header = next(lines, (0, []))
    return [name.strip() for name in header], lines


def _roles(
    header: Cells,
    payloads: Mapping[str, Collection[str] | None],
    singles: Mapping[str, str | None],
    feedback_keys: Collection[str],
) -> tuple[dict[str, Cells], dict[str, str]]:
    """Return part of the record -> its columns, and join_key, timestamp, feedback_id -> its column if there is one."""
    asked = [name for names in payloads.values() for name in names or ()]
    asked += [name for name in singles.values() if name is not None] + list(feedback_keys)
    if len(set(header)) < len(header):
        raise NotLogged("invalid", f"the file has several columns of one name: {', '.join(header)}")
    if missing := sorted(set(asked) - set(header)):
        raise NotLogged("invalid", f"the file has no column {', '.join(missing)}; it has {', '.join(header)}")
    special = {role: name or role for role, name in singles.items() if (name or role) in header}
    sides = {
        side: [name for name in header if name.startswith(_PREFIXES[side]) and name not in singles]
        if names is None
        else list(names)
        for side, names in payloads.items()
    }
    if not sides["inputs"] and not sides["outputs"] and not sides["feedback"]:
        raise NotLogged("invalid", f"no column of inputs, outputs or feedback among {', '.join(header) or 'none'}")
    return sides, special


def _record(layout: _Layout, cells: Cells) -> Record:
    named = {role: read(cells[n]) for role, (n, read) in layout.keys.items()}
    key_inputs = {name: read(cells[n]) for name, n, read in layout.key_inputs}
    key = join_key_of(key_inputs, named.get("feedback_id"), layout.feedback_keys, named.get("join_key"))
    if key is not None and _LOST_DIGITS(key):
        raise NotLogged("invalid", "a join key that has lost digits; format the column as text, and export it again")
    inputs = {name: read(cells[n]) for name, n, read in layout.inputs} or None
    outputs = {name: read(cells[n]) for name, n, read in layout.outputs} or None
    feedback = {name: value for name, n, read in layout.feedback if (value := read(cells[n])) is not None}
    tags = {name: cells[n] for name, n in layout.tags if not is_missing(cells[n])}
    at = None
    if layout.timestamp is not None and not is_missing(when := cells[layout.timestamp]):
        at = one_cell.when(when)
    return record_of(inputs, outputs, feedback, key, at, tags, None)


def _identity(file: Path, number: int, cells: Cells) -> str:
    """Return an event id of 16 hex digits, the same for the same line of the same file."""
    return hashlib.sha256(f"{file.name}\0{number}\0{cells}".encode()).hexdigest()[:16]
