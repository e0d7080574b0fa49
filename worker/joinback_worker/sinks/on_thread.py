"""A sink whose driver blocks: all its work runs on one thread of its own, off the event loop."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import ClassVar, Self, TypeVar

from joinback_worker.errors import SinkUnavailable
from joinback_worker.fold import Record
from joinback_worker.row import Row
from joinback_worker.rules import Policy

from . import Merged

T = TypeVar("T")


class SinkOnThread(ABC):
    """See `Sink` for the promise. The methods below are what a sink fills in; they run on the sink's thread."""

    looks_up: ClassVar[bool] = True
    refolds: ClassVar[bool] = False
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

    def _pages(self, application: str | None) -> Iterator[list[Record]]:
        """As `Sink.records`."""
        raise SinkUnavailable("this sink keeps nothing that could be read")

    def _refold(self, application: str) -> int:
        """As `Sink.refold`."""
        return 0

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

    async def get(self, application: str, join_keys: Sequence[str]) -> dict[str, Row]:
        return await self._run(partial(self._rows, application, join_keys)) if join_keys else {}

    async def records(self, application: str | None = None) -> AsyncIterator[list[Record]]:
        pages = self._pages(application)
        while (page := await self._run(partial(next, pages, None))) is not None:
            yield page

    async def refold(self, application: str) -> int:
        return await self._run(partial(self._refold, application))

    async def try_rights(self) -> None:
        await self._run(self._try_rights)

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._translated, work)
