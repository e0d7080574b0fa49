"""The worker's half of `joinback.testing.local`: a Redis in this process's memory, a table, a drain by call."""

import asyncio
import logging
import sqlite3
import tempfile
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import redis
import structlog

from joinback import memory, wire
from joinback.errors import ConfigurationError, JoinbackError
from joinback.redis_url import redis_url
from joinback.settings import Settings

from .connection.connect import connect
from .drain.drained import Drained
from .drain.drainer import drain_all
from .notes.guard import adopt
from .sinks.row_columns import COLUMNS, JSON, TIMES

T = TypeVar("T")

_numbers = count(1)


class Local:
    """A worker that drains when a test calls `drain`, and what the test may look at."""

    def __init__(self, settings: Settings, buffer: redis.Redis, flush: Callable[[], bool]) -> None:
        self.settings = settings
        self._flush = flush
        self._rows: list[dict[str, Any]] = []
        self.redis = buffer
        """A connection to the buffer: a test may look at keys there, or break something."""
        self._path = Path(settings.sink_url.removeprefix("sqlite:///"))

    @property
    def redis_url(self) -> str:
        """The URL of the buffer, for a client."""
        return self.settings.redis_url

    def drain(self) -> Drained:
        """Deliver what was logged and join it, as a worker does at each tick. Return the counts of the drain.

        Raises JoinbackError if delivery or the drain fails; the message is what a worker would log.
        """
        if not self._flush():
            raise JoinbackError("what was logged could not be delivered; see the log, and stats() of the client")
        drained = _run(drain_all(self.settings))
        if drained.error is not None:
            raise JoinbackError(drained.error)
        return drained

    def dead(self, application: str) -> list[dict[str, str]]:
        """Return the dead letters of an application, oldest first: `key`, `event`, `reason`, `detail`, `bytes`."""
        letters: Any = self.redis.xrange(wire.dead_key(wire.tag(application)))
        return [{key.decode(): value.decode(errors="replace") for key, value in cells.items()} for _, cells in letters]

    def rows(self, application: str | None = None) -> list[dict[str, Any]]:
        """Return the joined rows, of one application or of all, by application and join key.

        Keys are the columns of `records`; JSON is decoded, times are datetimes in UTC. After the `with` block, these
        are the rows as the block left them.
        """
        if self._path.exists():
            self._rows = _read(self._path)
        return [row for row in self._rows if application in (None, row["application"])]


def _read(path: Path) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(path)) as database:
        query = f"SELECT {', '.join(COLUMNS)} FROM records ORDER BY application, join_key"  # noqa: S608
        return [_decoded(dict(zip(COLUMNS, row, strict=True))) for row in database.execute(query)]


def _decoded(row: dict[str, Any]) -> dict[str, Any]:
    for name in JSON:
        if row[name] is not None:
            row[name] = msgspec.json.decode(row[name])
    for name in TIMES:
        if row[name] is not None:
            row[name] = datetime.fromisoformat(row[name])
    return row


@contextmanager
def running(settings: Mapping[str, Any], flush: Callable[[], bool]) -> Iterator[Local]:
    """Offer a worker for the length of the `with` block, with a Redis of its own if `settings` names none.

    `settings` are fields of Settings. `flush` delivers what was logged, and returns whether it could.
    Raises ConfigurationError for a wrong setting.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="joinback-local-"))
        own = {"redis_url": f"memory://local-{next(_numbers)}", "sink_url": f"sqlite:///{folder}/joinback.db"}
        try:
            chosen = msgspec.convert(own | dict(settings), Settings)
        except msgspec.ValidationError as error:
            raise ConfigurationError(f"joinback.testing.local: {error}") from None
        url = redis_url(chosen.redis_url, "redis_url")
        if url.kind != "memory":
            raise ConfigurationError(
                "joinback.testing.local takes only a redis_url that begins with memory://: others may use a server"
            )
        host, port = memory.address_of(url.service or "")
        if chosen.redis_url == own["redis_url"]:
            stack.callback(memory.forget, url.service or "")
        stack.enter_context(_quiet())
        # An earlier block on the same Redis may have published its table, which is gone.
        _run(_adopt(chosen))
        buffer = stack.enter_context(redis.Redis(host, port))
        local = Local(chosen, buffer, flush)
        try:
            yield local
        finally:
            # Keep the rows, so that a test may look at them after the block.
            local.rows()


async def _adopt(settings: Settings) -> None:
    buffer = connect(settings)
    try:
        await adopt(buffer, settings.sink_url)
    finally:
        await buffer.aclose()


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Run the coroutine in a thread, as a test may have an event loop of its own. Return what it returns."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


@contextmanager
def _quiet() -> Iterator[None]:
    """Log only errors: a drain's lines are for an operator. If the test has set up structlog, leave it alone."""
    if structlog.is_configured():
        yield
        return
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    try:
        yield
    finally:
        structlog.reset_defaults()
