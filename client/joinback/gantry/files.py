"""A CSV file with a header as records.

Which columns are inputs, outputs, feedback and tags is said by name, or else by the beginning of their names:
`input`, `output`, `feedback`, `tags`. `timestamp` (ISO 8601, UTC if it names no zone), `join_key` and
`feedback_id` are found by these names if not told otherwise.

A column whose cells are all JSON numbers is numeric, and one of `true` and `false` in any case is boolean; all
others, also `0042` and numbers that would lose digits, are text. Tags and join keys are always text. An empty cell
is null among inputs and outputs; in feedback it says nothing, and a line without any feedback is a prediction.

The file is read twice: a column's type is not known before its last line. A line's event id comes from the
file's name, its number and its cells, so that a file that is logged again, after an interruption, changes nothing
where its lines have join keys.
"""

import csv
import hashlib
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

from joinback.events import Refused

from .keys import join_key_of
from .records import Record, record_of

_PREFIXES = {"inputs": "input", "outputs": "output", "feedback": "feedback", "tags": "tags"}
_NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,17})(?:\.\d{1,17})?(?:[eE][+-]?\d{1,2})?").fullmatch
"""At most 18 digits before the point, which is what 64 bits hold, and an exponent within a float's."""

Cells: TypeAlias = list[str]
Line: TypeAlias = tuple[int, Cells]
Read: TypeAlias = Callable[[str], Any]


def records_in(
    path: str | os.PathLike[str],
    sep: str,
    payloads: Mapping[str, Collection[str] | None],
    singles: Mapping[str, str | None],
    feedback_keys: Collection[str] | None,
) -> Iterator[Record | Refused]:
    """The records of a file, one a line; in the place of a line that is none, the reason.

    `payloads` and `singles` name columns; None means those of the usual names. Raises Refused, before the first
    record, for a file that cannot be read or has none of the columns.
    """
    file = Path(path)
    try:
        header, lines = _lines(file, sep)
        sides, special = _roles(header, payloads, singles, feedback_keys or ())
        reads = _types(header, lines)
        for number, cells in _lines(file, sep)[1]:
            try:
                if len(cells) != len(header):
                    raise Refused("invalid", f"{len(cells)} cells, but the header has {len(header)}")
                row = dict(zip(header, cells, strict=True))
                values = {name: reads[name](cell) if cell else None for name, cell in row.items()}
                yield _record(row, values, sides, special, feedback_keys, _identity(file, number, cells))
            except (Refused, ValueError) as error:
                yield Refused("invalid", f"{file.name}, line {number}: {error}")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise Refused("invalid", f"{file.name} cannot be read: {error}") from None


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


def _types(header: Cells, lines: Iterator[Line]) -> dict[str, Read]:
    """How to read the cells of each column; empty ones have no say."""
    numeric, boolean = set(range(len(header))), set(range(len(header)))
    for _, cells in lines:
        numeric -= {n for n in numeric if n < len(cells) and cells[n] and not _NUMBER(cells[n])}
        boolean -= {n for n in boolean if n < len(cells) and cells[n] and cells[n].lower() not in ("true", "false")}
    return {name: _number if n in numeric else _boolean if n in boolean else str for n, name in enumerate(header)}


def _number(cell: str) -> int | float:
    return int(cell) if cell.lstrip("-").isdigit() else float(cell)


def _boolean(cell: str) -> bool:
    return cell.lower() == "true"


def _record(
    row: Mapping[str, str],
    values: Mapping[str, Any],
    sides: Mapping[str, Cells],
    special: Mapping[str, str],
    feedback_keys: Collection[str] | None,
    event_id: str,
) -> Record:
    single = {role: row[name] or None for role, name in special.items()}
    key = join_key_of(values, single.get("feedback_id"), feedback_keys, single.get("join_key"))
    when = single.get("timestamp")
    inputs, outputs = ({name: values[name] for name in sides[side]} or None for side in ("inputs", "outputs"))
    feedback = {name: values[name] for name in sides["feedback"] if row[name]}
    tags = {name: row[name] for name in sides["tags"] if row[name]}
    record = record_of(inputs, outputs, feedback, key, datetime.fromisoformat(when) if when else None, tags, None)
    record.event_id = event_id
    return record


def _identity(file: Path, number: int, cells: Cells) -> str:
    """16 hex digits, as every event id: the same for the same line of the same file."""
    return hashlib.sha256(f"{file.name}\0{number}\0{cells}".encode()).hexdigest()[:16]
