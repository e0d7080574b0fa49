"""A Parquet file, which pyarrow reads in batches. Cells have the types that the file gives them."""

from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow
from pyarrow import parquet

from joinback.errors import JoinbackError

from .lines import BATCH_LINES, Line, one_line


class ParquetFile:
    """See `Source`."""

    is_typed = True

    def __init__(self, path: Path) -> None:
        self.name = path.name
        try:
            # Without reading ahead: a row group may be larger than memory.
            self._file = parquet.ParquetFile(path, pre_buffer=False)
        except (pyarrow.ArrowException, OSError) as error:
            raise JoinbackError(f"{self.name} cannot be read as Parquet: {one_line(error)}") from None

    def columns(self) -> Sequence[str]:
        return [str(name) for name in self._file.schema_arrow.names]

    def doubts(self) -> Sequence[str]:
        return ()

    def close(self) -> None:
        self._file.close()

    def batches(self, wanted: Sequence[str]) -> Iterator[list[Line]]:
        rows = count(1)
        batches = self._file.iter_batches(BATCH_LINES, columns=list(wanted), use_threads=False)
        while True:
            try:
                batch = next(batches, None)
                if batch is None:
                    return
                columns = [_cells(batch.column(name)) for name in wanted]
            except (pyarrow.ArrowException, OSError) as error:
                raise JoinbackError(f"{self.name} cannot be read as Parquet: {one_line(error)}") from None
            yield [Line(row, cells) for cells, row in zip(zip(*columns, strict=True), rows, strict=False)]


def _cells(column: Any) -> list[Any]:
    if pyarrow.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pyarrow.types.is_timestamp(column.type):
        # Python's times have microseconds, the file's may have nanoseconds.
        column = column.cast(pyarrow.timestamp("us", column.type.tz), safe=False)
    cells: list[Any] = column.to_pylist()
    return cells
