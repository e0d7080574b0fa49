"""What sinks that store rows share: in one transaction they read the rows of a batch, merge by the law, and write.

Most of a row is its prediction, which hardly ever changes. So its JSON is read only if another prediction of its key
comes, and written only if it changed. The engine must ensure that no two writers read, merge and write one key at once.
"""

from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from operator import attrgetter

from msgspec import structs

from joinback import wire
from joinback_worker.errors import SinkRefused, SinkUnavailable
from joinback_worker.law.joining import joined, refolded
from joinback_worker.law.record import Record
from joinback_worker.law.row import Row
from joinback_worker.law.rules import Policy

from . import Merged, Refolded
from .row_columns import COLUMNS, FEEDBACK_COLUMNS
from .row_store import TURNS_MAX, Change, Overtaken, RowStore

CLOSE_ROWS = 1_000
"""Rows that one transaction closes: other writers wait for it no longer than for a batch."""
PART_ROWS = 1_000
"""Rows of a merge in memory at a time: a row may hold far more than the events that come for it."""
_TRIAL = "joinback doctor"
"""Application and join key of the record that `_try_rights` merges and rolls back."""

_of_predictions = attrgetter(*(name for name in COLUMNS[2:] if name not in FEEDBACK_COLUMNS))


class _Undone(Exception):
    """Ends the transaction of a trial, so that it is rolled back."""


class MergeOnWrite(RowStore):
    """A sink that stores finished rows. See `Sink` for what it keeps, `RowStore` for what an engine fills in."""

    refolds = True

    def __init__(self, policy: Policy) -> None:
        super().__init__(policy)
        self._unclosable: dict[str, str] = {}
        """Join key of a row that cannot be closed -> why."""

    def _is_same(self, row: Row, held: Row) -> bool:
        """Return whether the row that is held needs no write. Override it if the engine gives back other bytes."""
        return row == held

    async def close_matured(self, application: str) -> int:
        self._unclosable.clear()
        closed = await super().close_matured(application)
        if self._unclosable:
            # Somebody edited these rows, or added a constraint. No event caused this, so none becomes a dead letter.
            why = min(self._unclosable.values())
            raise SinkUnavailable(
                f"{len(self._unclosable)} matured rows cannot be written, {closed} were written: {why}"
            )
        return closed

    def _merge(self, records: Sequence[Record]) -> Merged:
        by_application: defaultdict[str, list[Record]] = defaultdict(list)
        for record in records:
            by_application[record.application].append(record)

        def merge_all() -> Merged:
            merged = Merged()
            # Sorted, as the keys are within an application: so all writers take their locks in the same order.
            for application, group in sorted(by_application.items()):
                merged += self._merge_some(application, group)
            return merged

        return self._in_transaction(merge_all)

    def _merge_some(self, application: str, records: Sequence[Record]) -> Merged:
        """Merge records of one application."""
        merged = Merged()
        left = self._insert_unseen(sorted(records, key=attrgetter("join_key")), merged)
        for _ in range(TURNS_MAX):
            new: list[Record] = []
            # First lock all rows that are there, then insert the new ones: so writers never wait in a circle.
            for first in range(0, len(left), PART_ROWS):
                new += self._merge_held(application, left[first : first + PART_ROWS], merged)
            inserted = Merged()
            # An iterator: an engine that streams can store rows while the next ones are made.
            if not new or self._insert(self._made(incoming, None, inserted) for incoming in new):
                return merged + inserted
            left = new
        raise Overtaken

    def _insert_unseen(self, records: Sequence[Record], merged: Merged) -> Sequence[Record]:
        """Insert the records that are most likely new, without reading first. Return the records still to merge.

        `records` are sorted by join key. What it inserts it counts in `merged`. By default it inserts none.
        """
        return records

    def _merge_held(self, application: str, records: Sequence[Record], merged: Merged) -> Sequence[Record]:
        """Merge these records into the rows that are there. Return the records that have no row yet."""
        whole = {record.join_key for record in records if record.predictions}
        held = self._held(application, [record.join_key for record in records], whole)
        with_feedback: list[Change] = []
        whole_rows: list[Row] = []
        new: list[Record] = []
        for incoming in records:
            found = held.get(incoming.join_key)
            if found is None:
                new.append(incoming)
                continue
            row = self._made(incoming, found.row, merged)
            if self._is_same(row, found.row):
                continue
            if incoming.predictions and _of_predictions(row) != _of_predictions(found.row):
                whole_rows.append(row)
            else:
                with_feedback.append((found, row))
        self._update_feedback(iter(with_feedback))
        self._update(iter(whole_rows))
        return new

    def _made(self, incoming: Record, held: Row | None, merged: Merged) -> Row:
        """Return the row of what the table holds and what comes, and count it in `merged`."""
        row, rejected = joined(held, incoming, self._policy)
        merged.count(row.status, row.conflicts is not None, rejected)
        return row

    def _close_matured(self, application: str) -> int | None:
        before = self._policy.now
        if before is None or not self._policy.rules.mature:
            return None
        # A row that cannot be written stays due, and comes first again. It must not keep out the rows after it.
        limit = CLOSE_ROWS + len(self._unclosable)
        matured = self._in_transaction(partial(self._matured, application, before, limit))
        join_keys = [key for key in matured if key not in self._unclosable]
        return self._close_each(application, join_keys) if join_keys else None

    def _close_each(self, application: str, join_keys: Sequence[str]) -> int:
        """Close these rows, and return how many changed. Note those that cannot be written: halving finds them."""
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
        held = self._held(application, join_keys, ())
        # The query finds candidates; the law decides what is mature.
        due = [(found, refolded(found.row, self._policy)) for found in held.values()]
        # Write each of them, changed or not: the write sets a later `matures_at`, or none. Else the next query would
        # find the same rows again.
        self._update_feedback(iter(due))
        return sum(not self._is_same(structs.replace(row, matures_at=was.matures_at), was) for (was, _), row in due)

    def _refold(self, application: str, dry_run: bool) -> Refolded:
        """As `Sink.refold`. Each page has its own transaction, so other writers wait no longer than for a batch."""
        changed = Refolded()
        for page in self._pages_of(application):
            keys = [row.join_key for row in page]
            changed += self._in_transaction(partial(self._refold_some, application, keys, dry_run))
        return changed

    def _refold_some(self, application: str, join_keys: list[str], dry_run: bool) -> Refolded:
        held = self._held(application, join_keys, ())
        projected = [(found, refolded(found.row, self._policy)) for _, found in sorted(held.items())]
        changed = [(found, row) for found, row in projected if not self._is_same(row, found.row)]
        if not dry_run:
            self._update_feedback(iter(changed))
        return Refolded((found.row.status, row.status) for found, row in changed)

    def _try_rights(self) -> None:
        """Merge a record of an application that does not exist, and roll back."""
        at = datetime.now(UTC)
        tried = wire.Feedback(v=wire.PLAIN_VERSION, at=at, logged_at=at, feedback={})
        record = Record(application=_TRIAL, join_key=_TRIAL, feedback={_TRIAL: tried})

        def merge_and_undo() -> None:
            self._merge_some(_TRIAL, [record])
            raise _Undone

        with suppress(_Undone):
            self._in_transaction(merge_and_undo)
