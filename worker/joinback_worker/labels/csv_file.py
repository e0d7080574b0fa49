"""A CSV file, which pyarrow streams. All cells are read as bytes, so that pyarrow turns none into a number.

A row with too few or too many cells is one refused row. So is a row with a cell that is not text in the encoding.
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
"""As much as an event may hold. pyarrow reads some thirty blocks of this size ahead, so this sets its memory."""
_SOME_BYTES = 4_096
"""Read from the start of a file to detect binary data: a text holds no NUL."""


class _Seen:
    """A file that counts the quotes and lines that are read from it."""

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
    """See `Source`. If `separator` is None, the header decides it; if `encoding` is None, it is UTF-8."""

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
        """See `Source`. A quote that is never closed takes the rows after it into its cell. No reader reports that."""
        if self._encoding is None and self._seen.quotes % 2 and self._seen.lines > self._rows + 1:
            return [
                f"{self.name} has an odd number of quotes: if one is never closed, the rows after it are in its cell"
            ]
        return ()

    def close(self) -> None:
        pass

    def batches(self, wanted: Sequence[str]) -> Iterator[list[Line]]:
        """See `Source`. pyarrow numbers only the rows that it refuses (the header is 1). The others come in order."""
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
        """Return what pyarrow reads. Raises JoinbackError if it cannot read on."""
        try:
            return read()
        except LookupError:
            raise JoinbackError(f"no encoding {self._encoding!r}; try utf-8, latin-1, cp1252 or utf-16") from None
        except UnicodeError:
            raise JoinbackError(
                f"{self.name} is not text in {self._encoding or 'UTF-8'}; add --encoding, such as latin-1 or utf-16"
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
                # One thread: with several, refused rows have no numbers.
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
        """Return the most frequent separator of the header. Raises JoinbackError for an empty or binary file."""
        with closing(self._file()) as file:
            start = self._guarded(lambda: file.read(_SOME_BYTES))
        if not start.strip():
            raise JoinbackError(f"{self.name} is empty")
        if b"\0" in start and self._encoding is None:
            raise JoinbackError(
                f"{self.name} is binary, or text in UTF-16 (then add --encoding utf-16); the name of a file says what"
                " it is: .csv, .tsv, .parquet, .jsonl, .xlsx"
            )
        text = self._guarded(lambda: start.decode(self._encoding or "utf-8", errors="replace"))
        header = text.lstrip("\ufeff\r\n").partition("\n")[0]
        # The first of those that occur equally often.
        return max(_SEPARATORS, key=header.count)

    def _read_header(self) -> list[str]:
        with (
            closing(self._file()) as file,
            # Read no column: if the first block is not text in this encoding, the header may still be readable.
            self._reader(file, csv.ConvertOptions(include_columns=[]), lambda row: "skip") as reader,
        ):
            return [str(name) for name in self._guarded(lambda: reader.schema.names)]


def _numbered(batch: Any, wanted: Sequence[str], rows: Iterator[int], bad: dict[int, str]) -> Iterator[Line]:
    """Yield the rows of a batch with their numbers, and in between the rows that were refused."""
    for cells in zip(*map(_texts, batch.columns), strict=True):
        row = next(rows)
        while row in bad:
            yield Line(row, (), bad.pop(row))
            row = next(rows)
        if None in cells:
            yield Line(row, (), f"{wanted[cells.index(None)]} is not UTF-8; add --encoding, such as latin-1")
        else:
            yield Line(row, cells)


def _texts(column: Any) -> list[str | None]:
    """Return the cells as text; None for a cell that is not UTF-8."""
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
