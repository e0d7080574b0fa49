"""Typed rows as Arrow. They wait on disk until the kinds of their columns are known, and are then read in batches."""

from collections.abc import Iterator, Mapping, Sequence
from tempfile import TemporaryFile
from types import TracebackType
from typing import Any, Self

import msgspec
import pyarrow as pa

from .cells import Kept, cells
from .columns import FIXED, Column

_UTC = pa.timestamp("us", tz="UTC")
_TYPES: Mapping[str, pa.DataType] = {
    "bool": pa.bool_(),
    "int": pa.int64(),
    "float": pa.float64(),
    "str": pa.string(),
    "json": pa.string(),
    "time": _UTC,
}
_FIXED: Mapping[str, pa.DataType] = {
    "predicted_at": _UTC,
    "sample_rate": pa.float64(),
    "label_age_s": pa.float64(),
    "age_s": pa.float64(),
    "is_labelled": pa.bool_(),
    "label_weight": pa.float64(),
}
BATCH_ROWS = 5_000
BATCH_BYTES = 16 << 20
"""Bytes of JSON per batch, which is converted at once. A batch ends at BATCH_ROWS or here, whichever comes first."""


class Spool:
    """Rows in an unnamed temporary file. They are written once, and can then be read from the beginning repeatedly."""

    def __init__(self) -> None:
        self._file = TemporaryFile(prefix="joinback-")  # noqa: SIM115 - `__exit__` closes it
        self._encode = msgspec.msgpack.Encoder().encode
        self.rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, row: Kept) -> None:
        """Write a row. Raises OSError if there is no room."""
        encoded = self._encode(row)
        self._file.write(len(encoded).to_bytes(4))
        self._file.write(encoded)
        self.rows += 1

    def batches(self) -> Iterator[list[Kept]]:
        """Yield all rows in order, in batches of bounded size."""
        self._file.seek(0)
        decode = msgspec.msgpack.Decoder(Kept).decode
        batch: list[Kept] = []
        size = 0
        while length := int.from_bytes(self._file.read(4)):
            batch.append(decode(self._file.read(length)))
            size += length
            if len(batch) >= BATCH_ROWS or size >= BATCH_BYTES:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch


class Shape:
    """The columns of a table, in order."""

    def __init__(
        self, columns: Sequence[Column], further: Sequence[str] = (), only: Sequence[str] | None = None
    ) -> None:
        """`further` are fixed columns that an export adds. `only` names the wanted columns, in the wanted order."""
        self._columns = columns
        self._fixed = (*FIXED, *further)
        names = [*self._fixed, *(column.name for column in columns)]
        types = [_FIXED.get(name, pa.string()) for name in self._fixed] + [_TYPES[column.kind] for column in columns]
        self._places = range(len(names)) if only is None else [names.index(name) for name in only]
        self.names = names
        """The names of all columns, also of those that are not wanted."""
        self.schema = pa.schema([(names[place], types[place]) for place in self._places])

    def batch(self, rows: Sequence[Kept]) -> pa.RecordBatch:
        """Return these rows as a batch of Arrow."""
        table = [cells(row, self._fixed, self._columns) for row in rows]
        by_column: list[Sequence[Any]] = list(zip(*table, strict=True))
        arrays = [
            pa.array(by_column[place], field.type) for place, field in zip(self._places, self.schema, strict=True)
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)
