"""The fastest way to load ready rows into a row store's own table: the floor of its merges."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from datetime import UTC, datetime
from typing import Any

from joinback_worker.law.record import Record
from joinback_worker.law.row import project
from joinback_worker.law.rules import Policy

Ready = Callable[[Sequence[Record]], Callable[[], None]]
"""Makes the rows of these records, and returns what loads them."""


def _rows(records: Sequence[Record]) -> list[Any]:
    return [project(record, Policy())[0] for record in records]


@contextmanager
def _sqlite(url: str) -> Iterator[Ready]:
    """INSERT in one transaction."""
    from joinback_worker.law.times import text_of
    from joinback_worker.sinks.sqlite_table import to_sql

    with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as database:
        database.execute("PRAGMA synchronous = FULL")
        names = [column[1] for column in database.execute("PRAGMA table_info(records)")]
        written = [name for name in _columns() if name in names]
        insert = f"INSERT INTO records ({', '.join(written)}) VALUES ({', '.join('?' * len(written))})"

        def ready(records: Sequence[Record]) -> Callable[[], None]:
            now = text_of(datetime.now(UTC))
            rows = [[*to_sql(row), now, 1] for row in _rows(records)]

            def load() -> None:
                database.execute("BEGIN IMMEDIATE")
                database.executemany(insert, rows)
                database.execute("COMMIT")

            return load

        yield ready


def _columns() -> list[str]:
    from joinback_worker.law.row import Row

    return [*Row.__struct_fields__, "updated_at", "row_version"]


@contextmanager
def _postgresql(url: str) -> Iterator[Ready]:
    """COPY in its binary form."""
    import psycopg

    from joinback_worker.sinks import postgres_table as table

    with psycopg.connect(url, autocommit=True) as connection:

        def ready(records: Sequence[Record]) -> Callable[[], None]:
            rows = [table.to_sql(row) for row in _rows(records)]

            def load() -> None:
                with connection.cursor().copy(table.COPY_NEW.encode()) as copy:
                    copy.set_types(table.COPY_TYPES)
                    for row in rows:
                        copy.write_row(row)

            return load

        yield ready


FLOORS: dict[str, Callable[[str], AbstractContextManager[Ready]]] = {"sqlite": _sqlite, "postgresql": _postgresql}
