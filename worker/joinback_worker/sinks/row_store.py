"""A table with one row per (application, join key): the methods that an engine fills in, and how the table is read."""

from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple, TypeVar

from joinback_worker.errors import SinkRefused, SinkUnavailable
from joinback_worker.law.record import Record
from joinback_worker.law.row import Row, unfold

from .on_thread import SAMPLE_BATCH, SAMPLE_ROWS, SinkOnThread
from .row_columns import JSON

TURNS_MAX = 10
"""How often one transaction is tried. A key is inserted once, so each try finds the row that the try before met too
late."""
PAGE_ROWS = 1_000
PAGE_BYTES = 16 << 20
"""Of one page: a copy holds that much in memory. If a page was larger, the next one has fewer rows."""

T = TypeVar("T")


class Held(NamedTuple):
    """A row that the table holds."""

    row: Row
    """If it was read bare, that is without its prediction's JSON: its inputs and outputs are `null`, its tags None."""
    place: Any
    """Where the engine finds the row again, until the transaction ends: a row id, say."""


Change = tuple[Held, Row]
"""A row that the table holds, and the row that it becomes. The two differ in the columns FEEDBACK_COLUMNS alone."""


class Overtaken(Exception):
    """Another writer came first. The transaction is rolled back and tried again; it then sees the other's rows."""


class RowStore(SinkOnThread):
    """An engine fills in the abstract methods. They run on the sink's thread; see `SinkOnThread`.

    `_held`, `_insert`, `_update`, `_update_feedback`, `_delete` and `_matured` run within a `_transaction`; the others
    do not, and may begin one of their own.
    """

    @abstractmethod
    def _transaction(self) -> AbstractContextManager[object]:
        """Return a transaction: all or nothing, and durable when it ends. It may raise Overtaken."""

    @abstractmethod
    def _held(self, application: str, join_keys: Sequence[str], whole: Collection[str]) -> dict[str, Held]:
        """Return join key -> row of these keys, without those that have no row.

        No other writer may change these rows until the transaction ends. Rows of the keys in `whole` are read whole,
        the others bare (see `Held.row`).
        """

    @abstractmethod
    def _insert(self, rows: Iterator[Row]) -> bool:
        """Add rows of one application that `_held` did not find, and return True.

        If another writer has inserted one of their keys by now, add none of them and return False. Before it returns
        True it must take all rows from the iterator, as each is counted when it is made.
        """

    @abstractmethod
    def _update(self, rows: Iterator[Row]) -> None:
        """Replace rows of one application, which `_held` found and read whole."""

    @abstractmethod
    def _update_feedback(self, rows: Iterator[Change]) -> None:
        """Replace the columns FEEDBACK_COLUMNS of rows of one application, which `_held` found."""

    @abstractmethod
    def _delete(self, application: str, join_keys: Sequence[str]) -> int:
        """Delete the rows of these keys. Return how many there were."""

    def _erase(self, application: str, join_keys: Sequence[str]) -> int:
        return self._in_transaction(partial(self._delete, application, join_keys))

    @abstractmethod
    def _page(self, after: tuple[str, str], limit: int) -> list[Row]:
        """Return at most `limit` rows that follow this (application, join_key), in the engine's order of the two."""

    @abstractmethod
    def _matured(self, application: str, before: datetime, limit: int) -> list[str]:
        """Return at most `limit` join keys of rows whose `matures_at` is before this time."""

    def _in_transaction(self, work: Callable[[], T]) -> T:
        # All of it again, not only the keys that were lost: who holds later rows and waits for an earlier one can
        # deadlock.
        for _ in range(TURNS_MAX):
            with suppress(Overtaken), self._transaction():
                return work()
        raise SinkUnavailable(f"other writers came first {TURNS_MAX} times; the next drain tries again")

    def _pages(self, application: str | None) -> Iterator[list[Record]]:
        pages = self._row_pages(("", "")) if application is None else self._pages_of(application)
        for rows in pages:
            yield [_readable(row) for row in rows]

    def _pages_of(self, application: str) -> Iterator[list[Row]]:
        """Yield the rows of one application, and stop at the first row of the application that follows it."""
        for page in self._row_pages((application, "")):
            rows = [row for row in page if row.application == application]
            if rows:
                yield rows
            if len(rows) < len(page):
                return

    def _row_pages(self, after: tuple[str, str]) -> Iterator[list[Row]]:
        limit = PAGE_ROWS // 10
        while rows := self._page(after, limit):
            yield rows
            after = rows[-1].application, rows[-1].join_key
            limit = PAGE_ROWS if _bytes_of(rows) < PAGE_BYTES // 10 else max(1, limit // 4)

    def _whole(self, application: str) -> Iterator[list[Record]]:
        for rows in self._whole_rows(application):
            yield [_readable(row) for row in rows]

    def _whole_rows(self, application: str) -> Iterator[list[Row]]:
        yield from self._pages_of(application)

    @abstractmethod
    def _newest(self, application: str, limit: int) -> list[str]:
        """Return the join keys of the `limit` newest predictions, and of the `limit` newest labels."""

    def _sample(self, application: str) -> Iterator[list[Row]]:
        keys = self._newest(application, SAMPLE_ROWS)
        for first in range(0, len(keys), SAMPLE_BATCH):
            yield list(self._rows(application, keys[first : first + SAMPLE_BATCH]).values())


def _readable(row: Row) -> Record:
    try:
        return unfold(row)
    except (SinkRefused, ValueError, AssertionError) as error:
        where = f"{row.application!r}, {row.join_key!r}"
        raise SinkUnavailable(f"the row of {where} is not as a worker wrote it; repair or delete it") from error


def _bytes_of(rows: Sequence[Row]) -> int:
    return sum(len(cell) for row in rows for name in JSON if (cell := getattr(row, name)) is not None)
