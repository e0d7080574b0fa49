"""The embedded sink: one SQLite file, readable with SQL while the worker writes.

It merges on write. BEGIN IMMEDIATE takes the one write lock of the file, so no other writer comes between the read and
the write of a batch. In WAL mode readers go on meanwhile. synchronous=FULL makes a commit durable.
"""

import math
import re
import sqlite3
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote

from joinback.errors import ConfigurationError
from joinback.settings import Settings
from joinback_worker.law.joining import joined
from joinback_worker.law.record import Record
from joinback_worker.law.row import Row
from joinback_worker.law.rules import Policy
from joinback_worker.law.times import text_of

from . import Merged, Sink, Standing
from .merge_on_write import MergeOnWrite
from .place import parts_of
from .row_store import Change, Held
from .sqlite_errors import translated
from .sqlite_file import opened, opened_to_read, transaction
from .sqlite_table import (
    DELETE,
    INSERT_UNSEEN,
    MATURED,
    MIGRATIONS,
    NEWEST,
    PAGE,
    SELECT,
    SELECT_BARE,
    SELECT_WHOLE,
    UPDATE_FEEDBACK,
    UPSERT,
    feedback_to_sql,
    from_sql,
    migration,
    to_sql,
)

BUSY_TIMEOUT_S = 10.0
"""How long to wait for another writer: as long as a few batches take, and well below the limit of a drain."""
_SELECT_KEYS = 500
"""Keys of one query: older builds of SQLite take at most 999 parameters."""

T = TypeVar("T")


def open_url(url: str, policy: Policy) -> Sink:
    """Return the sink of `sqlite:///relative.db` or `sqlite:////absolute.db`; SQLAlchemy writes them so too.

    With `?busy_timeout_s=30` it waits that long for another writer's lock.
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
        busy_timeout_s = math.nan
    # SQLite's own limit is an int of milliseconds: beyond it, it would not wait at all.
    if not 0 <= busy_timeout_s < 86_400:
        raise ConfigurationError(
            "JOINBACK_SINK_URL: busy_timeout_s must be a number of seconds, at least 0 and below 86400"
        )
    if options:
        raise ConfigurationError(
            f"JOINBACK_SINK_URL has no option {min(options)!r}; known is busy_timeout_s (sqlite:///joinback.db?…)"
        )
    return SQLiteSink(Path(path), policy, busy_timeout_s)


def schema(url: str, settings: Settings) -> str:
    """Return all migrations, for the `sqlite3` shell and an empty file. SQLite has no roles, so there are no grants."""
    open_url(url, Policy())  # a wrong URL raises ConfigurationError
    migrations = [migration(number + 1) for number in range(len(MIGRATIONS))]
    return "".join(";\n".join(["BEGIN IMMEDIATE", *statements, "COMMIT;\n"]) for statements in migrations)


class SQLiteSink(MergeOnWrite):
    """BEGIN IMMEDIATE takes the one write lock, so nobody can insert a key between a read and a write."""

    def __init__(self, path: Path, policy: Policy, busy_timeout_s: float = BUSY_TIMEOUT_S) -> None:
        super().__init__(policy)
        self._path = path
        self._busy_timeout_s = busy_timeout_s
        self._connection: sqlite3.Connection | None = None

    def _translated(self, work: Callable[[], T]) -> T:
        return translated(self._path, work)

    def _open(self) -> None:
        if self.read_only:
            self._connection = opened_to_read(self._path, self._busy_timeout_s)
        else:
            self._connection = opened(self._path, self._busy_timeout_s, migrates=self.migrates)

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _transaction(self) -> AbstractContextManager[sqlite3.Connection]:
        return transaction(self._open_connection())

    def _rows(self, application: str, join_keys: Sequence[str]) -> dict[str, Row]:
        found = map(from_sql, self._select(SELECT, application, join_keys))
        return {row.join_key: row for row in found}

    def _held(self, application: str, join_keys: Sequence[str], whole: Collection[str]) -> dict[str, Held]:
        found = self._select(SELECT_BARE, application, [key for key in join_keys if key not in whole])
        found += self._select(SELECT_WHOLE, application, [key for key in join_keys if key in whole])
        held = (Held(from_sql(values), rowid) for rowid, *values in found)
        return {one.row.join_key: one for one in held}

    def _select(self, query: str, application: str, join_keys: Sequence[str]) -> list[tuple[Any, ...]]:
        execute = self._open_connection().execute
        found: list[tuple[Any, ...]] = []
        for first in range(0, len(join_keys), _SELECT_KEYS):
            keys = join_keys[first : first + _SELECT_KEYS]
            found += execute(query % ", ".join("?" * len(keys)), (application, *keys))
        return found

    def _erase(self, application: str, join_keys: Sequence[str]) -> int:
        connection = self._open_connection()
        # Overwrites what it deletes. Else the bytes stay in the free pages of the file.
        connection.execute("PRAGMA secure_delete = ON")
        try:
            deleted = super()._erase(application, join_keys)
        finally:
            connection.execute("PRAGMA secure_delete = OFF")
        if deleted:
            # Else the bytes stay in the WAL. While somebody reads, SQLite cannot empty it; the last connection to close
            # does so then.
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return deleted

    def _delete(self, application: str, join_keys: Sequence[str]) -> int:
        execute = self._open_connection().execute
        deleted = 0
        for first in range(0, len(join_keys), _SELECT_KEYS):
            keys = join_keys[first : first + _SELECT_KEYS]
            deleted += execute(DELETE % ", ".join("?" * len(keys)), (application, *keys)).rowcount
        return deleted

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

    def _insert_unseen(self, records: Sequence[Record], merged: Merged) -> Sequence[Record]:
        """Insert records that hold predictions alone. SQLite itself finds whether their key is there."""
        now = text_of(datetime.now(UTC))
        execute = self._open_connection().cursor().execute
        left = []
        for incoming in records:
            if incoming.feedback or incoming.retractions:
                left.append(incoming)
                continue
            row, rejected = joined(None, incoming, self._policy)
            if execute(INSERT_UNSEEN, [*to_sql(row), now]).rowcount:
                merged.count(row.status, row.conflicts is not None, rejected)
            else:
                left.append(incoming)
        return left

    def _insert(self, rows: Iterator[Row]) -> bool:
        self._update(rows)
        return True

    def _update(self, rows: Iterator[Row]) -> None:
        now = text_of(datetime.now(UTC))
        self._open_connection().executemany(UPSERT, ([*to_sql(row), now] for row in rows))

    def _update_feedback(self, rows: Iterator[Change]) -> None:
        now = text_of(datetime.now(UTC))
        changes = ([*feedback_to_sql(row), now, held.place] for held, row in rows)
        self._open_connection().executemany(UPDATE_FEEDBACK, changes)

    def _matured(self, application: str, before: datetime, limit: int) -> list[str]:
        parameters = {"application": application, "before": text_of(before), "limit": limit}
        return [join_key for (join_key,) in self._open_connection().execute(MATURED, parameters)]

    def _ask(self, question: str) -> list[tuple[Any, ...]]:
        connection = self._open_connection()
        try:
            connection.execute("SELECT ln(1)")
        except sqlite3.OperationalError:
            # This build lacks the mathematical functions.
            connection.create_function("ln", 1, math.log, deterministic=True)
        return connection.execute(question).fetchall()

    def _stop(self) -> None:
        # The connection may be closed by now.
        with suppress(sqlite3.ProgrammingError):
            self._open_connection().interrupt()

    def _open_connection(self) -> sqlite3.Connection:
        assert self._connection is not None, "enter the sink first: async with open_sink(...)"
        return self._connection
