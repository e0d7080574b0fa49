"""The questions that pages ask the stores, bounded: few at a time, each with a time limit, and equal ones only once.

A question that is already under way is not asked again: whoever asks it waits for the same answer. So more viewers add
no load. An answer is forgotten as soon as it is given, so no page is older than its request. A question past its time
limit is cancelled, and keeps its place until its running statement has ended, so such statements cannot pile up.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from joinback.errors import JoinbackError

AT_ONCE = 4
"""Questions at a time. Each holds a connection, and on SQLite a thread."""
WAITING_MAX = 32
"""Questions that may wait. With more, a page is refused at once."""
TIMEOUT_S = 30.0
"""Time limit of an answer: longer than people wait, shorter than the minute of most proxies."""


class TooLong(JoinbackError):
    """The answer took too long."""

    def __init__(self, timeout_s: float) -> None:
        super().__init__(
            f"no answer within {timeout_s:g} s, so the question was cancelled; ask for less (since=…), or use"
            " `joinback report`, which has no time limit"
        )


class TooMany(JoinbackError):
    """Too many questions are under way; try again in some seconds."""


class Bounded:
    """The bounded questions of all pages of one server."""

    def __init__(self, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._places = asyncio.Semaphore(AT_ONCE)
        self._under_way: dict[str, asyncio.Task[Any]] = {}

    async def ask(self, question: str, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Return what the work returns. If the same question is under way, wait for its answer instead.

        Raises TooLong, TooMany, and what the work raises.
        """
        task = self._under_way.get(question)
        if task is None:
            if len(self._under_way) >= WAITING_MAX:
                raise TooMany
            task = self._under_way[question] = asyncio.create_task(self._answer(work))
            task.add_done_callback(lambda done: self._forget(question, done))
        # Shielded: a viewer who leaves must not cancel the answer for the others.
        return await asyncio.shield(task)

    async def _answer(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        async with asyncio.timeout(self._timeout_s) as limit:
            try:
                async with self._places:
                    return await work()
            except asyncio.CancelledError:
                if limit.expired():
                    raise TooLong(self._timeout_s) from None
                raise

    def _forget(self, question: str, done: asyncio.Task[Any]) -> None:
        self._under_way.pop(question, None)
        if not done.cancelled():
            done.exception()  # Whoever waited got the exception. Without a waiter, asyncio would log it.
