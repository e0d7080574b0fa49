"""The rows of a query, over any SQLAlchemy URL. The query runs once, and its rows stay in a temporary file to the end.

So the second reading sees the rows that the first one surveyed, and a warehouse is asked and paid once.
"""

import pickle
import tempfile
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

import sqlalchemy
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from joinback.errors import JoinbackError
from joinback.urls import shown_url

from .lines import BATCH_LINES, Line, one_line

_DRIVERS = {"postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}
"""Scheme without a driver -> with the driver of Joinback's own sink. SQLAlchemy would take one that few have."""


class SqlQuery:
    """See `Source`. Cells have the types that the database gives them."""

    is_typed = True

    def __init__(self, url: str, query: str) -> None:
        self.name = shown_url(url)
        self._spool = tempfile.TemporaryFile(prefix="joinback-import-")  # noqa: SIM115 - closed by close()
        self._columns: list[str] = []
        try:
            self._run(url, query)
        except BaseException:
            self.close()
            raise

    def columns(self) -> Sequence[str]:
        return self._columns

    def doubts(self) -> Sequence[str]:
        return ()

    def close(self) -> None:
        self._spool.close()

    def batches(self, wanted: Sequence[str]) -> Iterator[list[Line]]:
        places = [self._columns.index(name) for name in wanted]
        rows = count(1)
        self._spool.seek(0)
        while batch := self._next():
            yield [Line(next(rows), [cells[place] for place in places]) for cells in batch]

    def _next(self) -> list[tuple[Any, ...]]:
        try:
            # Safe to unpickle: the file has no name, so nobody else can write it.
            batch: list[tuple[Any, ...]] = pickle.load(self._spool)  # noqa: S301
        except EOFError:
            return []
        return batch

    def _run(self, url: str, query: str) -> None:
        try:
            place = make_url(url)
            place = place.set(drivername=_DRIVERS.get(place.drivername, place.drivername))
            engine = sqlalchemy.create_engine(place)
        except ArgumentError:
            raise JoinbackError("with --sql, SOURCE is an SQLAlchemy URL or the variable that holds it") from None
        except (NoSuchModuleError, ModuleNotFoundError) as error:
            what = one_line(error)
            raise JoinbackError(f"{self.name} needs its driver for SQLAlchemy: {what}; pip install it") from None
        try:
            with engine.connect() as connection:
                # Run it as it is written: colons and percent signs are not parameters. If the server can, it sends rows
                # as they are read.
                options = {"stream_results": True, "max_row_buffer": BATCH_LINES, "no_parameters": True}
                result = connection.exec_driver_sql(query, execution_options=options)
                if not result.returns_rows:
                    raise JoinbackError("--sql must be a query that returns rows, such as: select id, repaid from …")
                self._columns = list(result.keys())
                for rows in result.partitions(BATCH_LINES):
                    pickle.dump([tuple(row) for row in rows], self._spool, protocol=pickle.HIGHEST_PROTOCOL)
        except SQLAlchemyError as error:
            cause = getattr(error, "orig", None) or error
            raise JoinbackError(f"{self.name} does not answer the query: {one_line(cause)}") from None
        except OSError as error:
            raise JoinbackError(
                f"the rows of the query do not fit into {tempfile.gettempdir()}: {error}; make room, or set TMPDIR"
            ) from None
        finally:
            engine.dispose()
