"""The embedded sink: one SQLite file, readable with SQL while the worker writes.

Merge on write: BEGIN IMMEDIATE takes the file's one write lock, so read, merge and upsert of a batch are one
step for every other writer. WAL lets readers go on meanwhile; synchronous=FULL makes a commit durable.
"""

import asyncio
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import unquote, urlsplit

from joinback.errors import ConfigurationError
from joinback_worker.errors import SinkRefused, SinkUnavailable
from joinback_worker.fold import Record, merge
from joinback_worker.row import Policy, Row, late_news, project, unfold

from . import Merged, Sink

BUSY_TIMEOUT_S = 10.0
"""How long to wait for another writer: some batches' time, and well below the drain's own limit."""
SCHEMA_VERSION = 1

_SCHEMA = """
CREATE TABLE IF NOT EXISTS records (
    application         TEXT NOT NULL,
    join_key            TEXT NOT NULL,
    status              TEXT NOT NULL,  -- predicted, joined or orphan
    environment         TEXT,
    version             TEXT,
    predicted_at        TEXT,           -- times are UTC, ISO 8601
    inputs              TEXT,           -- JSON
    outputs             TEXT,           -- JSON
    tags                TEXT,           -- JSON
    feedback            TEXT,           -- JSON: each field's last value
    feedback_at         TEXT,
    first_feedback_at   TEXT,
    feedback_delay_s    REAL,
    feedback_events     TEXT,           -- JSON: "<kind>:<event_id>" -> the event as it was logged
    conflicts           TEXT,           -- JSON: the other predictions under this key
    sample_rate         REAL,
    clock_skew          INTEGER NOT NULL,
    logged_at           TEXT,
    prediction_event_id TEXT,
    updated_at          TEXT NOT NULL,
    row_version         INTEGER NOT NULL,
    PRIMARY KEY (application, join_key)
);
CREATE INDEX IF NOT EXISTS records_by_time ON records (application, predicted_at);
"""

_COLUMNS = Row.__struct_fields__
_TIMES = frozenset({"predicted_at", "feedback_at", "first_feedback_at", "logged_at"})
_JSON = frozenset({"inputs", "outputs", "tags", "feedback", "feedback_events", "conflicts"})

# Parameters, not json_each(?): SQLite's JSON functions end a text at its first NUL.
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM records WHERE application = ? AND join_key IN (%s)"  # noqa: S608
_SELECT_KEYS = 500
"""Keys of one look-up; SQLite takes 999 parameters in its older builds."""
_UPSERT = (
    f"INSERT INTO records ({', '.join(_COLUMNS)}, updated_at, row_version)"  # noqa: S608
    f" VALUES ({', '.join('?' * len(_COLUMNS))}, ?, 1)"
    " ON CONFLICT (application, join_key) DO UPDATE SET "
    + ", ".join(f"{column} = excluded.{column}" for column in _COLUMNS[2:])
    + ", updated_at = excluded.updated_at, row_version = records.row_version + 1"
)

T = TypeVar("T")


def open_url(url: str, policy: Policy) -> Sink:
    """`sqlite:///relative.db` or `sqlite:////absolute.db`, as SQLAlchemy writes them."""
    parts = urlsplit(url)
    path = unquote(parts.path.removeprefix("/"))
    if parts.netloc or not path:
        raise ConfigurationError(
            "JOINBACK_SINK_URL names no file; write sqlite:///joinback.db, or sqlite:////var/lib/joinback.db"
        )
    return SQLiteSink(Path(path), policy)


class SQLiteSink:
    """See `Sink` for the promise. All statements run on one thread of its own, off the event loop."""

    def __init__(self, path: Path, policy: Policy) -> None:
        self._path = path
        self._policy = policy
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="joinback-sqlite")
        self._connection: sqlite3.Connection | None = None

    async def __aenter__(self) -> Self:
        try:
            await self._run(self._open)
        except BaseException:
            self._thread.shutdown(wait=False)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._run(self._close)
        self._thread.shutdown()

    async def merge(self, records: Sequence[Record]) -> Merged:
        return await self._run(partial(self._merge, records)) if records else Merged()

    async def get(self, application: str, join_keys: Sequence[str]) -> dict[str, Row]:
        return await self._run(partial(self._get, application, join_keys))

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._translated, work)

    def _translated(self, work: Callable[[], T]) -> T:
        """Run on the sink's thread; SQLite's errors become ours, by class."""
        try:
            return work()
        except (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError) as error:
            raise SinkRefused(f"SQLite refused the rows: {error.sqlite_errorname}") from error
        # Values that the binding itself cannot pass on: text that is no UTF-8, an integer beyond 64 bits.
        except (UnicodeError, OverflowError, sqlite3.ProgrammingError) as error:
            raise SinkRefused(f"SQLite cannot hold the rows: {type(error).__name__}") from error
        except sqlite3.Error as error:
            name = getattr(error, "sqlite_errorname", type(error).__name__)
            raise SinkUnavailable(f"sink file {self._path}: {_advice(name)} ({name})") from error

    def _open(self) -> None:
        connection = sqlite3.connect(self._path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        try:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version > SCHEMA_VERSION:
                raise SinkUnavailable(
                    f"sink file {self._path}: schema {version} is newer than this worker's; upgrade the worker"
                )
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            if version < SCHEMA_VERSION:
                connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
        except BaseException:
            connection.close()
            raise
        self._connection = connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _merge(self, records: Sequence[Record]) -> Merged:
        connection = self._open_connection()
        by_application: defaultdict[str, list[Record]] = defaultdict(list)
        for record in records:
            by_application[record.application].append(record)
        merged = Merged()
        connection.execute("BEGIN IMMEDIATE")
        try:
            for application, group in by_application.items():
                held = self._get(application, [record.join_key for record in group])
                changed = list(self._projected(group, held, merged))
                now = _to_text(datetime.now(UTC))
                connection.executemany(_UPSERT, ([*_to_sql(row), now] for row in changed))
            connection.execute("COMMIT")
        except BaseException:
            # After a full disk SQLite has rolled back already, and says so by raising again.
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return merged

    def _projected(self, records: Iterable[Record], held: dict[str, Row], merged: Merged) -> Iterable[Row]:
        """The rows to write: those in which the records change something. All are counted."""
        for incoming in records:
            row = held.get(incoming.join_key)
            known = unfold(row) if row else None
            record = merge(known, incoming) if known else incoming
            new_row, late = project(record, self._policy)
            merged.count(new_row, late_news(incoming, late))
            if record != known:
                yield new_row

    def _get(self, application: str, join_keys: Sequence[str]) -> dict[str, Row]:
        connection = self._open_connection()
        rows: dict[str, Row] = {}
        for first in range(0, len(join_keys), _SELECT_KEYS):
            keys = join_keys[first : first + _SELECT_KEYS]
            query = _SELECT % ", ".join("?" * len(keys))
            for values in connection.execute(query, (application, *keys)):
                row = _from_sql(values)
                rows[row.join_key] = row
        return rows

    def _open_connection(self) -> sqlite3.Connection:
        assert self._connection is not None, "enter the sink first: async with open_sink(...)"
        return self._connection


def _advice(error_name: str) -> str:
    """What to do, by SQLite's extended result code (its name begins with the primary one)."""
    advice = {
        "SQLITE_BUSY": "locked by another process; end its transaction",
        "SQLITE_LOCKED": "locked by another connection; end its transaction",
        "SQLITE_READONLY": "is read-only; give the worker write access to the file and its directory",
        "SQLITE_CANTOPEN": "cannot be opened; check that its directory exists and is writable",
        "SQLITE_FULL": "the disk is full; make room",
        "SQLITE_IOERR": "the disk does not answer; check it",
        "SQLITE_NOTADB": "is not an SQLite database; point JOINBACK_SINK_URL elsewhere",
        "SQLITE_CORRUPT": "is damaged; restore it or point JOINBACK_SINK_URL elsewhere",
        "SQLITE_ERROR": "its table `records` is not as the worker made it; move the file aside",
    }
    return advice.get(error_name) or advice.get("_".join(error_name.split("_")[:2]), "cannot be used now")


def _to_text(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _to_sql(row: Row) -> list[Any]:
    values = []
    for column in _COLUMNS:
        value = getattr(row, column)
        if isinstance(value, datetime):
            value = _to_text(value)
        elif isinstance(value, bytes):
            value = value.decode()
        values.append(value)
    return values


def _from_sql(values: Sequence[Any]) -> Row:
    cells: dict[str, Any] = dict(zip(_COLUMNS, values, strict=True))
    for column in _TIMES:
        if cells[column] is not None:
            cells[column] = datetime.fromisoformat(cells[column])
    for column in _JSON:
        if cells[column] is not None:
            cells[column] = str(cells[column]).encode()
    cells["clock_skew"] = bool(cells["clock_skew"])
    return Row(**cells)
