"""The file of an SQLite sink: opens it for a worker or a reader, migrates it, and checks that a worker made it."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from joinback_worker.errors import SinkMissing, SinkOlder, SinkUnavailable

from .place import default_file
from .row_columns import COLUMNS, DROPPED_ADVICE
from .sqlite_table import MIGRATIONS, READERS_OF_DROPPED, migration

CACHE_KIB = 64 << 10
"""Of pages in memory. SQLite's default of 2 MB does not hold the inner pages of a large index: each batch would read
them again."""
WAL_PAGES = 16 << 10
"""64 MiB of changed pages, then SQLite copies them into the file: a page that several batches change is copied once."""


def opened(path: Path, busy_timeout_s: float, *, migrates: bool) -> sqlite3.Connection:
    """Return a worker's connection. Raises SinkOlder if the file needs a migration and `migrates` is False.

    Raises SinkUnavailable.
    """
    _make_the_default_directory(path)
    connection = _connect(str(path), busy_timeout_s)
    try:
        applied = _applied(connection)
        if applied > len(MIGRATIONS):
            raise SinkUnavailable(f"sink file {path}: schema {applied} is newer than this worker's; upgrade the worker")
        if not migrates:
            _refuse_older(path, applied)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
        while _applied(connection) < len(MIGRATIONS):
            _migrate_once(path, connection)
        _check(path, connection)
    except BaseException:
        connection.close()
        raise
    return connection


def opened_to_read(path: Path, busy_timeout_s: float) -> sqlite3.Connection:
    """Return a reader's connection, which creates no file.

    In WAL mode a usual connection would leave two files beside this one, owned by the user who looked.
    Raises SinkMissing, SinkOlder and SinkUnavailable.
    """
    if not path.exists():
        raise SinkMissing(f"the sink {path} does not exist yet")
    uri = f"file:{quote(str(path.absolute()))}?mode=ro"
    # A writer that has it open keeps a `-wal` file, which must be read. Without one nobody writes, so the file is
    # immutable.
    if not path.with_name(f"{path.name}-wal").exists():
        uri += "&immutable=1"
    connection = _connect(uri, busy_timeout_s, uri=True)
    try:
        _refuse_older(path, _applied(connection))
        _check(path, connection)
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Run a transaction: all or nothing, and nobody else writes meanwhile."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        # When the disk is full, SQLite has rolled back already, and a second ROLLBACK would raise.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _connect(where: str, busy_timeout_s: float, *, uri: bool = False) -> sqlite3.Connection:
    return sqlite3.connect(where, uri=uri, timeout=busy_timeout_s, isolation_level=None, check_same_thread=False)


def _make_the_default_directory(path: Path) -> None:
    """Make the directory of the default file, readable by this user alone. The operator makes any other directory."""
    if path != default_file():
        return
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SinkUnavailable(
            f"sink file {path}: its directory cannot be created ({error.strerror});"
            " set JOINBACK_SINK_URL, or XDG_DATA_HOME"
        ) from error


def _applied(connection: sqlite3.Connection) -> int:
    """Return the number of the newest migration that ran on the file."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _refuse_older(path: Path, applied: int) -> None:
    if 0 < applied < len(MIGRATIONS):
        raise SinkOlder(f"sink file {path}", applied)


def _migrate_once(path: Path, connection: sqlite3.Connection) -> None:
    try:
        with transaction(connection):
            # Read again under the lock: another worker may have been first.
            if (number := _applied(connection) + 1) <= len(MIGRATIONS):
                for statement in migration(number):
                    connection.execute(statement)
    except sqlite3.OperationalError as error:
        if readers := connection.execute(READERS_OF_DROPPED).fetchall():
            names = ", ".join(f"the {kind} {name}" for kind, name in readers)
            raise SinkUnavailable(f"sink file {path}: drop {names}, which reads {DROPPED_ADVICE}") from error
        raise


def _check(path: Path, connection: sqlite3.Connection) -> None:
    live = {name for _, name, *_ in connection.execute("PRAGMA table_info(records)")}
    lacks = [column for column in (*COLUMNS, "updated_at", "row_version") if column not in live]
    if lacks:
        what = f"column {lacks[0]!r} in its table `records`" if live else "its table `records`"
        raise SinkUnavailable(f"sink file {path}: lost {what}; restore it, or move the file aside")
