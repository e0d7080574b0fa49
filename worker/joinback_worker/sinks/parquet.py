"""The Parquet sink: `parquet:///directory`. What reads Parquet reads it; zstd, one file a batch."""

from collections.abc import Callable, Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from joinback_worker.errors import SinkRefused, SinkUnavailable
from joinback_worker.row import Policy

from . import Sink
from .arrow_events import SCHEMA, stored_of, table_of
from .directory import DirectorySink, directory_of
from .event_log import EventRow, Stored

T = TypeVar("T")


def open_url(url: str, policy: Policy) -> Sink:
    return ParquetSink(directory_of(url), policy)


class ParquetSink(DirectorySink):
    suffix = "parquet"

    def _translated(self, work: Callable[[], T]) -> T:
        try:
            return super()._translated(work)
        except (pa.ArrowInvalid, UnicodeError, OverflowError) as error:
            raise SinkRefused(f"Parquet cannot hold the rows: {type(error).__name__}") from error

    def _encoded(self, rows: Sequence[EventRow]) -> bytes:
        file = BytesIO()
        pq.write_table(table_of(rows), file, compression="zstd")
        return file.getvalue()

    def _read(self, path: Path, application: str, join_keys: frozenset[str]) -> Iterable[Stored]:
        wanted = (ds.field("application") == application) & ds.field("join_key").isin(sorted(join_keys))
        try:
            found = ds.dataset(path, schema=SCHEMA).to_batches(columns=list(Stored._fields), filter=wanted)
            yield from stored_of(found)
        except pa.ArrowInvalid as error:
            raise SinkUnavailable(f"sink file {path} is no Parquet file of ours; move it elsewhere") from error
