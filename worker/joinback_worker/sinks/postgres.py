"""The PostgreSQL sink: one table `records`, which any number of workers merge into.

Merge on write, one transaction a batch: lock the rows of its keys, merge, COPY the changed ones to a staging table and
the new ones to where they belong, and update from staging. First all rows that are there are locked, in the order of
the keys, then the new ones are inserted, in that order: so writers wait for each other, but never in a circle.
"""

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import chain
from typing import Any, TypeVar

import msgspec
import psycopg
from msgspec import structs

from joinback.settings import Settings
from joinback_worker.errors import AlteredRow, SinkRefused, SinkUnavailable
from joinback_worker.law.row import Row
from joinback_worker.law.rules import Policy

from . import Sink, Standing
from . import postgres_table as table
from .merge_on_write import MergeOnWrite
from .postgres_migrate import look, migrate
from .postgres_schema import GRANTS, IS_KEY, MIGRATIONS, migration
from .postgres_session import Session
from .postgres_url import TIMEOUT_S, parameters_of
from .postgres_url import place as place
from .row_store import Change, Held, Overtaken

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
    parameters, timeout_s = parameters_of(url)
    return PostgresSink(parameters, policy, timeout_s)


def schema(url: str, settings: Settings) -> str:
    """Every migration, then the worker's grants, for `psql` and a role that may create tables.

    It may be run again: what is there stays.
    """
    open_url(url, Policy())  # a wrong URL is told
    head = "-- For psql, as the owner, and with the search_path of the worker's URL if that names one."
    return head + "".join(map(migration, sorted(MIGRATIONS))) + GRANTS


class PostgresSink(MergeOnWrite):
    """FOR NO KEY UPDATE serialises the merges of a row, and the primary key those of a new one."""

    def __init__(self, parameters: Mapping[str, Any], policy: Policy, timeout_s: float = TIMEOUT_S) -> None:
        super().__init__(policy)
        self._session = Session(parameters, timeout_s)
        self._overtaken = False
        """Whether an insert of this transaction met a key that was there by then."""
        self._staged = 0
        """Rows that wait in the staging table of whole rows, in this transaction."""
        self._staged_feedback = 0
        """The same of what was told."""

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
        self._overtaken, self._staged, self._staged_feedback = False, 0, 0
        try:
            with self._session.transaction():
                yield
                self._write_staged()
        except (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure) as error:
            # Among workers there are none; a person's session takes its locks in any order.
            raise Overtaken from error

    def _rows(self, application: str, join_keys: Sequence[str]) -> dict[str, Row]:
        if not (wanted := _askable(application, join_keys)):
            return {}
        with self._session.transaction():
            found = self._select(table.SELECT, _json(wanted), application)
            return {row.join_key: row for row in map(table.from_sql, found)}

    def _held(self, application: str, join_keys: Sequence[str], whole: Collection[str]) -> dict[str, Held]:
        if not (wanted := _askable(application, join_keys)):
            return {}
        which = _json(["1" if key in whole else "" for key in wanted])
        # Out of the order of the keys, so without waiting.
        query = table.SELECT_HELD_AT_ONCE if self._overtaken else table.SELECT_HELD
        try:
            found = self._select(query, _json(wanted), which, application)
            held = (Held(table.from_sql(values), place) for place, *values in found)
            return {one.row.join_key: one for one in held}
        except psycopg.errors.LockNotAvailable as error:
            if self._overtaken:
                raise Overtaken from error
            raise

    def _select(self, query: str, *parameters: str) -> Iterator[tuple[Any, ...]]:
        try:
            yield from self._session.execute(query, parameters)
        except psycopg.DataError as error:
            # An `infinity`, or a year beyond 9999: PostgreSQL has such times, Python has not.
            raise AlteredRow("of a time", "holds one that is out of range") from error

    def _insert(self, rows: Iterator[Row]) -> bool:
        try:
            # What is locked and staged by now outlives a key that is there.
            with self._session.savepoint():
                self._copy(table.COPY_NEW, rows)
        except psycopg.errors.UniqueViolation as error:
            if self._session.execute(IS_KEY, (error.diag.constraint_name,)).fetchone() != (True,):
                raise  # an index that somebody added says no
            self._overtaken = True
            return False
        return True

    def _update(self, rows: Iterator[Row]) -> None:
        if (first := next(rows, None)) is None:
            return
        if not self._staged:
            self._session.execute(table.CREATE_STAGING)
        self._staged += self._copy(table.COPY_STAGED, chain([first], rows))

    def _update_feedback(self, rows: Iterator[Change]) -> None:
        if (first := next(rows, None)) is None:
            return
        if not self._staged_feedback:
            self._session.execute(table.CREATE_FEEDBACK)
        values = (table.feedback_to_sql(held.place, row) for held, row in chain([first], rows))
        self._staged_feedback += self._session.copy(table.COPY_FEEDBACK, table.FEEDBACK_TYPES, values)

    def _write_staged(self) -> None:
        """Update the rows that were staged, which this transaction has locked."""
        if self._staged:
            self._session.execute(table.UPDATE_STAGED)
        if self._staged_feedback:
            self._session.execute(table.BY_PLACE)
            if self._session.execute(table.UPDATE_FEEDBACK).rowcount < self._staged_feedback:
                raise Overtaken

    def _copy(self, statement: str, rows: Iterator[Row]) -> int:
        if (first := next(rows, None)) is None:
            return 0
        return self._session.copy(statement, table.COPY_TYPES, map(table.to_sql, chain([first], rows)))

    def _is_same(self, row: Row, held: Row) -> bool:
        if row == held or row.feedback is None or held.feedback is None:
            return row == held
        # Of all that is compared only this was through jsonb.
        return structs.replace(held, feedback=row.feedback) == row and table.same_value(row.feedback, held.feedback)

    def _delete(self, application: str, join_keys: Sequence[str]) -> int:
        if not (wanted := _askable(application, join_keys)):
            return 0
        return self._session.execute(table.DELETE, (application, _json(wanted))).rowcount

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


def _askable(application: str, join_keys: Sequence[str]) -> list[str]:
    """Return the keys that may have a row, in their order: none has a NUL, and PostgreSQL takes none in a question."""
    return [] if "\0" in application else sorted(key for key in join_keys if "\0" not in key)


def _json(texts: Sequence[str]) -> str:
    return msgspec.json.encode(texts).decode()
