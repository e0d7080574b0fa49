"""ClickHouse's errors as ours: retryable or not, by ClickHouse's ErrorCodes."""

import logging
from collections.abc import Callable
from typing import TypeVar

from clickhouse_connect.driver.exceptions import DataError, Error

from joinback_worker.errors import SinkRefused, SinkUnavailable

_REFUSED = frozenset(
    {
        131,  # TOO_LARGE_STRING_SIZE
        321,  # VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE
        469,  # VIOLATED_CONSTRAINT: one that somebody added
    }
)
"""What these very rows cause, by ClickHouse's ErrorCodes. Not what an altered table causes: no row would do then."""
_ADVICE: dict[int | None, str] = {
    None: "does not answer; check that it runs and that JOINBACK_SINK_URL points at it",
    60: "a table of the sink is gone; put it back, or delete the rows of joinback_migrations",
    81: "the database does not exist; CREATE DATABASE, or name another in JOINBACK_SINK_URL",
    159: "took too long; see what else it does",
    164: "is read-only for this user; grant INSERT",
    192: "does not know this user; check JOINBACK_SINK_URL",
    194: "refused the login; check JOINBACK_SINK_URL",
    241: "is out of memory; give it more",
    242: "the table is read-only; check its replicas",
    243: "the disk is full; make room",
    252: "has too many parts; let it merge",
    497: "this user lacks a right; see joinback sink schema",
    516: "refused the login; check JOINBACK_SINK_URL",
}

# It logs each failed request with a traceback; we say what failed in one line of our own.
logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)
# And below it each connection that was refused.
logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)

T = TypeVar("T")


def translated(name: str, work: Callable[[], T]) -> T:
    """Return what `work` does on the sink of this name. Raises SinkRefused or SinkUnavailable."""
    try:
        return work()
    except (DataError, UnicodeError, OverflowError) as error:
        raise SinkRefused(f"ClickHouse cannot hold the rows: {type(error).__name__}") from error
    except Error as error:
        if error.code in _REFUSED:
            raise SinkRefused(f"ClickHouse refused the rows: {error.name}") from error
        raise SinkUnavailable(f"{name}: {_advice(error.code)} ({error.name or 'no answer'})") from error
    # The driver lets some of urllib3's and chDB's own errors through.
    except (OSError, RuntimeError) as error:
        raise SinkUnavailable(f"{name}: {_advice(None)} ({type(error).__name__})") from error


def _advice(code: int | None) -> str:
    return _ADVICE.get(code, "cannot take rows now")
