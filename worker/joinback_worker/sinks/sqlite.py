"""The embedded sink: one SQLite file, readable with SQL while the worker writes.

Merge on write: BEGIN IMMEDIATE takes the file's one write lock, so read, merge and upsert of a batch are one
step for every other writer. WAL lets readers go on meanwhile; synchronous=FULL makes a commit durable.
"""

import math
import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl, quote, unquote

from joinback.errors import ConfigurationError
from joinback.settings import Settings
from joinback_worker.errors import SinkMissing, SinkOlder, SinkUnavailable
from joinback_worker.row import Row
from joinback_worker.rules import Policy
from joinback_worker.times import text_of

from . import Sink, Standing
from .merge_on_write import COLUMNS, DROPPED_ADVICE, MergeOnWrite
from .place import default_file, parts_of
from .sqlite_errors import translated
from .sqlite_table import (
    MATURED,
    MIGRATIONS,
    NEWEST,
    PAGE,
    READERS_OF_DROPPED,
    SELECT,
    UPSERT,
    from_sql,
    migration,
    to_sql,
)

BUSY_TIMEOUT_S = 10.0
"""How long to wait for another writer: some batches' time, and well below the drain's own limit."""
_SELECT_KEYS = 500
"""Keys of one look-up; SQLite takes 999 parameters in its older builds."""

T = TypeVar("T")


def open_url(url: str, policy: Policy) -> Sink:
    """`sqlite:///relative.db` or `sqlite:////absolute.db`, as SQLAlchemy writes them.

    `?busy_timeout_s=30` waits that long for another writer's lock.
    """
    parts = parts_of(url)
    path = unquote(parts.path.removeprefix("/"))
    if parts.scheme != "sqlite" or parts.netloc or not path:
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


def schema(url: str, settings: Settings) -> str:
    """Every migration, for the `sqlite3` shell and an empty file. There are no roles to grant anything to."""
    open_url(url, Policy())  # a wrong URL is told
    migrations = [migration(number + 1) for number in range(len(MIGRATIONS))]
    return "".join(";\n".join(["BEGIN IMMEDIATE", *statements, "COMMIT;\n"]) for statements in migrations)


class SQLiteSink(MergeOnWrite):
    """BEGIN IMMEDIATE takes the one write lock, so nobody can insert a key in between."""

    def __init__(self, path: Path, policy: Policy, busy_timeout_s: float = BUSY_TIMEOUT_S) -> None:
        super().__init__(policy)
        self._path = path
        self._busy_timeout_s = busy_timeout_s
        self._connection: sqlite3.Connection | None = None

    def _translated(self, work: Callable[[], T]) -> T:
        """Run on the sink's thread; SQLite's errors become ours, by class."""
        return translated(self._path, work)

    def _open(self) -> None:
        if self.read_only:
            self._open_to_read()
            return
        self._make_the_default_directory()
        connection = self._connect(str(self._path))
        try:
            applied = _applied(connection)
            if applied > len(MIGRATIONS):
                raise SinkUnavailable(
                    f"sink file {self._path}: schema {applied} is newer than this worker's; upgrade the worker"
                )
            if not self.migrates:
                self._refuse_older(applied)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            while _applied(connection) < len(MIGRATIONS):
                self._migrate_once()
            self._check()
        except BaseException:
            connection.close()
            raise

    def _open_to_read(self) -> None:
        """Without a file beside it: a plain look at a database in WAL mode would leave two, owned by who looked."""
        if not self._path.exists():
            raise SinkMissing(f"the sink {self._path} does not exist yet")
        uri = f"file:{quote(str(self._path.absolute()))}?mode=ro"
        # While a writer has it open there is a `-wal`, which must be read; else nothing may change it unseen.
        if not self._path.with_name(f"{self._path.name}-wal").exists():
            uri += "&immutable=1"
        connection = self._connect(uri)
        try:
            self._refuse_older(_applied(connection))
            self._check()
        except BaseException:
            connection.close()
            raise

    def _connect(self, path: str) -> sqlite3.Connection:
        self._connection = sqlite3.connect(
            path, uri=self.read_only, timeout=self._busy_timeout_s, isolation_level=None, check_same_thread=False
        )
        return self._connection

    def _make_the_default_directory(self) -> None:
        """For this user alone. Any other directory is the operator's to make."""
        if self._path != default_file():
            return
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise SinkUnavailable(
                f"sink file {self._path}: its directory cannot be made ({error.strerror});"
                " set JOINBACK_SINK_URL, or XDG_DATA_HOME"
            ) from error

    def _refuse_older(self, applied: int) -> None:
        if 0 < applied < len(MIGRATIONS):
            raise SinkOlder(f"sink file {self._path}", applied)

    def _migrate_once(self) -> None:
        try:
            with self._transaction() as connection:
                # Read under the lock: another worker may have been first.
                if (number := _applied(connection) + 1) <= len(MIGRATIONS):
                    for statement in migration(number):
                        connection.execute(statement)
        except sqlite3.OperationalError as error:
            if readers := self._open_connection().execute(READERS_OF_DROPPED).fetchall():
                names = ", ".join(f"the {kind} {name}" for kind, name in readers)
                raise SinkUnavailable(f"sink file {self._path}: drop {names}, which reads {DROPPED_ADVICE}") from error
            raise

    def _check(self) -> None:
        live = {name for _, name, *_ in self._open_connection().execute("PRAGMA table_info(records)")}
        lacks = [column for column in (*COLUMNS, "updated_at", "row_version") if column not in live]
        if lacks:
            what = f"column {lacks[0]!r} in its table `records`" if live else "its table `records`"
            raise SinkUnavailable(f"sink file {self._path}: lost {what}; restore it, or move the file aside")

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

    def _rows(self, application: str, join_keys: Sequence[str]) -> dict[str, Row]:
        connection = self._open_connection()
        rows: dict[str, Row] = {}
        for first in range(0, len(join_keys), _SELECT_KEYS):
            keys = join_keys[first : first + _SELECT_KEYS]
            query = SELECT % ", ".join("?" * len(keys))
            for values in connection.execute(query, (application, *keys)):
                row = from_sql(values)
                rows[row.join_key] = row
        return rows

    def _page(self, after: tuple[str, str], limit: int) -> list[Row]:
        return [from_sql(values) for values in self._open_connection().execute(PAGE, (*after, limit))]

    def _newest(self, application: str, limit: int) -> list[str]:
        parameters = {"application": application, "limit": limit}
        return [join_key for (join_key,) in self._open_connection().execute(NEWEST, parameters)]

    def _standing(self, name: str) -> Standing | None:
        query = "SELECT type, sql FROM sqlite_master WHERE lower(name) = lower(?) AND type IN ('table', 'view')"
        for kind, sql in self._open_connection().execute(query, (name,)):
            note = re.search(r"/\*(.*?)\*/", sql or "", re.DOTALL)
            return Standing(kind == "view", note[1].strip() if note else "")
        return None

    def _run_sql(self, statements: Sequence[str]) -> None:
        with self._transaction() as connection:
            for statement in statements:
                connection.execute(statement)

    def _insert(self, rows: Iterator[Row]) -> None:
        now = text_of(datetime.now(UTC))
        self._open_connection().executemany(UPSERT, ([*to_sql(row), now] for row in rows))

    _update = _insert

    def _matured(self, application: str, before: datetime, limit: int) -> list[str]:
        parameters = {"application": application, "before": text_of(before), "limit": limit}
        return [join_key for (join_key,) in self._open_connection().execute(MATURED, parameters)]

    def _ask(self, question: str) -> list[tuple[Any, ...]]:
        connection = self._open_connection()
        try:
            connection.execute("SELECT ln(1)")
        except sqlite3.OperationalError:
            # A build without mathematical functions.
            connection.create_function("ln", 1, math.log, deterministic=True)
        return connection.execute(question).fetchall()

    def _stop(self) -> None:
        # It may be closed by now.
        with suppress(sqlite3.ProgrammingError):
            self._open_connection().interrupt()

    def _open_connection(self) -> sqlite3.Connection:
        assert self._connection is not None, "enter the sink first: async with open_sink(...)"
        return self._connection


def _applied(connection: sqlite3.Connection) -> int:
    """The newest migration that the file has seen."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
