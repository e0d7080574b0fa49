"""Event rows as an Arrow table: what Parquet and Delta files hold."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa
from msgspec import structs

from joinback_worker.errors import SinkRefused

from .event_log import COLUMNS, EventRow, Stored

_UTC = pa.timestamp("us", tz="UTC")
_TYPES = {
    "digest": pa.int64(),
    "ordered_at_us": pa.int64(),
    "event_at": _UTC,
    "logged_at": _UTC,
    "sample_rate": pa.float64(),
    "fields": pa.list_(pa.string()),
    "field_values": pa.list_(pa.string()),
    "all_fields": pa.bool_(),
    "written_at": _UTC,
}
SCHEMA = pa.schema([(name, _TYPES.get(name, pa.string())) for name in COLUMNS])
SLICE_ROWS = 5_000
"""Rows converted at a time: the conversion holds the interpreter, and the event loop has other work."""


def table_of(rows: Sequence[EventRow]) -> pa.Table:
    """Raises SinkRefused for what Arrow cannot hold."""
    slices = [rows[first : first + SLICE_ROWS] for first in range(0, len(rows), SLICE_ROWS)]
    try:
        return pa.Table.from_batches([_batch_of(part) for part in slices], SCHEMA)
    except (pa.ArrowException, UnicodeError, OverflowError) as error:
        raise SinkRefused(f"Arrow cannot hold the rows: {type(error).__name__}") from error


def _batch_of(rows: Sequence[EventRow]) -> pa.RecordBatch:
    arrays = [pa.array(column, field.type) for column, field in zip(_columns(rows), SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def _columns(rows: Sequence[EventRow]) -> Iterable[Sequence[Any]]:
    return zip(*map(structs.astuple, rows), strict=True)


def stored_of(batches: Iterable[pa.RecordBatch]) -> Iterator[Stored]:
    """What was looked up, column by column as `Stored` has them."""
    for batch in batches:
        columns: list[list[Any]] = [batch.column(name).to_pylist() for name in Stored._fields]
        for values in zip(*columns, strict=True):
            yield Stored(*values)


def by_application(batch: pa.RecordBatch) -> Iterator[tuple[str, Iterable[Stored]]]:
    """The rows of a batch that has `application` beside the columns of `Stored`."""
    rows: defaultdict[str, list[Stored]] = defaultdict(list)
    for application, stored in zip(batch.column("application").to_pylist(), stored_of([batch]), strict=True):
        rows[application].append(stored)
    yield from rows.items()
