"""What a page asks of the stores, bounded: some questions at a time, each for so long, the same one only once.

A refresh that overlaps the one before waits for its answer instead of asking again, so that viewers add nothing to
the load, and an answer is forgotten as soon as it is given: no page is older than its request, and the process holds
nothing between two of them. A question past its time is cancelled, and keeps its place until the statement that runs
has ended, so that impatience cannot pile them up.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from joinback.errors import JoinbackError

AT_ONCE = 4
"""Questions; each holds a connection, and on SQLite a thread."""
WAITING_MAX = 32
"""Beyond these a page says so at once, instead of later."""
TIMEOUT_S = 30.0
"""Of one answer: longer than people wait, shorter than a proxy's minute."""


class TooLong(JoinbackError):
    """The answer took too long."""

    def __init__(self, timeout_s: float) -> None:
        super().__init__(
            f"no answer within {timeout_s:g} s, so the question was given up; ask for less (since=…), or take"
            " `joinback report`, which waits"
        )


class TooMany(JoinbackError):
    """Too many questions are under way; try again in some seconds."""


class Bounded:
    """Asks for all pages of one server."""

    def __init__(self, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._places = asyncio.Semaphore(AT_ONCE)
        self._under_way: dict[str, asyncio.Task[Any]] = {}

    async def ask(self, question: str, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Return what the work does; a question of the same name that is under way is waited for instead.

        Raises TooLong, TooMany, and what the work raises.
        """
        task = self._under_way.get(question)
        if task is None:
            if len(self._under_way) >= WAITING_MAX:
                raise TooMany
            task = self._under_way[question] = asyncio.create_task(self._answer(work))
            task.add_done_callback(lambda done: self._forget(question, done))
        # Shielded: one who waits and leaves must not take the answer from the others.
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
            done.exception()  # Whoever waited has it; nobody may have.
