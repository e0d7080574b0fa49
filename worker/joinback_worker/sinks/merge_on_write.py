"""What row stores share: read the rows of the keys, merge by the law, write those that changed, in one transaction.

The engine's part is to serialise the read-merge-write of a key. Everything runs on one thread of the sink's
own, off the event loop.
"""

import asyncio
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

from joinback_worker.fold import Record, Rejected, admit
from joinback_worker.row import Policy, Row, late_news, overflowed, project, unfold

from . import Merged

CLOSE_ROWS = 1_000
"""Rows of one closing transaction: other writers wait no longer than for a batch."""

COLUMNS = Row.__struct_fields__
TIMES = frozenset({"predicted_at", "feedback_at", "first_feedback_at", "logged_at"})
JSON = frozenset({"inputs", "outputs", "tags", "feedback", "feedback_events", "conflicts"})

T = TypeVar("T")


class MergeOnWrite(ABC):
    """See `Sink` for the promise. An engine fills in the methods below; they run on the sink's thread."""

    def __init__(self, policy: Policy, thread_name: str) -> None:
        self._policy = policy
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=thread_name)

    # --- what an engine is asked ------------------------------------------------------------------------

    @abstractmethod
    def _open(self) -> None:
        """Connect, and create or check the schema."""

    @abstractmethod
    def _close(self) -> None: ...

    @abstractmethod
    def _transaction(self) -> AbstractContextManager[object]:
        """All or nothing, durable at its end."""

    @abstractmethod
    def _rows(self, application: str, join_keys: Sequence[str]) -> dict[str, Row]:
        """The rows of these keys; within a transaction they stay as they are until its end."""

    @abstractmethod
    def _write(self, rows: Sequence[Row], held: Mapping[str, Row]) -> set[str]:
        """Upsert rows of one application. Returns the keys that somebody else inserted since `_rows` looked."""

    @abstractmethod
    def _matured(self, application: str, before: datetime, limit: int) -> list[str]:
        """Join keys of predicted rows from before this time, at most so many, and maybe some too many."""

    @abstractmethod
    def _translated(self, work: Callable[[], T]) -> T:
        """Run the work; the engine's errors become SinkUnavailable or SinkRefused."""

    def _is_same(self, row: Row, held: Row) -> bool:
        return row == held

    # --- the sink ---------------------------------------------------------------------------------------

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
        return await self._run(partial(self._rows, application, join_keys))

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._translated, work)

    # --- the law ----------------------------------------------------------------------------------------

    def _merge(self, records: Sequence[Record]) -> Merged:
        by_application: defaultdict[str, list[Record]] = defaultdict(list)
        for record in records:
            by_application[record.application].append(record)
        merged = Merged()
        with self._transaction():
            for application, group in by_application.items():
                # Again for those keys that another writer inserted meanwhile: each turn knows their rows.
                while group:
                    group = self._merge_some(application, group, merged)
        return merged

    def _merge_some(self, application: str, records: Sequence[Record], merged: Merged) -> list[Record]:
        """Merge records of one application; returns those that are to be merged again."""
        held = self._rows(application, [record.join_key for record in records])
        changed: list[Row] = []
        done: list[tuple[Record, Row, list[Rejected]]] = []
        for incoming in records:
            row = held.get(incoming.join_key)
            known = unfold(row) if row else None
            record, overflow = admit(known, incoming)
            new_row, late = project(record, self._policy)
            done.append((incoming, new_row, late_news(incoming, late) + overflowed(incoming, overflow)))
            if row is None or not self._is_same(new_row, row):
                changed.append(new_row)
        lost = self._write(changed, held) if changed else set()
        for incoming, new_row, rejected in done:
            if incoming.join_key not in lost:
                merged.count(new_row, rejected)
        return [incoming for incoming, _, _ in done if incoming.join_key in lost]

    def _close_some(self, application: str) -> int:
        if self._policy.matured_before is None:
            return 0
        with self._transaction():
            keys = self._matured(application, self._policy.matured_before, CLOSE_ROWS)
            held = self._rows(application, keys)
            # By the law, not by the query: it decides what is mature.
            closed = [project(unfold(row), self._policy)[0] for row in held.values()]
            unlabelled = [row for row in closed if row.status == "unlabelled"]
            if unlabelled:
                self._write(unlabelled, held)
        return len(unlabelled)
