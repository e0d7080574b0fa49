"""A sheet of an Excel file. openpyxl reads it row by row, as a sheet may have a million rows.

A cell has the type that Excel gives it. Of a formula we read the value that Excel saved with it.
"""

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import openpyxl
from openpyxl.utils.exceptions import InvalidFileException

from joinback.errors import JoinbackError

from .lines import BATCH_LINES, Line, one_line

_ERRORS = frozenset({"#N/A", "#REF!", "#VALUE!", "#DIV/0!", "#NUM!", "#NAME?", "#NULL!"})


class ExcelFile:
    """See `Source`. Reads the named sheet, or the first one. Its first row is the header. Empty rows are left out."""

    is_typed = True

    def __init__(self, path: Path, sheet: str | None = None) -> None:
        self.name = path.name
        try:
            with warnings.catch_warnings():
                # It warns of styles and other extensions, which hold no cells.
                warnings.simplefilter("ignore")
                self._book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        except (InvalidFileException, BadZipFile, KeyError, ValueError, OSError) as error:
            raise JoinbackError(
                f"{self.name} cannot be read as Excel's .xlsx ({one_line(error)}); save it as .xlsx or .csv"
            ) from None
        names = self._book.sheetnames
        if sheet is not None and sheet not in names:
            raise JoinbackError(f"{self.name} has no sheet {sheet!r}; there are {', '.join(map(repr, names))}")
        self._sheet = self._book[sheet] if sheet is not None else self._book.worksheets[0]
        self._header = [str(cell) if cell is not None else "" for cell in next(self._rows(1), ())]
        if not any(self._header):
            raise JoinbackError(f"{self.name} is empty: the first row of its sheet must be the header")

    def columns(self) -> Sequence[str]:
        return [name for name in self._header if name]

    def doubts(self) -> Sequence[str]:
        return ()

    def close(self) -> None:
        self._book.close()

    def batches(self, wanted: Sequence[str]) -> Iterator[list[Line]]:
        places = [self._header.index(name) for name in wanted]
        lines: list[Line] = []
        for number, cells in enumerate(self._rows(2), start=1):
            chosen = [cells[place] if place < len(cells) else None for place in places]
            broken = [name for name, cell in zip(wanted, chosen, strict=True) if cell in _ERRORS]
            if broken:
                lines.append(Line(number, (), f"{broken[0]} holds an error of Excel"))
            elif any(cell is not None for cell in cells):
                lines.append(Line(number, chosen))
            if len(lines) == BATCH_LINES:
                yield lines
                lines = []
        if lines:
            yield lines

    def _rows(self, first: int) -> Iterator[tuple[Any, ...]]:
        try:
            yield from self._sheet.iter_rows(min_row=first, values_only=True)
        # openpyxl raises these for damaged XML and missing parts.
        except (BadZipFile, KeyError, ValueError, SyntaxError, OSError) as error:
            raise JoinbackError(f"{self.name} cannot be read as Excel's .xlsx: {one_line(error)}") from None
