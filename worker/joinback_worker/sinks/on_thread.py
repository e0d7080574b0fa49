"""A sink whose driver blocks: all its work runs on one thread of its own, off the event loop."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import Any, ClassVar, Self, TypeVar

from joinback_worker.errors import SinkUnavailable
from joinback_worker.law.record import Record
from joinback_worker.law.row import Row
from joinback_worker.law.rules import Policy

from . import Merged, Refolded, Standing

SAMPLE_ROWS = 5_000
"""Of each side, predictions and labels: enough to meet a field that one row in a thousand has."""
SAMPLE_BATCH = 500
"""Rows at a time: at 1 MiB, the largest event, half a gigabyte; at 1 KB nothing."""

T = TypeVar("T")


class SinkOnThread(ABC):
    """See `Sink` for the promise. The methods below are what a sink fills in; they run on the sink's thread."""

    looks_up: ClassVar[bool] = True
    refolds: ClassVar[bool] = False
    erases: ClassVar[bool] = True
    emits_joined: ClassVar[bool] = True
    read_only = False
    migrates = True

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        # One thread: drivers' connections are bound to the thread that made them, and one batch is under way at a time.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="joinback-sink")

    @abstractmethod
    def _open(self) -> None:
        """Connect, and create or check the schema."""

    @abstractmethod
    def _close(self) -> None:
        """Let go of the connection."""

    @abstractmethod
    def _merge(self, records: Sequence[Record]) -> Merged:
        """As `Sink.merge`; there is one record at least."""

    @abstractmethod
    def _close_matured(self, application: str) -> int | None:
        """Write some of what matured, and return how many rows say something else now; None if nothing is left."""

    @abstractmethod
    def _rows(self, application: str, join_keys: Sequence[str]) -> dict[str, Row]:
        """As `Sink.get`."""

    @abstractmethod
    def _erase(self, application: str, join_keys: Sequence[str]) -> int:
        """As `Sink.erase`; there is one key at least."""

    def _pages(self, application: str | None) -> Iterator[list[Record]]:
        """As `Sink.records`."""
        raise SinkUnavailable("this sink keeps nothing that could be read")

    def _whole(self, application: str) -> Iterator[list[Record]]:
        """As `Sink.whole_records`."""
        raise SinkUnavailable("this sink keeps nothing that could be read")

    def _whole_rows(self, application: str) -> Iterator[list[Row]]:
        """As `Sink.rows`."""
        raise SinkUnavailable("this sink keeps nothing that could be read")

    def _sample(self, application: str) -> Iterator[list[Row]]:
        """As `Sink.sample`."""
        raise SinkUnavailable("this sink keeps nothing that could be read")

    def _standing(self, name: str) -> Standing | None:
        """As `Sink.standing`."""
        return None

    def _run_sql(self, statements: Sequence[str]) -> None:
        """As `Sink.run_sql`."""
        raise SinkUnavailable("this sink keeps no views")

    def _refold(self, application: str, dry_run: bool) -> Refolded:
        """As `Sink.refold`."""
        return Refolded()

    def _ask(self, question: str) -> list[tuple[Any, ...]]:
        """As `ask`."""
        raise SinkUnavailable("this sink answers no questions")

    def _stop(self) -> None:  # noqa: B027 - a driver over HTTP has no way to
        """Stop the statement of `_ask` that runs on the sink's thread; called from another one."""

    def _try_rights(self) -> None:  # noqa: B027 - a lake has no way to undo
        """As `Sink.try_rights`."""

    @abstractmethod
    def _translated(self, work: Callable[[], T]) -> T:
        """Run the work; the driver's errors become SinkUnavailable or SinkRefused."""

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

    async def close_matured(self, application: str) -> int:
        closed = 0
        while (number := await self._run(partial(self._close_matured, application))) is not None:
            closed += number
        return closed

    async def erase(self, application: str, join_keys: Sequence[str]) -> int:
        return await self._run(partial(self._erase, application, join_keys)) if join_keys else 0

    async def get(self, application: str, join_keys: Sequence[str]) -> dict[str, Row]:
        return await self._run(partial(self._rows, application, join_keys)) if join_keys else {}

    def records(self, application: str | None = None) -> AsyncIterator[list[Record]]:
        return self._each(partial(self._pages, application))

    def whole_records(self, application: str) -> AsyncIterator[list[Record]]:
        return self._each(partial(self._whole, application))

    def rows(self, application: str) -> AsyncIterator[list[Row]]:
        return self._each(partial(self._whole_rows, application))

    def sample(self, application: str) -> AsyncIterator[list[Row]]:
        return self._each(partial(self._sample, application))

    async def standing(self, name: str) -> Standing | None:
        return await self._run(partial(self._standing, name))

    async def run_sql(self, statements: Sequence[str]) -> None:
        await self._run(partial(self._run_sql, statements))

    async def _each(self, begin: Callable[[], Iterator[T]]) -> AsyncIterator[T]:
        pages = begin()
        while (page := await self._run(partial(next, pages, None))) is not None:
            yield page

    async def refold(self, application: str, *, dry_run: bool = False) -> Refolded:
        return await self._run(partial(self._refold, application, dry_run))

    async def try_rights(self) -> None:
        await self._run(self._try_rights)

    async def ask(self, question: str) -> list[tuple[Any, ...]]:
        """Return the rows of one SELECT; enter the sink as `read_only` for it. Raises SinkUnavailable.

        Nobody waits for the answer to one that is cancelled, so the statement is stopped where the engine can.
        """
        try:
            return await self._run(partial(self._ask, question))
        except asyncio.CancelledError:
            # Elsewhere: it may ask the server, and this is the event loop.
            asyncio.get_running_loop().run_in_executor(None, self._stop)
            raise

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._translated, work)
