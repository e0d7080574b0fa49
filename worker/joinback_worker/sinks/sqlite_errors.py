"""SQLite's errors as ours: retryable or not, by class and result code, never by their text."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from joinback_worker.errors import AlteredRow, SinkRefused, SinkUnavailable

T = TypeVar("T")


def translated(path: Path, work: Callable[[], T]) -> T:
    """Run the work on this file and return what it returns.

    Raises SinkUnavailable, which says what to repair, and SinkRefused for rows that SQLite cannot hold.
    """
    try:
        return work()
    except (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError) as error:
        raise SinkRefused(f"SQLite refused the rows: {error.sqlite_errorname}") from error
    # Values that Python's driver cannot pass to SQLite: text that is not UTF-8, an integer beyond 64 bits.
    except (UnicodeError, OverflowError, sqlite3.ProgrammingError) as error:
        raise SinkRefused(f"SQLite cannot hold the rows: {type(error).__name__}") from error
    except sqlite3.Error as error:
        if isinstance(error, sqlite3.OperationalError) and not hasattr(error, "sqlite_errorname"):
            # This is not SQLite's error: Python's driver could not decode a cell.
            raise AlteredRow("of type TEXT", "is not UTF-8") from error
        name = getattr(error, "sqlite_errorname", type(error).__name__)
        raise SinkUnavailable(f"sink file {path} {_advice(name)} ({name})") from error


def _advice(error_name: str) -> str:
    """Return what to do, by the name of SQLite's extended result code, which begins with that of the primary one."""
    advice = {
        "SQLITE_BUSY": "is locked by another process; end its transaction",
        "SQLITE_LOCKED": "is locked by another connection; end its transaction",
        "SQLITE_READONLY": "is read-only; give the worker write access to the file and its directory",
        "SQLITE_CANTOPEN": "cannot be opened; check that its directory exists and is writable",
        "SQLITE_FULL": "has no room: the disk is full; make room",
        "SQLITE_IOERR": "cannot be read or written: the disk does not answer; check it",
        "SQLITE_NOTADB": "is not an SQLite database; point JOINBACK_SINK_URL elsewhere",
        "SQLITE_CORRUPT": "is damaged; restore it or point JOINBACK_SINK_URL elsewhere",
        "SQLITE_ERROR": "has a table `records` that is not as the worker made it; restore it, or move the file aside",
    }
    return advice.get(error_name) or advice.get("_".join(error_name.split("_")[:2]), "cannot be used now")
