"""PostgreSQL's errors as ours: retryable or not, by SQLSTATE and type.

Our message names the code, and the column or constraint. It never quotes the server's text, which may quote a row.
"""

import psycopg

from joinback_worker.errors import SinkRefused, SinkUnavailable, WorkerError

_REFUSED_CLASSES = {
    "22",  # data exception: a value that jsonb, numeric or UTF-8 cannot hold
    "23",  # integrity constraint: a unique index, foreign key or check that somebody added
    "54",  # program limit: nesting, row or index entry too large
}
_RAISED = "P0001"
"""RAISE EXCEPTION in a trigger that somebody made: it refuses this row."""
_NOT_NULL = "23502"
"""We fill each of our columns that must be filled. So somebody added this one, and no row of ours could fill it."""

_ALTERED = "its table `records` is not as the worker made it; the next try names the column"
_ADVICE = {
    "08": "the connection broke; the next try opens another",
    "25006": "is read-only; point JOINBACK_SINK_URL to the primary, or end its maintenance",
    "25P03": "the server ended a transaction that stood still; the next try repeats it",
    "25": "the transaction was ended; the next try repeats it",
    "28": "does not let this role in; check user and password in JOINBACK_SINK_URL",
    "3D": "has no such database; create it or correct JOINBACK_SINK_URL",
    "3F": "has no such schema; create it or correct search_path in JOINBACK_SINK_URL",
    "40": "the transaction was ended in favour of another; the next try repeats it",
    "42501": "this role lacks a right; `joinback sink schema` prints the grants",
    "42P01": "lost its table `records`; restore it",
    "42P07": "has a table `records` that is not the worker's; give the worker a schema of its own:"
    " create schema joinback, and ?options=-csearch_path%3Djoinback in JOINBACK_SINK_URL",
    "42P10": "its table `records` lost its primary key (application, join_key)",
    "42": _ALTERED,
    "53100": "the disk is full; make room",
    "53300": "has too many connections; end some or raise max_connections",
    "53": "is out of memory or another resource; see its log",
    "55P03": "the rows are locked by another session; end its transaction",
    "57014": "did not finish a statement in time, or somebody cancelled it; see what it is busy with",
    "57": "is shutting down or starting; the next try may find it ready",
    "58": "its disk or system does not answer; see its log",
    "XX": "reports damage or a bug; see its log",
}


def connection_failed(error: psycopg.Error, where: str) -> SinkUnavailable:
    """Return the error of a connection that failed. It quotes libpq's text, which holds no row and no password."""
    lines = str(error).strip().splitlines()
    _, refused, why = (lines[0] if lines else type(error).__name__).rpartition("FATAL:")
    why = why.strip().removeprefix("connection failed: ")
    if "unsupported startup parameter" in why:
        # PgBouncer's text; it sends no SQLSTATE by which we could know this error.
        why += (
            "; a pooler takes no `options`: leave them out of JOINBACK_SINK_URL, and give the role its schema:"
            " alter role … set search_path = joinback"
        )
    if refused:
        return SinkUnavailable(f"sink {where}: refuses the connection: {why}")
    return SinkUnavailable(f"sink {where}: does not answer: {why}")


def translated(error: psycopg.Error, where: str) -> WorkerError:
    """Return SinkUnavailable or SinkRefused for an error on an open connection."""
    code = error.sqlstate
    named = f"{type(error).__name__}, {code}" if code else type(error).__name__
    column, constraint = error.diag.column_name, error.diag.constraint_name
    if code == _NOT_NULL:
        return SinkUnavailable(
            f"sink {where}: column {column!r} of `records` must not be empty, and the worker does not fill it"
        )
    if code == _RAISED or (code or "")[:2] in _REFUSED_CLASSES:
        place = f" by {constraint!r}" if constraint else f" at {column!r}" if column else ""
        return SinkRefused(f"PostgreSQL refused the rows{place}: {named}")
    if code is None and isinstance(error, psycopg.DataError):
        # psycopg could not encode a value.
        return SinkRefused(f"PostgreSQL cannot hold the rows: {named}")
    if code is None:
        return SinkUnavailable(f"sink {where}: the connection is lost; the next try opens another ({named})")
    advice = _ADVICE.get(code) or _ADVICE.get(code[:2], "cannot be used now")
    return SinkUnavailable(f"sink {where}: {advice} ({named})")
