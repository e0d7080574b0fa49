"""The PostgreSQL sink: one table `records`, which any number of workers merge into.

Merge on write, one transaction a batch: lock the rows of its keys, merge, COPY the new ones to where they belong
and the changed ones to a staging table, and update from there. Locks are taken in the order of the keys, so
writers wait for each other, but never in a circle.
"""

import asyncio
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import chain
from typing import Any, TypeVar

import msgspec
import psycopg
from msgspec import structs
from psycopg.conninfo import conninfo_to_dict

from joinback.errors import ConfigurationError
from joinback.settings import Settings
from joinback_worker.errors import AlteredRow, SinkRefused, SinkUnavailable
from joinback_worker.row import Row
from joinback_worker.rules import Policy

from . import Sink, Standing
from . import postgres_table as table
from .merge_on_write import MergeOnWrite, Overtaken
from .postgres_migrate import look, migrate
from .postgres_schema import (
    GRANTS,
    MIGRATIONS,
    migration,
)
from .postgres_session import Session

TIMEOUT_S = 20.0
"""For one statement: a hundred batches' time, and well below the drain's own limit."""

# A question sorts one number per row: of a million rows that is this much. Compiling it takes longer than it saves.
_TO_ANSWER = """
SELECT set_config('transaction_read_only', 'on', true), set_config('work_mem', '128MB', true),
    set_config('jit', 'off', true)
"""

T = TypeVar("T")


def open_url(url: str, policy: Policy) -> Sink:
    """`postgresql://user:password@host:5432/database`, with libpq's options behind a `?`.

    One option is ours: `timeout_s`, the seconds that one statement may take. Of libpq's,
    `options=-csearch_path%3Djoinback` puts the table into a schema of its own.
    """
    parameters, timeout_s = _parameters(url)
    return PostgresSink(parameters, policy, timeout_s)


def place(url: str) -> tuple[str, ...]:
    """Host, port and database, and the schema if the URL names one; what it lacks is libpq's, from PG*."""
    known, _ = _parameters(url)
    host = known.get("host") or known.get("hostaddr") or os.environ.get("PGHOST", "localhost")
    database = known.get("dbname") or os.environ.get("PGDATABASE") or known.get("user", "")
    port = known.get("port") or os.environ.get("PGPORT", "5432")
    found = re.search(r"search_path\s*=\s*(\S+)", str(known.get("options", "")))
    return "postgresql", str(host).lower(), str(port), str(database), found.group(1) if found else ""


def schema(url: str, settings: Settings) -> str:
    """Every migration, then the worker's grants, for `psql` and a role that may create tables.

    It may be run again: what is there stays.
    """
    open_url(url, Policy())  # a wrong URL is told
    head = "-- For psql, as the owner, and with the search_path of the worker's URL if that names one."
    return head + "".join(map(migration, sorted(MIGRATIONS))) + GRANTS


def _parameters(url: str) -> tuple[dict[str, Any], float]:
    """Return libpq's parameters, and our own option. Raises ConfigurationError."""
    base, _, query = url.partition("?")
    timeout_s = TIMEOUT_S
    theirs = []
    for option in query.split("&"):
        name, _, value = option.partition("=")
        if name == "timeout_s":
            timeout_s = _seconds(value)
        else:
            theirs.append(option)
    try:
        return dict(conninfo_to_dict(f"{base}?{'&'.join(theirs)}")), timeout_s
    except psycopg.ProgrammingError:
        # libpq's own words may quote a part of the password.
        raise ConfigurationError(
            "JOINBACK_SINK_URL is no URL of PostgreSQL; write postgresql://user:password@host:5432/database, with"
            " %-codes for what is special in the password, and only options that libpq knows"
        ) from None


def _seconds(value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not 0.1 <= seconds < 86_400:
        raise ConfigurationError("JOINBACK_SINK_URL: timeout_s is no number of seconds")
    return seconds


class PostgresSink(MergeOnWrite):
    """FOR NO KEY UPDATE serialises the merges of a row, and the primary key those of a new one."""

    def __init__(self, parameters: Mapping[str, Any], policy: Policy, timeout_s: float = TIMEOUT_S) -> None:
        super().__init__(policy)
        self._session = Session(parameters, timeout_s)
        self._cautious = False
        """Whether an insert met something that was there already."""

    async def _run(self, work: Callable[[], T]) -> T:
        running = asyncio.ensure_future(super()._run(work))
        try:
            while not running.done():
                # The thread moves the time as it goes on, so it is looked at again and again.
                await asyncio.wait({running}, timeout=min(1.0, max(0.05, self._session.seconds_left())))
                self._session.hang_up_if_late()
            return running.result()
        finally:
            running.cancel()

    def _translated(self, work: Callable[[], T]) -> T:
        if self._session.is_lost and work != self._close:
            self._open()
        return self._session.translated(work)

    def _open(self) -> None:
        try:
            self._session.open()
            self._session.translated(self._look_or_migrate)
        except BaseException as error:
            self._session.close()
            if isinstance(error, SinkRefused):
                # By an event trigger, say: there is no row to blame.
                raise SinkUnavailable(f"sink {self._session.where}: the schema cannot be made: {error}") from error
            raise

    def _look_or_migrate(self) -> None:
        if not self.read_only:
            migrate(self._session, may=self.migrates)
        look(self._session, read_only=self.read_only)

    def _close(self) -> None:
        self._session.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            with self._session.transaction():
                yield
        except (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure) as error:
            # Among workers there are none; a person's session takes its locks in any order.
            raise Overtaken from error

    def _rows(self, application: str, join_keys: Sequence[str]) -> dict[str, Row]:
        # No row has a NUL in its key, and PostgreSQL takes none in a question.
        wanted = sorted(key for key in join_keys if "\0" not in key)
        if not wanted or "\0" in application:
            return {}
        if self._session.in_transaction:
            return self._select(table.SELECT_LOCKED, application, wanted)
        with self._session.transaction():
            return self._select(table.SELECT, application, wanted)

    def _select(self, query: str, application: str, join_keys: list[str]) -> dict[str, Row]:
        found = self._session.execute(query, (msgspec.json.encode(join_keys).decode(), application))
        try:
            return {row.join_key: row for row in map(table.from_sql, found)}
        except psycopg.DataError as error:
            # An `infinity`, or a year beyond 9999: PostgreSQL has such times, Python has not.
            raise AlteredRow("of a time", "holds one that is out of range") from error

    def _insert(self, rows: Iterator[Row]) -> None:
        if self._cautious:
            self._insert_staged(rows)
            return
        try:
            self._copy(table.COPY_NEW, rows)
        except psycopg.errors.UniqueViolation as error:
            # Another writer was first, or an index that somebody added says no: the next turn tells them apart.
            self._cautious = True
            raise Overtaken from error

    def _insert_staged(self, rows: Iterator[Row]) -> None:
        """By the staging table, from where what is there already is left out; half as fast as COPY alone."""
        self._session.execute(table.CREATE_STAGING)
        number = self._copy(table.COPY_STAGED, rows)
        if number and self._session.execute(table.INSERT_STAGED).rowcount < number:
            raise Overtaken
        self._session.execute(table.CLEAR_STAGING)
        self._cautious = False

    def _update(self, rows: Iterator[Row]) -> None:
        if (first := next(rows, None)) is None:
            return
        self._session.execute(table.CREATE_STAGING)
        self._copy(table.COPY_STAGED, chain([first], rows))
        self._session.execute(table.UPDATE_STAGED)

    def _copy(self, statement: str, rows: Iterator[Row]) -> int:
        if (first := next(rows, None)) is None:
            return 0
        return self._session.copy(statement, table.COPY_TYPES, map(table.to_sql, chain([first], rows)))

    def _is_same(self, row: Row, held: Row) -> bool:
        if row == held or row.feedback is None or held.feedback is None:
            return row == held
        # Of all that is compared only this was through jsonb.
        return structs.replace(held, feedback=row.feedback) == row and table.same_value(row.feedback, held.feedback)

    def _ask(self, question: str) -> list[tuple[Any, ...]]:
        with self._session.transaction():
            self._session.execute(_TO_ANSWER)
            return self._session.execute(question).fetchall()

    def _stop(self) -> None:
        self._session.stop()

    def _page(self, after: tuple[str, str], limit: int) -> list[Row]:
        with self._session.transaction():
            return [table.from_sql(values) for values in self._session.execute(table.PAGE, (*after, limit))]

    def _newest(self, application: str, limit: int) -> list[str]:
        with self._session.transaction():
            found = self._session.execute(table.NEWEST, {"application": application, "limit": limit}).fetchall()
        return [join_key for (join_key,) in found]

    def _standing(self, name: str) -> Standing | None:
        with self._session.transaction():
            found = self._session.execute(table.STANDING, (name,)).fetchone()
        return None if found is None else Standing(*found)

    def _run_sql(self, statements: Sequence[str]) -> None:
        try:
            with self._session.transaction():
                for statement in statements:
                    self._session.execute(statement)
        except psycopg.errors.InsufficientPrivilege as error:
            raise SinkUnavailable(
                f"sink {self._session.where}: this role may not make the view; run what --print prints as the owner, or"
                " GRANT CREATE ON SCHEMA … TO it"
            ) from error
        except psycopg.errors.DependentObjectsStillExist as error:
            raise SinkUnavailable(
                f"sink {self._session.where}: a column's type changed, so the view must be made anew, and other views"
                " depend on it; drop those first, or give another --name"
            ) from error

    def _matured(self, application: str, before: datetime, limit: int) -> list[str]:
        if "\0" in application:
            return []
        found = self._session.execute(table.MATURED, {"application": application, "before": before, "limit": limit})
        return [join_key for (join_key,) in found]
