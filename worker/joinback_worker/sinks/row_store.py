"""A table of rows, one per (application, join key): what its engine fills in, and how all of it is read."""

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
"""Times that a transaction begins. A key is inserted once, so each turn finds what overtook the one before."""
PAGE_ROWS = 1_000
PAGE_BYTES = 16 << 20
"""Of a page: what a copy holds in memory. The next one has fewer rows if these were large."""

T = TypeVar("T")


class Held(NamedTuple):
    """A row that is there."""

    row: Row
    """If it was read without its prediction's JSON: `null` in place of inputs and outputs, and no tags."""
    place: Any
    """Where it stands, until the transaction ends."""


Change = tuple[Held, Row]
"""A row that is there, and what it is to say; the two differ in the columns FEEDBACK_COLUMNS alone."""


class Overtaken(Exception):
    """Another writer came first: the transaction is rolled back and begins again, where it sees the other's rows."""


class RowStore(SinkOnThread):
    """An engine fills in the abstract methods; they run on the sink's thread."""

    @abstractmethod
    def _transaction(self) -> AbstractContextManager[object]:
        """All or nothing, durable at its end. May raise Overtaken."""

    @abstractmethod
    def _held(self, application: str, join_keys: Sequence[str], whole: Collection[str]) -> dict[str, Held]:
        """The rows of these keys, which stay as they are until the transaction ends; absent ones are left out.

        But for the keys of `whole`, without the prediction's JSON.
        """

    @abstractmethod
    def _insert(self, rows: Iterator[Row]) -> bool:
        """Add rows of one application that `_held` did not find. False, and nothing done, if a key is there by now."""

    @abstractmethod
    def _update(self, rows: Iterator[Row]) -> None:
        """Write rows of one application over those that `_held` found whole."""

    @abstractmethod
    def _update_feedback(self, rows: Iterator[Change]) -> None:
        """Write the columns FEEDBACK_COLUMNS of rows of one application over those that `_held` found."""

    @abstractmethod
    def _delete(self, application: str, join_keys: Sequence[str]) -> int:
        """Delete the rows of these keys, within a transaction; how many there were."""

    def _erase(self, application: str, join_keys: Sequence[str]) -> int:
        return self._in_transaction(partial(self._delete, application, join_keys))

    @abstractmethod
    def _page(self, after: tuple[str, str], limit: int) -> list[Row]:
        """The rows that follow this (application, join_key), in the engine's own order of both."""

    @abstractmethod
    def _matured(self, application: str, before: datetime, limit: int) -> list[str]:
        """Join keys of rows that the clock alone may have changed by this time, at most so many."""

    def _in_transaction(self, work: Callable[[], T]) -> T:
        # Anew, and not from the lost keys on: who waits for a row while holding later ones can deadlock.
        for _ in range(TURNS_MAX):
            with suppress(Overtaken), self._transaction():
                return work()
        raise SinkUnavailable(f"other writers came first, {TURNS_MAX} times; the next try may be quicker")

    def _pages(self, application: str | None) -> Iterator[list[Record]]:
        pages = self._row_pages(("", "")) if application is None else self._pages_of(application)
        for rows in pages:
            yield [_readable(row) for row in rows]

    def _pages_of(self, application: str) -> Iterator[list[Row]]:
        """The rows of one application: those behind it in the engine's order are not read."""
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
        """The join keys of so many of the newest predictions, and of as many of the newest labels."""

    def _sample(self, application: str) -> Iterator[list[Row]]:
        keys = self._newest(application, SAMPLE_ROWS)
        for first in range(0, len(keys), SAMPLE_BATCH):
            yield list(self._rows(application, keys[first : first + SAMPLE_BATCH]).values())


def _readable(row: Row) -> Record:
    try:
        return unfold(row)
    except (SinkRefused, ValueError, AssertionError) as error:
        where = f"{row.application!r}, {row.join_key!r}"
        raise SinkUnavailable(f"the row of {where} is not as a worker wrote it; mend or delete it") from error


def _bytes_of(rows: Sequence[Row]) -> int:
    return sum(len(cell) for row in rows for name in JSON if (cell := getattr(row, name)) is not None)
