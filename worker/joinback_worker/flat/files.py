"""Tables as files: Parquet, CSV or Arrow. A file appears whole, or not at all."""

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from joinback.errors import JoinbackError


def _parquet(file: BinaryIO, schema: pa.Schema) -> Any:
    return pa.parquet.ParquetWriter(file, schema, compression="zstd")


def _csv(file: BinaryIO, schema: pa.Schema) -> Any:
    return pa.csv.CSVWriter(file, schema)


def _arrow(file: BinaryIO, schema: pa.Schema) -> Any:
    return pa.ipc.new_file(file, schema)


FORMATS: Mapping[str, Callable[[BinaryIO, pa.Schema], Any]] = {"parquet": _parquet, "csv": _csv, "arrow": _arrow}
"""Format -> its writer. The format is also the suffix of the file."""


class TableFile:
    """A file that is written under another name, and gets its own name when the block ends without an error.

    Raises JoinbackError if a file of its name exists and may not be replaced, or if there is no room.
    """

    def __init__(self, path: Path, format_: str, *, replace: bool) -> None:
        self.path = path
        self._format = format_
        self._replace = replace
        self._part = path.with_name(f".{path.name}.{os.getpid()}.part")
        self._file: BinaryIO | None = None
        self._writer: Any = None

    def __enter__(self) -> Self:
        if not self._replace and self.path.exists():
            raise self._taken_error()
        try:
            self._file = self._part.open("wb")
        except OSError as error:
            raise JoinbackError(f"{self.path} cannot be written: {error.strerror}") from None
        return self

    def begin(self, schema: pa.Schema) -> None:
        """Set the columns. Call it before the first batch."""
        assert self._file is not None
        self._writer = FORMATS[self._format](self._file, schema)

    def write(self, batch: pa.RecordBatch) -> None:
        """Write a batch. Raises OSError if there is no room."""
        self._writer.write_batch(batch)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._file is not None
        try:
            if error is not None:
                with suppress(Exception):
                    self._writer.close()
                return
            self._writer.close()
            self._file.flush()
            os.fsync(self._file.fileno())
            self._appear()
        except OSError as trouble:
            raise JoinbackError(f"{self.path} cannot be written: {trouble.strerror}") from None
        finally:
            self._file.close()
            self._part.unlink(missing_ok=True)

    def _appear(self) -> None:
        if not self._replace:
            try:
                # Unlike a rename, a link never replaces a file that somebody else has made meanwhile.
                os.link(self._part, self.path)
            except FileExistsError:
                raise self._taken_error() from None
            except OSError:
                pass  # a file system without links
            else:
                return
        self._part.replace(self.path)

    def _taken_error(self) -> JoinbackError:
        return JoinbackError(f"{self.path} exists already; --force replaces it, --output names another file")
