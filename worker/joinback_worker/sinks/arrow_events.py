"""Rows of events as an Arrow table, which Parquet and Delta files hold, and back."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

import pyarrow as pa

from joinback_worker.errors import SinkRefused

from .event_columns import EventColumns
from .event_log import COLUMNS, HEADER, Stored, header_of

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
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def table_of(events: EventColumns) -> pa.Table:
    """Return the events as a table with the columns `SCHEMA`. Raises SinkRefused for what Arrow cannot hold."""
    try:
        return pa.Table.from_arrays([_array(events, field) for field in SCHEMA], schema=SCHEMA)
    except (pa.ArrowException, UnicodeError, OverflowError) as error:
        raise SinkRefused(f"Arrow cannot hold the rows: {type(error).__name__}") from error


def _array(events: EventColumns, field: pa.Field) -> pa.Array:
    if field.name == "ordered_at_us":
        return _since_1970(events.ordered_at).view(field.type)
    cells = getattr(events, field.name)
    return _since_1970(cells).view(field.type) if field.type == _UTC else pa.array(cells, field.type)


def _since_1970(times: Sequence[datetime]) -> pa.Array:
    """Return the times in microseconds. As durations: Arrow would ask each datetime for its zone."""
    return pa.array([time - _EPOCH for time in times], pa.duration("us"))


def stored_of(batches: Iterable[pa.RecordBatch]) -> Iterator[Stored]:
    """Yield the rows of batches that have the columns of `Stored`."""
    for batch in batches:
        yield from map(Stored, *(batch.column(name).to_pylist() for name in Stored._fields))


def headers_of(batches: Iterable[pa.RecordBatch]) -> Iterator[Stored]:
    """Yield the rows of batches that have only the columns `HEADER`."""
    for batch in batches:
        yield from map(header_of, *(batch.column(name).to_pylist() for name in HEADER))


def by_application(batch: pa.RecordBatch) -> Iterator[tuple[str, Iterable[Stored]]]:
    """Yield (application, rows) of a batch that has the column `application` and those of `Stored`."""
    rows: defaultdict[str, list[Stored]] = defaultdict(list)
    for application, stored in zip(batch.column("application").to_pylist(), stored_of([batch]), strict=True):
        rows[application].append(stored)
    yield from rows.items()
