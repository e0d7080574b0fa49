"""Where questions are asked: a sink by its own driver, read-only; a lake by DuckDB, which folds it once per report."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol, Self

from joinback.errors import ConfigurationError
from joinback.settings import Settings
from joinback_worker.errors import SinkMissing, SinkUnavailable
from joinback_worker.law.rules import Policy
from joinback_worker.sinks import lake_view, open_sink
from joinback_worker.sinks.on_thread import SinkOnThread
from joinback_worker.sinks.place import absolute, path_of
from joinback_worker.sinks.schemes import SCHEMES

from .dialect import Dialect
from .engines import ClickHouse, DuckDB, PostgreSQL, SQLite

TIMEOUT_S = 600
"""Time-out of a question to PostgreSQL, unless its URL sets one: enough for ten million rows on a busy disk."""
DIALECTS: dict[str, Callable[[], Dialect]] = {"sqlite": SQLite, "postgres": PostgreSQL, "clickhouse": ClickHouse}
_LAKES = frozenset({"delta", "parquet", "jsonl"})
_LAKE_COLUMNS = (
    "status, version, sample_rate, predicted_at, logged_at, clock_skew, outputs, feedback, field_times,"
    " first_feedback_at, feedback_delay_s"
)


class CannotAnswer(ConfigurationError):
    """The sink answers no questions as it is set up. The message names the fix."""


class Store(Protocol):
    """Answers SQL in its dialect. Enter it first."""

    dialect: Dialect

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def ask(self, question: str) -> list[tuple[Any, ...]]:
        """Return the rows of one SELECT. Raises SinkUnavailable."""


def open_store(settings: Settings, application: str) -> Store:
    """Return the store that answers questions about this application.

    Raises CannotAnswer, a ConfigurationError, for a sink that keeps no rows or speaks no SQL, and on entering a lake
    where DuckDB is not installed.
    """
    url = absolute(settings.sink_url)
    module = SCHEMES.get(url.partition(":")[0], "")
    if module == "stdout":
        raise CannotAnswer("JOINBACK_SINK_URL is stdout:, which keeps no rows that could answer")
    if module == "postgres" and "timeout_s=" not in url:
        url += f"{'&' if '?' in url else '?'}timeout_s={TIMEOUT_S}"
    sink = open_sink(url, Policy(), read_only=True)
    if module in DIALECTS:
        assert isinstance(sink, SinkOnThread)
        return _Sink(sink, DIALECTS[module]())
    if module not in _LAKES:
        raise CannotAnswer(
            f"a sink at {url.partition(':')[0]}: cannot answer questions;"
            " joinback sink copy puts its rows into one that can, such as sqlite:////var/lib/joinback.db"
        )
    return _Lake(url, settings, application)


class _Sink:
    def __init__(self, sink: SinkOnThread, dialect: Dialect) -> None:
        self._sink = sink
        self.dialect = dialect

    async def __aenter__(self) -> Self:
        await self._sink.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._sink.__aexit__(kind, error, trace)

    async def ask(self, question: str) -> list[tuple[Any, ...]]:
        return await self._sink.ask(question)


class _Lake:
    """A DuckDB in memory, in which the rows of this application become a table."""

    def __init__(self, url: str, settings: Settings, application: str) -> None:
        self.dialect: Dialect = DuckDB()
        self.dialect.source, self.dialect.every = "folded", "events"
        self._url, self._settings, self._application = url, settings, application
        self._database: Any = None
        self._errors: tuple[type[Exception], ...] = (OSError,)
        """What `_translated` translates. DuckDB's own errors come once it is imported."""

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._translated, self._open)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._database is not None:
            self._database.close()

    async def ask(self, question: str) -> list[tuple[Any, ...]]:
        asked = asyncio.ensure_future(asyncio.to_thread(self._translated, self._answer, question))
        try:
            return await asyncio.shield(asked)
        except asyncio.CancelledError:
            # Nobody needs the answer any more. A busy connection cannot be closed, so wait for its thread. Interrupt it
            # repeatedly: a query that has not begun yet cannot be interrupted.
            while not asked.done():
                self._database.interrupt()
                await asyncio.wait({asked}, timeout=0.05)
            asked.exception()
            raise

    def _answer(self, question: str) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = self._database.execute(question).fetchall()
        return rows

    def _open(self) -> None:
        try:
            import duckdb
        except ModuleNotFoundError:
            raise CannotAnswer(
                "answers from a lake need DuckDB; in Joinback's clone: pip install '.[report]'"
            ) from None
        self._errors = (duckdb.Error, OSError)
        self._database = duckdb.connect()
        self._database.execute("SET TimeZone = 'UTC'")
        view = lake_view.view(self._source(), self._settings).replace("OR REPLACE VIEW", "OR REPLACE TEMP VIEW")
        self._database.execute(view)
        self._database.execute(
            f"CREATE TEMP TABLE folded AS SELECT application, {_LAKE_COLUMNS} FROM records"  # noqa: S608
            f" WHERE application = {self.dialect.text(self._application)}"
        )

    def _source(self) -> str:
        scheme = self._url.partition(":")[0]
        directory = path_of(self._url)
        if scheme.startswith("delta"):
            return self._delta()
        assert directory is not None
        if not any(directory.glob(f"*.{scheme}")):
            raise SinkMissing(f"the sink {directory} does not exist yet")
        return lake_view.parquet_source(directory) if scheme == "parquet" else lake_view.jsonl_source(directory)

    def _delta(self) -> str:
        """Register the table by the sink's own driver, and return its name: DuckDB's delta extension is a download."""
        from deltalake import DeltaTable
        from deltalake.exceptions import TableNotFoundError

        from joinback_worker.sinks.delta import location_of

        location, options = location_of(self._url)
        try:
            table = DeltaTable(location, storage_options=options)
        except TableNotFoundError as error:
            raise SinkMissing(f"the sink {location} does not exist yet") from error
        self._database.register("lake", table.to_pyarrow_dataset())
        return "lake"

    def _translated(self, work: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return work(*arguments)
        except self._errors as error:
            why = f"cannot be read now ({type(error).__name__}); see joinback doctor"
            raise SinkUnavailable(f"the sink {path_of(self._url) or 'in the object store'} {why}") from error
