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
"""ErrorCodes that these very rows cause. An altered table causes others: no row would fit then, so none is to blame."""
_ADVICE: dict[int | None, str] = {
    None: "does not answer; check that it runs and that JOINBACK_SINK_URL points at it",
    60: "a table of the sink is gone; restore it, or delete the rows of joinback_migrations",
    81: "the database does not exist; create it, or name another one in JOINBACK_SINK_URL",
    159: "took too long; see what else it is busy with",
    164: "is read-only for this user; grant INSERT",
    192: "does not know this user; check JOINBACK_SINK_URL",
    194: "refused the login; check JOINBACK_SINK_URL",
    241: "is out of memory; give it more memory",
    242: "the table is read-only; check its replicas",
    243: "the disk is full; make room",
    252: "a table has too many parts; wait until ClickHouse has merged them",
    497: "this user lacks a right; `joinback sink schema` prints the grants",
    516: "refused the login; check JOINBACK_SINK_URL",
}

# The driver logs each failed request with a traceback. Our own error names the failure in one line.
logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)
# The library below it logs each refused connection.
logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)

T = TypeVar("T")


def translated(name: str, work: Callable[[], T]) -> T:
    """Run the work on the sink of this name and return what it returns. Raises SinkRefused, SinkUnavailable."""
    try:
        return work()
    except (DataError, UnicodeError, OverflowError) as error:
        raise SinkRefused(f"ClickHouse cannot hold the rows: {type(error).__name__}") from error
    except Error as error:
        if error.code in _REFUSED:
            raise SinkRefused(f"ClickHouse refused the rows: {error.name}") from error
        raise SinkUnavailable(f"{name}: {_advice(error.code)} ({error.name or 'no answer'})") from error
    # The driver does not translate some errors of urllib3 and chDB.
    except (OSError, RuntimeError) as error:
        raise SinkUnavailable(f"{name}: {_advice(None)} ({type(error).__name__})") from error


def _advice(code: int | None) -> str:
    return _ADVICE.get(code, "cannot take rows now")
