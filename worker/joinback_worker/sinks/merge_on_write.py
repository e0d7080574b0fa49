"""What row stores share: read the rows of the keys, merge by the law, write those that changed, in one transaction.

The engine's part is to serialise the read-merge-write of a key.
"""

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime
from functools import partial
from operator import attrgetter
from typing import TypeVar

from msgspec import structs

from joinback import wire
from joinback_worker.errors import SinkRefused, SinkUnavailable, WorkerError, no_row
from joinback_worker.fold import Record, admit
from joinback_worker.row import Row, late_news, overflowed, project, unfold
from joinback_worker.rules import Policy

from . import Merged, Refolded
from .on_thread import SAMPLE_BATCH, SAMPLE_ROWS, SinkOnThread

CLOSE_ROWS = 1_000
"""Rows of one closing transaction: other writers wait no longer than for a batch."""
TURNS_MAX = 10
"""Times that a transaction begins. A key is inserted once, so each turn finds what overtook the one before."""

PAGE_ROWS = 1_000
PAGE_BYTES = 16 << 20
"""Of a page: what a copy holds in memory. The next one has fewer rows if these were large."""
_TRIAL = "joinback doctor"

COLUMNS = Row.__struct_fields__
TIMES = frozenset({"predicted_at", "feedback_at", "first_feedback_at", "logged_at", "matures_at"})
JSON = frozenset(
    {"inputs", "outputs", "tags", "feedback", "default_fields", "field_times", "feedback_events", "conflicts"}
)
DROPPED_ADVICE = "feedback_is_default; the column is gone, default_fields says more"
"""For whoever has a view of their own on the column that migration 2 drops."""

T = TypeVar("T")


class Overtaken(Exception):
    """Another writer came first: the transaction is rolled back and begins again, where it sees the other's rows."""


class _Undone(Exception):
    """Rolls a trial back."""


class MergeOnWrite(SinkOnThread):
    """See `Sink` for the promise. An engine fills in the methods below; they run on the sink's thread."""

    refolds = True

    def __init__(self, policy: Policy) -> None:
        super().__init__(policy)
        self._unclosable: dict[str, str] = {}
        """Join keys of rows that cannot be closed, and why."""

    @abstractmethod
    def _transaction(self) -> AbstractContextManager[object]:
        """All or nothing, durable at its end. May raise Overtaken."""

    @abstractmethod
    def _rows(self, application: str, join_keys: Sequence[str]) -> dict[str, Row]:
        """The rows of these keys; within a transaction they stay as they are until its end."""

    @abstractmethod
    def _insert(self, rows: Iterator[Row]) -> None:
        """Add rows that `_rows` did not find, of one application. Raises Overtaken if a key is there by now."""

    @abstractmethod
    def _update(self, rows: Iterator[Row]) -> None:
        """Write rows of one application over those that `_rows` found."""

    @abstractmethod
    def _page(self, after: tuple[str, str], limit: int) -> list[Row]:
        """The rows that follow this (application, join_key), in the engine's own order of both."""

    @abstractmethod
    def _matured(self, application: str, before: datetime, limit: int) -> list[str]:
        """Join keys of rows that the clock alone may have changed by this time, at most so many."""

    def _is_same(self, row: Row, held: Row) -> bool:
        return row == held

    async def close_matured(self, application: str) -> int:
        self._unclosable.clear()
        closed = await super().close_matured(application)
        if self._unclosable:
            # Somebody edited them, or added a constraint. No event brought this about, so there is none to bury.
            why = min(self._unclosable.values())
            raise SinkUnavailable(f"{len(self._unclosable)} matured rows cannot be written, {closed} were: {why}")
        return closed

    def _merge(self, records: Sequence[Record]) -> Merged:
        by_application: defaultdict[str, list[Record]] = defaultdict(list)
        for record in records:
            by_application[record.application].append(record)

        def merge_all() -> Merged:
            merged = Merged()
            # Sorted, as the engine sorts the keys: all writers take their locks in one order.
            for application, group in sorted(by_application.items()):
                self._merge_some(application, group, merged)
            return merged

        return self._in_transaction(merge_all)

    def _merge_some(self, application: str, records: Sequence[Record], merged: Merged) -> None:
        """Merge records of one application, and add what happened to `merged`."""
        held = self._rows(application, [record.join_key for record in records])
        in_order = sorted(records, key=attrgetter("join_key"))
        # As iterators: an engine that streams is busy with the last rows while the next ones are merged.
        self._insert(self._changed([record for record in in_order if record.join_key not in held], held, merged))
        self._update(self._changed([record for record in in_order if record.join_key in held], held, merged))

    def _changed(self, records: Sequence[Record], held: Mapping[str, Row], merged: Merged) -> Iterator[Row]:
        for incoming in records:
            row = held.get(incoming.join_key)
            try:
                record, overflow = admit(unfold(row) if row else None, incoming)
                new_row, late = project(record, self._policy)
            except WorkerError:
                raise
            except Exception as error:
                raise no_row(error) from error
            merged.count(
                new_row.status,
                new_row.conflicts is not None,
                late_news(incoming, late) + overflowed(incoming, overflow),
            )
            if row is None or not self._is_same(new_row, row):
                yield new_row

    def _close_matured(self, application: str) -> int | None:
        before = self._policy.now
        if before is None or not self._policy.rules.mature:
            return None
        # A row that cannot be written stays due, and must not stand in the way of those behind it.
        limit = CLOSE_ROWS + len(self._unclosable)
        matured = self._in_transaction(partial(self._matured, application, before, limit))
        join_keys = [key for key in matured if key not in self._unclosable]
        return self._close_each(application, join_keys) if join_keys else None

    def _close_each(self, application: str, join_keys: Sequence[str]) -> int:
        """Close these rows, but for the ones that cannot be: those are found by bisection."""
        close = partial(self._close_some, application, join_keys)
        try:
            return self._translated(partial(self._in_transaction, close))
        except SinkRefused as error:
            if len(join_keys) == 1:
                self._unclosable[join_keys[0]] = str(error)
                return 0
        middle = len(join_keys) // 2
        return self._close_each(application, join_keys[:middle]) + self._close_each(application, join_keys[middle:])

    def _close_some(self, application: str, join_keys: Sequence[str]) -> int:
        held = self._rows(application, join_keys)
        try:
            # By the law, not by the query: it decides what is mature.
            due = [(row, project(unfold(row), self._policy)[0]) for row in held.values()]
        except WorkerError:
            raise
        except Exception as error:
            raise no_row(error) from error
        # Each is written, and so due later or never: else it would be found again.
        self._update(row for _, row in due)
        return sum(not self._is_same(structs.replace(row, matures_at=held.matures_at), held) for held, row in due)

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

    def _refold(self, application: str, dry_run: bool) -> Refolded:
        """Page by page, each in a transaction of its own: other writers wait no longer than for a batch."""
        changed = Refolded()
        for page in self._pages_of(application):
            keys = [row.join_key for row in page]
            changed += self._in_transaction(partial(self._refold_some, application, keys, dry_run))
        return changed

    def _refold_some(self, application: str, join_keys: list[str], dry_run: bool) -> Refolded:
        held = self._rows(application, join_keys)
        projected = {key: project(unfold(row), self._policy)[0] for key, row in sorted(held.items())}
        changed = [row for key, row in projected.items() if not self._is_same(row, held[key])]
        if not dry_run:
            self._update(iter(changed))
        return Refolded((held[row.join_key].status, row.status) for row in changed)

    def _try_rights(self) -> None:
        """Merge a record of no application, and roll back."""
        at = datetime.now(UTC)
        tried = wire.Feedback(v=wire.PLAIN_VERSION, at=at, logged_at=at, feedback={})
        record = Record(application=_TRIAL, join_key=_TRIAL, feedback={_TRIAL: tried})

        def merge_and_undo() -> None:
            self._merge_some(_TRIAL, [record], Merged())
            raise _Undone

        with suppress(_Undone):
            self._in_transaction(merge_and_undo)

    def _in_transaction(self, work: Callable[[], T]) -> T:
        # Anew, and not from the lost keys on: who waits for a row while holding later ones can deadlock.
        for _ in range(TURNS_MAX):
            with suppress(Overtaken), self._transaction():
                return work()
        raise SinkUnavailable(f"other writers came first, {TURNS_MAX} times; the next try may be quicker")


def _readable(row: Row) -> Record:
    try:
        return unfold(row)
    except (SinkRefused, ValueError, AssertionError) as error:
        where = f"{row.application!r}, {row.join_key!r}"
        raise SinkUnavailable(f"the row of {where} is not as a worker wrote it; mend or delete it") from error


def _bytes_of(rows: Sequence[Row]) -> int:
    return sum(len(cell) for row in rows for name in JSON if (cell := getattr(row, name)) is not None)
