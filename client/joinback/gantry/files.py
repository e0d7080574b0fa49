"""A CSV file with a header as records.

Which columns are inputs, outputs, feedback and tags is said by name, or else by the beginning of their names:
`input`, `output`, `feedback`, `tags`. `timestamp` (ISO 8601, UTC if it names no zone), `join_key` and
`feedback_id` are found by these names if not told otherwise.

A column is of one type, by the rules in `column_types`: numbers or booleans if all its cells are, else text. Tags
and join keys are always text; keys are trimmed, and a column of keys that are all whole floats (`1001.0`) holds the
integers. A missing cell is null among inputs and outputs. In feedback and tags it says nothing: a line without any
feedback is a prediction, or nothing.

The file is read twice: a column's type is not known before its last line. A line's event id comes from the
file's name, its number and its cells, so that a file that is logged again, after an interruption, changes nothing
where its lines have join keys.
"""

import csv
import hashlib
import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

from msgspec import Struct

from joinback import cells as one_cell
from joinback.events import Refused

from .column_types import ColumnType, is_missing, types_of
from .keys import join_key_of
from .records import Record, record_of, refused

_PREFIXES = {"inputs": "input", "outputs": "output", "feedback": "feedback", "tags": "tags"}
_LOST_DIGITS = re.compile(r"\d\.\d+E\+\d\d", re.ASCII).fullmatch
"""What a spreadsheet makes of a long number."""

Cells: TypeAlias = list[str]
Line: TypeAlias = tuple[int, Cells]


class Load(Struct):
    """A file that is being read; as text, what became of it, with no cell of it, since those may be private."""

    name: str
    types: dict[str, ColumnType]
    """Of each column with values or keys, by its name."""
    keys: dict[str, ColumnType]
    records: Iterator[Record]
    lines: int = 0
    refused: int = 0
    silent: int = 0

    @property
    def is_odd(self) -> bool:
        """Whether somebody should look at it: lines were refused, or one line made a column text."""
        return self.refused > 0 or any(type_.is_odd for type_ in self.types.values())

    def __str__(self) -> str:
        by_kind: dict[str, list[str]] = {}
        for column, type_ in [*self.types.items(), *self.keys.items()]:
            told = f"{column} ({type_.oddity})" if type_.oddity else column
            by_kind.setdefault(type_.kind, []).append(told)
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
    """A file whose records are one a line; one of a line that is none has its trouble.

    `payloads` and `singles` name columns; None means those of the usual names. Raises Refused for a file that
    cannot be read or has none of the columns.
    """
    file = Path(path)
    try:
        header, lines = _lines(file, sep)
        sides, special = _roles(header, payloads, singles, feedback_keys or ())
        named = {*sides["inputs"], *sides["outputs"], *sides["feedback"], *(feedback_keys or ())}
        values = {n: name for n, name in enumerate(header) if name in named}
        keys = {header.index(name): name for role, name in special.items() if role != "timestamp"}
        types, key_types = types_of(lines, values, keys)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise Refused("invalid", f"{file.name} cannot be read: {error}") from None
    begun = Load(file.name, types, key_types, iter(()))
    begun.records = _records(begun, file, sep, sides, special, feedback_keys)
    return begun


def _records(
    begun: Load,
    file: Path,
    sep: str,
    sides: Mapping[str, Cells],
    special: Mapping[str, str],
    feedback_keys: Collection[str] | None,
) -> Iterator[Record]:
    header, lines = _lines(file, sep)
    for number, cells in lines:
        try:
            if len(cells) != len(header):
                raise Refused("invalid", f"{len(cells)} cells, but the header has {len(header)}")
            row = dict(zip(header, cells, strict=True))
            record = _record(begun, row, sides, special, feedback_keys)
            record.event_id = _identity(file, number, cells)
        except (Refused, ValueError) as error:
            record = refused(Refused("invalid", f"{file.name}, line {number}: {error}"))
        yield record
        # The writer has found what else is wrong with it.
        begun.lines += 1
        begun.refused += record.trouble is not None
        begun.silent += record.trouble is None and record.says_nothing


def _lines(file: Path, sep: str) -> tuple[Cells, Iterator[Line]]:
    """The header, and each line that is not blank with its number."""

    def read() -> Iterator[Line]:
        # Excel begins a file in UTF-8 with a mark of its own.
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
    """Side -> its columns, and join_key, timestamp and feedback_id -> its column, if there is one."""
    asked = [name for names in payloads.values() for name in names or ()]
    asked += [name for name in singles.values() if name is not None] + list(feedback_keys)
    if len(set(header)) < len(header):
        raise Refused("invalid", f"the file has several columns of one name: {', '.join(header)}")
    if missing := sorted(set(asked) - set(header)):
        raise Refused("invalid", f"the file has no column {', '.join(missing)}; it has {', '.join(header)}")
    special = {role: name or role for role, name in singles.items() if (name or role) in header}
    sides = {
        side: [name for name in header if name.startswith(_PREFIXES[side]) and name not in singles]
        if names is None
        else list(names)
        for side, names in payloads.items()
    }
    if not sides["inputs"] and not sides["outputs"] and not sides["feedback"]:
        raise Refused("invalid", f"no column of inputs, outputs or feedback among {', '.join(header) or 'none'}")
    return sides, special


def _record(
    begun: Load,
    row: Mapping[str, str],
    sides: Mapping[str, Cells],
    special: Mapping[str, str],
    feedback_keys: Collection[str] | None,
) -> Record:
    values = {name: type_.read(row[name]) for name, type_ in begun.types.items()}
    named = {role: begun.keys[name].read(row[name]) for role, name in special.items() if name in begun.keys}
    key = join_key_of(values, named.get("feedback_id"), feedback_keys, named.get("join_key"))
    if key is not None and _LOST_DIGITS(key):
        raise Refused("invalid", "a join key that has lost digits; format the column as text, and export it again")
    when = row[special["timestamp"]] if "timestamp" in special else ""
    inputs, outputs = ({name: values[name] for name in sides[side]} or None for side in ("inputs", "outputs"))
    feedback = {name: value for name in sides["feedback"] if (value := values[name]) is not None}
    tags = {name: row[name] for name in sides["tags"] if not is_missing(row[name])}
    at = None if is_missing(when) else one_cell.when(when)
    return record_of(inputs, outputs, feedback, key, at, tags, None)


def _identity(file: Path, number: int, cells: Cells) -> str:
    """An event id of 16 hex digits: the same for the same line of the same file."""
    return hashlib.sha256(f"{file.name}\0{number}\0{cells}".encode()).hexdigest()[:16]
