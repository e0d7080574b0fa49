"""A sink with a blocking driver: all its work runs on one thread of its own, not on the event loop."""

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
"""Of predictions, and as many of labels: enough to find a field that one row in a thousand has."""
SAMPLE_BATCH = 500
"""Rows read at a time: half a gigabyte of memory if each has the largest event (1 MiB), half a megabyte at 1 KB."""

T = TypeVar("T")


class SinkOnThread(ABC):
    """Implements `Sink` by blocking methods, which a store fills in. See `Sink` for what they must keep.

    The methods that begin with `_` are the store's. They run on the sink's one thread, one after the other, so they
    need no lock among themselves; `_stop` is the exception. Each call of them goes through `_translated`, so they may
    raise the driver's own errors. A generator among them (`_pages` and the like) runs there too, page by page, and
    other calls may come between two pages. If the caller is cancelled, the work that runs still goes on to its end.

    A store must fill in the abstract methods. The others have a default, which says what the sink cannot do.
    """

    looks_up: ClassVar[bool] = True
    refolds: ClassVar[bool] = False
    erases: ClassVar[bool] = True
    emits_joined: ClassVar[bool] = True
    read_only = False
    migrates = True

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        # One thread: some drivers bind a connection to the thread that made it, and a drain merges one batch at a time.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="joinback-sink")

    @abstractmethod
    def _open(self) -> None:
        """Connect, and create or check the schema; see `Sink.read_only` and `Sink.migrates`."""

    @abstractmethod
    def _close(self) -> None:
        """Close the connection. Not called if `_open` raised: it must close what it had opened."""

    @abstractmethod
    def _merge(self, records: Sequence[Record]) -> Merged:
        """As `Sink.merge`, with at least one record."""

    @abstractmethod
    def _close_matured(self, application: str) -> int | None:
        """Write some of the rows that matured, and return how many changed; None if no row is left.

        It is called until it returns None. Other calls may come in between.
        """

    @abstractmethod
    def _rows(self, application: str, join_keys: Sequence[str]) -> dict[str, Row]:
        """As `Sink.get`, with at least one key."""

    @abstractmethod
    def _erase(self, application: str, join_keys: Sequence[str]) -> int:
        """As `Sink.erase`, with at least one key."""

    def _pages(self, application: str | None) -> Iterator[list[Record]]:
        """As `Sink.records`."""
        raise SinkUnavailable("rows cannot be read from this sink")

    def _whole(self, application: str) -> Iterator[list[Record]]:
        """As `Sink.whole_records`."""
        raise SinkUnavailable("rows cannot be read from this sink")

    def _whole_rows(self, application: str) -> Iterator[list[Row]]:
        """As `Sink.rows`."""
        raise SinkUnavailable("rows cannot be read from this sink")

    def _sample(self, application: str) -> Iterator[list[Row]]:
        """As `Sink.sample`."""
        raise SinkUnavailable("rows cannot be read from this sink")

    def _standing(self, name: str) -> Standing | None:
        """As `Sink.standing`."""
        return None

    def _run_sql(self, statements: Sequence[str]) -> None:
        """As `Sink.run_sql`."""
        raise SinkUnavailable("this sink has no views")

    def _refold(self, application: str, dry_run: bool) -> Refolded:
        """As `Sink.refold`."""
        return Refolded()

    def _ask(self, question: str) -> list[tuple[Any, ...]]:
        """As `ask`."""
        raise SinkUnavailable("this sink does not answer SQL questions")

    def _stop(self) -> None:  # noqa: B027 - a driver over HTTP cannot
        """Stop the statement of `_ask` that runs on the sink's thread. Another thread calls this."""

    def _try_rights(self) -> None:  # noqa: B027 - a lake cannot undo
        """As `Sink.try_rights`."""

    @abstractmethod
    def _translated(self, work: Callable[[], T]) -> T:
        """Run the work and return what it returns; turn the driver's errors into SinkUnavailable or SinkRefused."""

    # --- the methods of `Sink` --------------------------------------------------------------------------

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
        """Return the rows of one SELECT. Enter the sink as `read_only` for it. Raises SinkUnavailable.

        If the caller is cancelled, nobody waits for the answer any more, so the engine stops the statement if it can.
        """
        try:
            return await self._run(partial(self._ask, question))
        except asyncio.CancelledError:
            # On another thread: the driver may have to ask the server, which would block the event loop.
            asyncio.get_running_loop().run_in_executor(None, self._stop)
            raise

    async def _run(self, work: Callable[[], T]) -> T:
        """Run the work on the sink's thread, and return what it returns."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._translated, work)
