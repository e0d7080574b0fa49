"""Rows of events as an Arrow table, which Parquet and Delta files hold, and back."""

from array import array
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence, Sized
from datetime import UTC, datetime
from itertools import accumulate, chain
from typing import Any

import pyarrow as pa
from msgspec import Raw

from joinback_worker.errors import SinkRefused

from .event_columns import EventColumns
from .event_log import COLUMNS, HEADER, Header, Stored

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
_LIST = pa.list_(pa.string())


def table_of(events: EventColumns) -> pa.Table:
    """Return the events as a table with the columns `SCHEMA`. Raises SinkRefused for what Arrow cannot hold."""
    try:
        return pa.Table.from_pydict(_arrays(events), SCHEMA)
    except (pa.ArrowException, UnicodeError, OverflowError) as error:
        raise SinkRefused(f"Arrow cannot hold the rows: {type(error).__name__}") from error


def _arrays(events: EventColumns) -> dict[str, pa.Array]:
    """Return each column as an array. What is the same in all rows, and JSON, never becomes one object per cell."""
    event_at, logged_at = (_times(getattr(events, name)) for name in ("event_at", "logged_at"))
    ordered_at = _times(events.ordered_at) if events.is_ahead else event_at
    no_fields: list[Collection[Any]] = [()]
    before, after = no_fields * len(events.predictions), no_fields * len(events.retractions)
    fields = [*before, *(event.feedback for event in events.feedback), *(e.fields or () for e in events.retractions)]
    values = [*before, *(event.feedback.values() for event in events.feedback), *after]
    arrays = {
        "kind": pa.concat_arrays(
            [
                pa.repeat("prediction", len(events.predictions)),
                pa.repeat("feedback", len(events.feedback)),
                pa.repeat("retraction", len(events.retractions)),
            ]
        ),
        "ordered_at_us": ordered_at.view(pa.int64()),
        "event_at": event_at,
        "logged_at": logged_at,
        "event": _texts(events.event_encoded),
        "inputs": _of_predictions(events, [event.inputs for event in events.predictions]),
        "outputs": _of_predictions(events, [event.outputs for event in events.predictions]),
        "fields": _lists(fields, pa.array([*chain.from_iterable(fields)], pa.string())),
        "field_values": _lists(values, _texts([*chain.from_iterable(values)])),
        "written_at": pa.repeat(pa.scalar(events.written_at[0], _UTC), len(events)),
    }
    return {
        field.name: arrays[field.name] if field.name in arrays else pa.array(getattr(events, field.name), field.type)
        for field in SCHEMA
    }


def _times(times: Sequence[datetime]) -> pa.Array:
    # As durations: Arrow would ask each datetime for its zone.
    return pa.array([time - _EPOCH for time in times], pa.duration("us")).view(_UTC)


def _of_predictions(events: EventColumns, cells: Sequence[bytes | Raw]) -> pa.Array:
    """Return a column from one JSON per prediction; the cells of other events are null."""
    return pa.concat_arrays([_texts(cells), pa.nulls(len(events) - len(cells), pa.string())])


def _texts(cells: Sequence[bytes | Raw]) -> pa.Array:
    """Return texts from their UTF-8. Raises ArrowInvalid if it is none."""
    texts = pa.Array.from_buffers(pa.string(), len(cells), [None, _offsets(cells), pa.py_buffer(b"".join(cells))])
    texts.validate(full=True)
    return texts


def _lists(cells: Sequence[Sized], values: pa.Array) -> pa.Array:
    """Return lists that are as long as these cells, from the values of all of them in a row."""
    return pa.Array.from_buffers(_LIST, len(cells), [None, _offsets(cells)], children=[values])


def _offsets(cells: Sequence[Sized]) -> pa.Buffer:
    return pa.py_buffer(array("i", accumulate(map(len, cells), initial=0)))


def stored_of(batches: Iterable[pa.RecordBatch]) -> Iterator[Stored]:
    """Yield the rows of batches that have the columns of `Stored`."""
    for batch in batches:
        yield from map(Stored, *(batch.column(name).to_pylist() for name in Stored._fields))


def headers_of(batches: Iterable[pa.RecordBatch]) -> Iterator[Header]:
    """Yield the columns `HEADER` of the rows of batches that have them."""
    for batch in batches:
        yield from zip(*(batch.column(name).to_pylist() for name in HEADER), strict=True)


def by_application(batch: pa.RecordBatch) -> Iterator[tuple[str, Iterable[Stored]]]:
    """Yield (application, rows) of a batch that has the column `application` and those of `Stored`."""
    rows: defaultdict[str, list[Stored]] = defaultdict(list)
    for application, stored in zip(batch.column("application").to_pylist(), stored_of([batch]), strict=True):
        rows[application].append(stored)
    yield from rows.items()
