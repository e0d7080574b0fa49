"""The Delta Lake sink: it appends events, and a view folds them. docs/how-to/query.md shows the view.

On object storage a commit is durable. On a local disk it is not, as delta-rs does not fsync: use a disk for development
alone.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote

import pyarrow as pa
import pyarrow.dataset as ds
from deltalake import CommitProperties, DeltaTable, Schema, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from joinback.errors import ConfigurationError
from joinback.settings import Settings
from joinback_worker.errors import SinkMissing, SinkUnavailable
from joinback_worker.law.record import Record
from joinback_worker.law.row import Row
from joinback_worker.law.rules import Policy

from . import Merged, Sink, lake_view
from .arrow_events import SCHEMA, by_application, headers_of, stored_of, table_of
from .directory import COPY_ROWS
from .event_columns import EventColumns
from .event_log import HEADER, Header, Stored
from .merge_on_read import MergeOnRead
from .place import parts_of

COMMIT_RETRIES = 15
"""Two appends do not conflict, but each commit takes the next version number. So many others may take it before."""
TRANSACTION_RETENTION = "interval 30 days"
"""How long the table remembers the id of a batch: a batch is repeated far sooner."""
COMMIT_TURNS = 10
"""How often an append or a deletion is tried. The two conflict with each other, and each takes as long as a batch."""
VACUUM_RETENTION_H = 168
"""Delta's own default: a reader that began within a week still finds its files."""

T = TypeVar("T")


def open_url(url: str, policy: Policy) -> Sink:
    """Return the sink of `delta:///relative/path`, `delta:////absolute/path`, or `delta+s3://bucket/path`.

    It takes the options of the store from the environment (AWS_REGION, AWS_ENDPOINT_URL, …) and from the URL's query.
    """
    return DeltaSink(*location_of(url), policy)


def location_of(url: str) -> tuple[str, dict[str, str]]:
    """Return where the table is, as deltalake takes it, and the options of its store. Raises ConfigurationError."""
    parts = parts_of(url)
    path = unquote(parts.path)
    if parts.scheme == "delta+s3":
        if not parts.netloc or not path.strip("/"):
            raise ConfigurationError("JOINBACK_SINK_URL names no table; write delta+s3://bucket/path")
        return f"s3://{parts.netloc}{path}", dict(parse_qsl(parts.query))
    path = path.removeprefix("/")
    if parts.netloc or not path or parts.query:
        raise ConfigurationError("JOINBACK_SINK_URL names no directory; write delta:///lake or delta:////var/lib/lake")
    return str(Path(path).absolute()), {}


class DeltaSink(MergeOnRead):
    """A batch is one commit, whose id comes from its content. A batch that is already committed is not repeated."""

    def __init__(self, location: str, options: dict[str, str], policy: Policy) -> None:
        super().__init__(policy)
        self._location = location
        self._options = options
        self._table: DeltaTable | None = None

    def _translated(self, work: Callable[[], T]) -> T:
        return _with_our_errors(self._location, work)

    def _open(self) -> None:
        self._table = self._existing_table() if self.read_only else self._created_table()
        found = {field.name: field.type for field in pa.schema(self._table.schema().to_arrow())}
        for name, type_ in zip(SCHEMA.names, SCHEMA.types, strict=True):
            if name not in found or not _holds_the_same(found[name], type_):
                state = f"is {found[name]}, not {type_}" if name in found else f"is missing; it was {type_}"
                raise SinkUnavailable(f"Delta table at {self._location}: column {name} {state}; restore it")

    def _existing_table(self) -> DeltaTable:
        try:
            return DeltaTable(self._location, storage_options=self._options)
        except TableNotFoundError as error:
            raise SinkMissing(f"the sink {self._location} does not exist yet") from error

    def _created_table(self) -> DeltaTable:
        return DeltaTable.create(
            self._location,
            schema=Schema.from_arrow(SCHEMA),
            mode="ignore",
            name="events",
            description="Joinback: one row per event; see the view `records`",
            configuration={"delta.setTransactionRetentionDuration": TRANSACTION_RETENTION},
            storage_options=self._options,
        )

    def _close(self) -> None:
        self._table = None

    def _merge(self, records: Sequence[Record]) -> Merged:
        return _tried_again(partial(super()._merge, records))

    def _rows(self, application: str, join_keys: Sequence[str]) -> dict[str, Row]:
        return _tried_again(partial(super()._rows, application, join_keys))

    def _append(self, events: EventColumns) -> None:
        batch, rows = events.content_id, table_of(events)
        once = Transaction(app_id=batch, version=1, last_updated=time.time_ns() // 1_000_000)
        properties = CommitProperties(app_transactions=[once], max_commit_retries=COMMIT_RETRIES)

        def append(table: DeltaTable) -> None:
            if table.transaction_version(batch) is None:
                write_deltalake(table, rows, mode="append", commit_properties=properties)

        self._committed(append)

    def _stored(self, application: str, join_keys: Sequence[str]) -> Iterable[Stored]:
        return stored_of(self._found(application, join_keys, Stored._fields))

    def _headers(self, application: str, join_keys: Sequence[str]) -> Iterable[Header]:
        return headers_of(self._found(application, join_keys, HEADER))

    def _found(self, application: str, join_keys: Sequence[str], columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        table = self._opened()
        table.update_incremental()
        wanted = partial(_wanted, application, join_keys)
        found: Iterator[pa.RecordBatch] = _batches(table, wanted, columns=list(columns))
        return found

    def _erase(self, application: str, join_keys: Sequence[str]) -> int:
        keys = ", ".join(map(_literal, join_keys))
        wanted = f"application = {_literal(application)} AND join_key IN ({keys})"
        deleted = self._committed(lambda table: int(table.delete(wanted)["num_deleted_rows"] or 0))
        # Else the old files hold the events for another week. Not `full=True`: that deletes files too which another
        # writer is about to commit.
        self._opened().vacuum(0, dry_run=False, enforce_retention_duration=False)
        return deleted

    def _committed(self, work: Callable[[DeltaTable], T]) -> T:
        """Do work that ends in a commit, on the newest version of the table. Return what it returns.

        Try it again if it conflicts with what another writer has committed meanwhile.
        """
        table = self._opened()
        for _ in range(COMMIT_TURNS - 1):
            table.update_incremental()
            with suppress(CommitFailedError):
                return work(table)
        table.update_incremental()
        return work(table)

    def _everything(self, application: str | None) -> Iterator[tuple[str, Iterable[Stored]]]:
        columns = ["application", *Stored._fields]
        table, options = self._opened(), {"columns": columns, "batch_size": COPY_ROWS}
        if application is None:
            batches = table.to_pyarrow_dataset().to_batches(**options)
        else:
            batches = _batches(table, partial(_wanted, application, None), **options)
        for batch in batches:
            yield from by_application(batch)

    def _opened(self) -> DeltaTable:
        assert self._table is not None, "enter the sink first: async with open_sink(...)"
        return self._table


def _tried_again(work: Callable[[], T]) -> T:
    """Do work that looks up, and return what it returns. Try it again if an erasure has deleted the files meanwhile.

    Each try reads the newest version of the table.
    """
    for _ in range(COMMIT_TURNS - 1):
        with suppress(FileNotFoundError):
            return work()
    return work()


def _wanted(application: str, join_keys: Sequence[str] | None, column: Callable[[str], ds.Expression]) -> ds.Expression:
    """Return the filter for the rows of these keys, or for all rows of an application (None)."""
    wanted = column("application") == application
    return wanted if join_keys is None else wanted & column("join_key").isin(join_keys)


def _batches(
    table: DeltaTable, wanted: Callable[[Callable[[str], ds.Expression]], ds.Expression], **options: Any
) -> Iterator[pa.RecordBatch]:
    """Yield the rows that are wanted.

    First choose the files that may hold them, by their statistics. Then filter their rows, with text columns cast: a
    deletion rewrites files with a text type (string_view) that Arrow cannot compare. One filter cannot do both: Arrow
    uses no statistics of a cast column.
    """
    dataset = table.to_pyarrow_dataset()
    files = list(dataset.get_fragments(wanted(ds.field)))
    some = ds.FileSystemDataset(files, dataset.schema, dataset.format, dataset.filesystem)
    yield from some.to_batches(filter=wanted(lambda name: ds.field(name).cast(pa.string())), **options)


def _literal(text: str) -> str:
    """Return the text as a literal of DataFusion's SQL."""
    return "'" + text.replace("'", "''") + "'"


def _holds_the_same(a: pa.DataType, b: pa.DataType) -> bool:
    """Return whether two types hold the same values: Arrow has several types of strings and of lists."""
    if (pa.types.is_list(a) or pa.types.is_large_list(a)) and pa.types.is_list(b):
        return _holds_the_same(a.value_type, b.value_type)
    texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return a == b or (any(is_text(a) for is_text in texts) and pa.types.is_string(b))


def place(url: str) -> tuple[str, ...]:
    """Return the place of a table in an object store. A local table is known by its path; see `schemes.place_of`."""
    location, options = location_of(url)
    store = options.get("AWS_ENDPOINT_URL") or os.environ.get("AWS_ENDPOINT_URL", "")
    return "delta+s3", location.rstrip("/"), store


def schema(url: str, settings: Settings) -> str:
    """Return the view for DuckDB. The worker creates the table itself."""
    return lake_view.view(lake_view.delta_source(location_of(url)[0]), settings)


def compact(url: str) -> str:
    """Merge small files, and delete files that no reader of the last week needs. Return one line on what was done.

    Raises SinkUnavailable.
    """
    location, options = location_of(url)

    def work() -> str:
        table = DeltaTable(location, storage_options=options)
        done = table.optimize.compact()
        removed = table.vacuum(VACUUM_RETENTION_H, dry_run=False)
        table.create_checkpoint()
        return f"{done['numFilesRemoved']} files became {done['numFilesAdded']}; {len(removed)} old ones deleted"

    return _with_our_errors(location, work)


def _with_our_errors(location: str, work: Callable[[], T]) -> T:
    """Run the work and return what it returns; turn errors of Arrow and Delta into SinkUnavailable, by type."""
    try:
        return work()
    except TableNotFoundError as error:
        raise SinkUnavailable(f"no Delta table at {location}; the next drain creates one") from error
    except (DeltaError, pa.ArrowException, OSError) as error:
        why = f"cannot be used now; check the store and its rights ({type(error).__name__})"
        raise SinkUnavailable(f"Delta table at {location} {why}") from error
