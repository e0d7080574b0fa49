"""One connection to PostgreSQL, whose statements always end: by the server's limit, or by a hang-up if it is silent.

Each transaction sets what it needs inside itself, so a pooler such as PgBouncer may stand in between.
"""

import math
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import psycopg
from psycopg.types.json import set_json_loads

from joinback_worker.errors import SinkRefused, SinkUnavailable

from .postgres_errors import connection_failed, translated

CONNECT_TIMEOUT_S = 5
"""For each host of the URL: longer than any round trip and handshake. `connect_timeout` in the URL overrides it."""
GRACE_S = 2.0
"""A busy server ends a statement itself at its time limit. If it is silent for this much longer, we hang up."""

_SETTINGS = b"""
SELECT
    set_config('statement_timeout', %(timeout_ms)s::text, true),
    set_config('lock_timeout', (%(timeout_ms)s / 2)::text, true),
    -- The locks of a worker that vanished end after this time.
    set_config('idle_in_transaction_session_timeout', (%(timeout_ms)s * 2)::text, true),
    -- When a merge returns, its rows are durable, whatever this role's default is.
    set_config('synchronous_commit', coalesce(nullif(current_setting('synchronous_commit'), 'off'), 'on'), true),
    set_config('TimeZone', 'UTC', true),
    -- Leaves out notices such as "already exists, skipping".
    set_config('client_min_messages', 'warning', true)
"""

T = TypeVar("T")


class Session:
    """Belongs to one thread. Only `seconds_left`, `hang_up_if_late` and `stop` may be called from another one."""

    def __init__(self, parameters: Mapping[str, Any], timeout_s: float) -> None:
        self._parameters = {"connect_timeout": CONNECT_TIMEOUT_S, "application_name": "joinback", **parameters}
        self._timeout_s = timeout_s
        self._connection: psycopg.Connection[Any] | None = None
        self._answer_by = math.inf
        """By when the server must have answered, on the monotonic clock; infinity while it need not answer."""

    @property
    def where(self) -> str:
        """Host, port and database for messages, without user and password."""
        known = self._parameters
        host = known.get("host") or known.get("hostaddr") or "localhost"
        return f"{host}:{known.get('port', 5432)}/{known.get('dbname', '')}"

    @property
    def is_lost(self) -> bool:
        return self._connection is not None and self._connection.closed

    @property
    def in_transaction(self) -> bool:
        return self._open.info.transaction_status != psycopg.pq.TransactionStatus.IDLE

    def open(self) -> None:
        """Connect, or connect again. Raises SinkUnavailable."""
        self.close()
        try:
            # No prepared statements: they belong to a session, and a pooler may give each transaction another one.
            connection: psycopg.Connection[Any] = psycopg.connect(
                **self._parameters, client_encoding="UTF8", autocommit=True, prepare_threshold=None
            )
        except psycopg.Error as error:
            raise connection_failed(error, self.where) from error
        self._connection = connection
        # Whatever the database's default is: after waiting for the lock of a row, read the row as it is then.
        connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
        set_json_loads(_as_it_is, connection)
        encoding = connection.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            raise SinkUnavailable(f"sink {self.where}: its encoding is {encoding}; create it with encoding 'UTF8'")

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Run a transaction: read committed, durable when it ends, with limits on each statement, lock and pause."""
        self._answer_from_now()
        with self._open.transaction():
            self._open.execute(_SETTINGS, {"timeout_ms": round(self._timeout_s * 1_000)})
            yield
            self._answer_from_now()

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Begin a savepoint of the transaction: if the block fails, only the block is undone."""
        with self._open.transaction():
            yield

    def execute(self, query: str, parameters: Any = None) -> psycopg.Cursor[Any]:
        self._answer_from_now()
        return self._open.cursor(binary=True).execute(query.encode(), parameters)

    def copy(self, statement: str, types: list[str], rows: Iterable[list[Any]]) -> int:
        """Stream rows into a table, and return how many. The server stores rows while the next ones are made."""
        number = 0
        self._answer_from_now()
        with self._open.cursor().copy(statement.encode()) as copy:
            copy.set_types(types)
            for number, row in enumerate(rows, 1):  # noqa: B007 - the last number is the count
                copy.write_row(row)
        return number

    def translated(self, work: Callable[[], T]) -> T:
        """Run the work and return what it returns; turn PostgreSQL's errors into ours, by SQLSTATE.

        Raises SinkUnavailable, SinkRefused.
        """
        try:
            return work()
        except psycopg.Error as error:
            if self.seconds_left() <= 0:
                waited_s = self._timeout_s + GRACE_S
                raise SinkUnavailable(
                    f"sink {self.where}: no answer within {waited_s:g} s; see why it hangs"
                ) from error
            raise translated(error, self.where) from error
        # Values that the driver cannot send: text that is not UTF-8, JSON nested deeper than the stack.
        except (UnicodeError, RecursionError) as error:
            raise SinkRefused(f"PostgreSQL cannot hold the rows: {type(error).__name__}") from error
        finally:
            self._answer_by = math.inf

    def seconds_left(self) -> float:
        """Return the seconds until the server must have answered; infinity while it need not."""
        return self._answer_by - time.monotonic()

    def hang_up_if_late(self) -> None:
        """Shut down the connection if the server has not answered in time.

        A server that has vanished does not enforce its own limits either. The thread that waits gets an error.
        """
        if self.seconds_left() > 0 or self._connection is None:
            return
        with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(self._connection.fileno())) as ours:
            ours.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        """Ask the server to stop the statement that runs, if there is one. Another thread calls this."""
        with suppress(psycopg.Error):
            self._open.cancel_safe(timeout=CONNECT_TIMEOUT_S)

    @property
    def _open(self) -> psycopg.Connection[Any]:
        assert self._connection is not None, "enter the sink first: async with open_sink(...)"
        return self._connection

    def _answer_from_now(self) -> None:
        self._answer_by = time.monotonic() + self._timeout_s + GRACE_S


def _as_it_is(text: str | bytes) -> str | bytes:
    return text
