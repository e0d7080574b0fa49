"""A CSV file, read by pyarrow as it streams: all cells as bytes, so that none is turned into a number on its way.

A row of too few or too many cells is one refused row; a cell that is no text in the file's encoding, too.
"""

import io
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow
from pyarrow import csv

from joinback.errors import JoinbackError

from .files import opened
from .lines import BATCH_LINES, Line, one_line

_SEPARATORS = (",", ";", "\t", "|")
ROW_BYTES_MAX = 1 << 20
"""As much as an event may hold. pyarrow reads some thirty blocks of this size ahead, so it is what memory costs."""
_SOME_BYTES = 4_096
"""Where binary data shows itself: a text holds no NUL."""


class _Seen:
    """A file that counts the quotes and lines that pass."""

    closed = False

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.quotes = 0
        self.lines = 0

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.quotes += data.count(b'"')
        self.lines += data.count(b"\n")
        return data

    def close(self) -> None:
        self._file.close()


class CsvFile:
    """See `Source`. `separator` and `encoding` are guessed where they are None: by the header, and UTF-8."""

    is_typed = False

    def __init__(self, path: Path, separator: str | None = None, encoding: str | None = None) -> None:
        self.name = path.name
        self._path = path
        self._encoding = encoding
        self.separator = separator or self._guessed()
        self._header = self._read_header()
        self._seen = _Seen(io.BytesIO())
        self._rows = 0

    def columns(self) -> Sequence[str]:
        return self._header

    def doubts(self) -> Sequence[str]:
        """See `Source`. A quote that is never closed takes what follows into its cell, and no reader tells."""
        if self._encoding is None and self._seen.quotes % 2 and self._seen.lines > self._rows + 1:
            return [
                f"{self.name} has an odd number of quotes: if one is never closed, the rows after it are in its cell"
            ]
        return ()

    def close(self) -> None:
        pass

    def batches(self, wanted: Sequence[str]) -> Iterator[list[Line]]:
        """See `Source`. pyarrow numbers the rows it refuses, the header being 1; the others come in order."""
        bad: dict[int, str] = {}

        def refuse(row: Any) -> str:
            bad[row.number - 1] = f"{row.actual_columns} cells, but the header has {row.expected_columns}"
            return "skip"

        options = csv.ConvertOptions(
            include_columns=list(wanted),
            column_types=dict.fromkeys(wanted, pyarrow.binary()),
            strings_can_be_null=False,
        )
        rows = count(1)
        with closing(_Seen(self._file())) as file, self._reader(file, options, refuse) as reader:
            while (batch := self._guarded(lambda: next(reader, None))) is not None:
                for part in (batch.slice(n, BATCH_LINES) for n in range(0, batch.num_rows, BATCH_LINES)):
                    yield list(_numbered(part, wanted, rows, bad))
            self._seen = file
        self._rows = next(rows) - 1 + len(bad)
        if bad:
            yield [Line(row, (), bad[row]) for row in sorted(bad)]

    def _guarded(self, read: Callable[[], Any]) -> Any:
        """Return what pyarrow reads. Raises JoinbackError for what stops it."""
        try:
            return read()
        except LookupError:
            raise JoinbackError(f"no encoding {self._encoding!r}; such as utf-8, latin-1, cp1252, utf-16") from None
        except UnicodeError:
            raise JoinbackError(
                f"{self.name} is no text in {self._encoding or 'UTF-8'}; say --encoding, such as latin-1 or utf-16"
            ) from None
        except (pyarrow.ArrowException, OSError, EOFError, zlib.error) as error:
            if "straddling" in str(error):
                raise JoinbackError(
                    f"{self.name} has a row of more than {ROW_BYTES_MAX >> 20} MiB; is a quote never closed?"
                ) from None
            raise JoinbackError(f"{self.name} cannot be read as CSV: {one_line(error)}") from None

    def _reader(self, file: "BinaryIO | _Seen", convert: csv.ConvertOptions, refuse: Callable[[Any], str]) -> Any:
        return self._guarded(
            lambda: csv.open_csv(
                file,
                # One thread: else rows that are refused have no numbers.
                read_options=csv.ReadOptions(
                    use_threads=False, block_size=ROW_BYTES_MAX, encoding=self._encoding or "utf8"
                ),
                parse_options=csv.ParseOptions(
                    delimiter=self.separator, newlines_in_values=True, invalid_row_handler=refuse
                ),
                convert_options=convert,
            )
        )

    def _file(self) -> BinaryIO:
        return cast(BinaryIO, self._guarded(lambda: opened(self._path)))

    def _guessed(self) -> str:
        """The separator that the header has most of. Raises JoinbackError for a file that is none, or no text."""
        with closing(self._file()) as file:
            start = self._guarded(lambda: file.read(_SOME_BYTES))
        if not start.strip():
            raise JoinbackError(f"{self.name} is empty")
        if b"\0" in start and self._encoding is None:
            raise JoinbackError(
                f"{self.name} is binary, or text in UTF-16 (then say --encoding utf-16); what a file is, is told by"
                " its name: .csv, .tsv, .parquet, .jsonl, .xlsx"
            )
        text = self._guarded(lambda: start.decode(self._encoding or "utf-8", errors="replace"))
        header = text.lstrip("\ufeff\r\n").partition("\n")[0]
        # The first of equals.
        return max(_SEPARATORS, key=header.count)

    def _read_header(self) -> list[str]:
        with (
            closing(self._file()) as file,
            # As text: a first block that is none in this encoding would say nothing of its header.
            self._reader(file, csv.ConvertOptions(include_columns=[]), lambda row: "skip") as reader,
        ):
            return [str(name) for name in self._guarded(lambda: reader.schema.names)]


def _numbered(batch: Any, wanted: Sequence[str], rows: Iterator[int], bad: dict[int, str]) -> Iterator[Line]:
    """The batch's rows with their numbers, and before each those that were refused."""
    for cells in zip(*map(_texts, batch.columns), strict=True):
        row = next(rows)
        while row in bad:
            yield Line(row, (), bad.pop(row))
            row = next(rows)
        if None in cells:
            yield Line(row, (), f"{wanted[cells.index(None)]} is no UTF-8; say --encoding, such as latin-1")
        else:
            yield Line(row, cells)


def _texts(column: Any) -> list[str | None]:
    """The cells as text; None for one that is none."""
    try:
        texts: list[str | None] = column.cast(pyarrow.string()).to_pylist()
    except pyarrow.ArrowInvalid:
        return [_text(cell) for cell in column.to_pylist()]
    return texts


def _text(cell: bytes) -> str | None:
    try:
        return cell.decode()
    except UnicodeDecodeError:
        return None
