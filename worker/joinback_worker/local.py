"""The worker's half of `joinback.testing.local`: a Redis in this process's memory, a table, a drain by call."""

import asyncio
import logging
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import redis
import structlog
from fakeredis import TcpFakeServer

from joinback.errors import ConfigurationError, JoinbackError
from joinback.settings import Settings

from .drained import Drained
from .drains import drain_all
from .sinks.merge_on_write import COLUMNS, JSON, TIMES


class Local:
    """A worker that drains when it is told to, and what a test may look at."""

    def __init__(self, settings: Settings, buffer: redis.Redis, flush: Callable[[], bool]) -> None:
        self.settings = settings
        self._flush = flush
        self._rows: list[dict[str, Any]] = []
        self.redis = buffer
        """A connection to the buffer, to look at keys or to break something."""
        self._path = Path(settings.sink_url.removeprefix("sqlite:///"))

    @property
    def redis_url(self) -> str:
        return self.settings.redis_url

    def drain(self) -> Drained:
        """Deliver what was logged, and join it, as a worker does at each tick. Return its counts.

        Raises JoinbackError where the log of a worker would tell why it failed.
        """
        if not self._flush():
            raise JoinbackError("what was logged could not be delivered; see the log, and stats() of the client")
        drained: list[Drained] = []
        # In a thread: a test may have a loop of its own.
        thread = threading.Thread(target=lambda: drained.append(asyncio.run(drain_all(self.settings))))
        thread.start()
        thread.join()
        if not drained or drained[0].error is not None:
            raise JoinbackError(drained[0].error if drained else "the drain failed; its traceback is on stderr")
        return drained[0]

    def rows(self, application: str | None = None) -> list[dict[str, Any]]:
        """Return the joined rows, of one application or of all, by application and join key.

        Keys are the columns of README; JSON is decoded, times are datetimes in UTC.
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
    """Run a Redis and offer a worker for the length of the `with` block. `settings` are fields of Settings.

    `flush` delivers what was logged, and says whether it could. Raises ConfigurationError for a wrong setting.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="joinback-local-"))
        port = stack.enter_context(_fake_redis())
        own = {"redis_url": f"redis://127.0.0.1:{port}/0", "sink_url": f"sqlite:///{folder}/joinback.db"}
        try:
            chosen = msgspec.convert(own | dict(settings), Settings)
        except msgspec.ValidationError as error:
            raise ConfigurationError(f"joinback.testing.local: {error}") from None
        stack.enter_context(_quiet())
        buffer = stack.enter_context(redis.Redis(port=port))
        local = Local(chosen, buffer, flush)
        try:
            yield local
        finally:
            # To be looked at after the block too.
            local.rows()


@contextmanager
def _fake_redis() -> Iterator[int]:
    server = TcpFakeServer(("127.0.0.1", 0), server_type="valkey")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def _quiet() -> Iterator[None]:
    """A drain's lines are for an operator; where the host has set up structlog itself, they are its own."""
    if structlog.is_configured():
        yield
        return
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    try:
        yield
    finally:
        structlog.reset_defaults()
