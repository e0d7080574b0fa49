"""The Parquet sink: `parquet:///directory`. One file per batch, packed by zstd; any reader of Parquet reads it."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from joinback.settings import Settings
from joinback_worker.errors import SinkUnavailable
from joinback_worker.law.rules import Policy

from . import Sink, lake_view
from .arrow_events import SCHEMA, by_application, stored_of, table_of
from .directory import COPY_ROWS, Buffer, DirectorySink, directory_of
from .event_columns import EventColumns
from .event_log import COLUMNS, Identity, Stored

_REPEATED = ["application", "kind", "version", "environment", "tags", "sample_rate", "fields.list.element"]
"""Columns with few distinct values, which a dictionary makes small. For others the writer would begin a dictionary and
then give it up."""

_BOUNDED = [name for name in COLUMNS if name not in ("tags", "event", "inputs", "outputs", "fields", "field_values")]
"""The columns whose least and greatest value a file tells. No query asks for a range of JSON texts."""


def open_url(url: str, policy: Policy) -> Sink:
    """Return the sink of `parquet:///relative` or `parquet:////absolute`."""
    return ParquetSink(directory_of(url), policy)


def schema(url: str, settings: Settings) -> str:
    """Return the view for DuckDB. The worker creates the directory itself."""
    return lake_view.view(lake_view.parquet_source(directory_of(url).absolute()), settings)


class ParquetSink(DirectorySink):
    suffix = "parquet"

    def _encoded(self, events: EventColumns) -> Buffer:
        return _file_of(table_of(events))

    def _combined(self, paths: Sequence[Path]) -> tuple[set[Identity], Buffer]:
        table = pa.concat_tables([_table_in(path) for path in paths])
        # Of a repeated event keep the row that was written last, so that `updated_at` stays.
        newest = {place: number for number, place in enumerate(_identities(table))}
        return set(newest), _file_of(table.take(list(newest.values())))

    def _all(self, path: Path) -> Iterator[tuple[str, Iterable[Stored]]]:
        try:
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(COPY_ROWS, columns=["application", *Stored._fields]):
                    yield from by_application(batch)
        except pa.ArrowException as error:
            raise _not_ours(path) from error

    def _without(self, path: Path, application: str, join_keys: frozenset[str]) -> tuple[int, set[Identity], Buffer]:
        table, wanted = _table_in(path), _of(application, join_keys)
        others = table.filter(~wanted)
        number = len(table) - len(others)
        return number, set(_identities(others)), _file_of(others) if number else b""

    def _read(self, path: Path, application: str, join_keys: frozenset[str]) -> Iterable[Stored]:
        return stored_of(_table_in(path, _of(application, join_keys)).to_batches())


def _of(application: str, join_keys: frozenset[str]) -> ds.Expression:
    return (ds.field("application") == application) & ds.field("join_key").isin(sorted(join_keys))


def _identities(table: pa.Table) -> Iterator[Identity]:
    return zip(*(table.column(name).to_pylist() for name in COLUMNS[:5]), strict=True)


def _table_in(path: Path, wanted: ds.Expression | None = None) -> pa.Table:
    try:
        return pq.read_table(path, schema=SCHEMA, filters=wanted)
    except pa.ArrowException as error:
        raise _not_ours(path) from error


def _not_ours(path: Path) -> SinkUnavailable:
    return SinkUnavailable(f"sink file {path} is not a Parquet file of a worker; move it elsewhere")


def _file_of(table: pa.Table) -> Buffer:
    file = pa.BufferOutputStream()
    pq.write_table(table, file, compression="zstd", use_dictionary=_REPEATED, write_statistics=_BOUNDED)
    return memoryview(file.getvalue())


def compact(url: str) -> str:
    """As `DirectorySink.compact`."""
    return ParquetSink(directory_of(url), Policy()).compact()
