"""The embedded sink: one SQLite file, readable with SQL while the worker writes.

Merge on write: BEGIN IMMEDIATE takes the file's one write lock, so read, merge and upsert of a batch are one
step for every other writer. WAL lets readers go on meanwhile; synchronous=FULL makes a commit durable.
"""

import asyncio
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

from joinback.errors import ConfigurationError
from joinback_worker.errors import SinkRefused, SinkUnavailable
from joinback_worker.fold import Record, admit
from joinback_worker.row import Policy, Row, late_news, overflowed, project, unfold

from . import Merged, Sink
from .sqlite_table import MATURED, SCHEMA, SCHEMA_VERSION, SELECT, UPSERT, from_sql, to_sql, to_text

BUSY_TIMEOUT_S = 10.0
"""How long to wait for another writer: some batches' time, and well below the drain's own limit."""
_SELECT_KEYS = 500
"""Keys of one look-up; SQLite takes 999 parameters in its older builds."""
_CLOSE_ROWS = 1_000
"""Rows of one closing transaction: other writers wait no longer than for a batch."""

T = TypeVar("T")


def open_url(url: str, policy: Policy) -> Sink:
    """`sqlite:///relative.db` or `sqlite:////absolute.db`, as SQLAlchemy writes them.

    `?busy_timeout_s=30` waits that long for another writer's lock.
    """
    parts = urlsplit(url)
    path = unquote(parts.path.removeprefix("/"))
    if parts.netloc or not path:
        raise ConfigurationError(
            "JOINBACK_SINK_URL names no file; write sqlite:///joinback.db, or sqlite:////var/lib/joinback.db"
        )
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    try:
        busy_timeout_s = float(options.pop("busy_timeout_s", BUSY_TIMEOUT_S))
    except ValueError:
        raise ConfigurationError("JOINBACK_SINK_URL: busy_timeout_s is no number of seconds") from None
    if options:
        raise ConfigurationError(
            f"JOINBACK_SINK_URL has no option {min(options)!r}; known is busy_timeout_s (sqlite:///joinback.db?…)"
        )
    return SQLiteSink(Path(path), policy, busy_timeout_s)


class SQLiteSink:
    """See `Sink` for the promise. All statements run on one thread of its own, off the event loop."""

    def __init__(self, path: Path, policy: Policy, busy_timeout_s: float = BUSY_TIMEOUT_S) -> None:
        self._path = path
        self._busy_timeout_s = busy_timeout_s
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

    async def close_unlabelled(self, application: str) -> int:
        closed = 0
        while number := await self._run(partial(self._close_some, application)):
            closed += number
        return closed

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
        connection = sqlite3.connect(
            self._path, timeout=self._busy_timeout_s, isolation_level=None, check_same_thread=False
        )
        try:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version > SCHEMA_VERSION:
                raise SinkUnavailable(
                    f"sink file {self._path}: schema {version} is newer than this worker's; upgrade the worker"
                )
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            if version < SCHEMA_VERSION:
                connection.executescript(f"BEGIN IMMEDIATE; {SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
        except BaseException:
            connection.close()
            raise
        self._connection = connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._open_connection()
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            # After a full disk SQLite has rolled back already, and says so by raising again.
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _merge(self, records: Sequence[Record]) -> Merged:
        by_application: defaultdict[str, list[Record]] = defaultdict(list)
        for record in records:
            by_application[record.application].append(record)
        merged = Merged()
        with self._transaction() as connection:
            for application, group in by_application.items():
                held = self._get(application, [record.join_key for record in group])
                _upsert(connection, list(self._projected(group, held, merged)))
        return merged

    def _projected(self, records: Iterable[Record], held: dict[str, Row], merged: Merged) -> Iterable[Row]:
        """The rows to write: those in which the records change something. All are counted."""
        for incoming in records:
            row = held.get(incoming.join_key)
            known = unfold(row) if row else None
            record, overflow = admit(known, incoming)
            new_row, late = project(record, self._policy)
            merged.count(new_row, late_news(incoming, late) + overflowed(incoming, overflow))
            if new_row != row:
                yield new_row

    def _close_some(self, application: str) -> int:
        if self._policy.matured_before is None:
            return 0
        before = to_text(self._policy.matured_before)
        with self._transaction() as connection:
            found = connection.execute(
                MATURED, {"application": application, "before": before, "limit": _CLOSE_ROWS}
            ).fetchall()
            rows = self._get(application, [join_key for (join_key,) in found]).values()
            # By the law, not by the query: it decides what is mature.
            closed = [project(unfold(row), self._policy)[0] for row in rows]
            _upsert(connection, [row for row in closed if row.status == "unlabelled"])
        return sum(row.status == "unlabelled" for row in closed)

    def _get(self, application: str, join_keys: Sequence[str]) -> dict[str, Row]:
        connection = self._open_connection()
        rows: dict[str, Row] = {}
        for first in range(0, len(join_keys), _SELECT_KEYS):
            keys = join_keys[first : first + _SELECT_KEYS]
            query = SELECT % ", ".join("?" * len(keys))
            for values in connection.execute(query, (application, *keys)):
                row = from_sql(values)
                rows[row.join_key] = row
        return rows

    def _open_connection(self) -> sqlite3.Connection:
        assert self._connection is not None, "enter the sink first: async with open_sink(...)"
        return self._connection


def _upsert(connection: sqlite3.Connection, rows: Iterable[Row]) -> None:
    now = to_text(datetime.now(UTC))
    connection.executemany(UPSERT, ([*to_sql(row), now] for row in rows))


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
