"""PostgreSQL's errors as ours: retryable or not, by SQLSTATE and type.

The server's words stay where they are, as they may quote a row; what is told is the code and its name, and the
column or constraint.
"""

import psycopg

from joinback_worker.errors import SinkRefused, SinkUnavailable, WorkerError

_REFUSED_CLASSES = {
    "22",  # data exception: what jsonb, numeric or UTF-8 cannot hold
    "23",  # integrity constraint: a unique index, foreign key or check that somebody added
    "54",  # program limit: nesting, row or index entry too large
}
_RAISED = "P0001"
"""RAISE EXCEPTION in somebody's trigger: it was meant for this row."""
_NOT_NULL = "23502"
"""We fill every column of ours that must be filled: it is one that somebody added, and no row would do."""

_NOT_OURS = "its table `records` is not as the worker made it; the next try names the column"
_ADVICE = {
    "08": "the connection broke; the next try opens another",
    "25006": "is read-only; point JOINBACK_SINK_URL to the primary, or end its maintenance",
    "25P03": "the server ended a transaction that stood still; the next try repeats it",
    "25": "the transaction was ended; the next try repeats it",
    "28": "does not let this role in; check user and password in JOINBACK_SINK_URL",
    "3D": "has no such database; create it or mend JOINBACK_SINK_URL",
    "3F": "has no such schema; create it or mend search_path in JOINBACK_SINK_URL",
    "40": "the transaction was ended in favour of another; the next try repeats it",
    "42501": "this role lacks a right; `joinback sink schema` prints the grants",
    "42P01": "lost its table `records`; restore it",
    "42P07": "has a table `records` that is not the worker's; give it a schema of its own:"
    " create schema joinback, and ?options=-csearch_path%3Djoinback in JOINBACK_SINK_URL",
    "42P10": "its table `records` lost its primary key (application, join_key)",
    "42": _NOT_OURS,
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
    """Without a connection there is no SQLSTATE, and no row yet that the words could quote; nor the password."""
    lines = str(error).strip().splitlines()
    said = lines[0].rpartition("FATAL:")[2].strip() if lines else type(error).__name__
    if "unsupported startup parameter" in said:
        # PgBouncer's words; it sends no SQLSTATE that would tell.
        said += (
            "; a pooler takes no `options`: leave them out of JOINBACK_SINK_URL, and give the role its schema:"
            " alter role … set search_path = joinback"
        )
    return SinkUnavailable(f"sink {where}: cannot be connected to: {said}")


def translated(error: psycopg.Error, where: str) -> WorkerError:
    """SinkUnavailable or SinkRefused for an error on an open connection."""
    code = error.sqlstate
    named = f"{type(error).__name__}, {code}" if code else type(error).__name__
    column, constraint = error.diag.column_name, error.diag.constraint_name
    if code == _NOT_NULL:
        return SinkUnavailable(f"sink {where}: column {column!r} of `records` must not be empty, and is not ours")
    if code == _RAISED or (code or "")[:2] in _REFUSED_CLASSES:
        place = f" by {constraint!r}" if constraint else f" at {column!r}" if column else ""
        return SinkRefused(f"PostgreSQL refused the rows{place}: {named}")
    if code is None and isinstance(error, psycopg.DataError):
        # psycopg itself could not pass a value on.
        return SinkRefused(f"PostgreSQL cannot hold the rows: {named}")
    if code is None:
        return SinkUnavailable(f"sink {where}: the connection is lost; the next try opens another ({named})")
    advice = _ADVICE.get(code) or _ADVICE.get(code[:2], "cannot be used now")
    return SinkUnavailable(f"sink {where}: {advice} ({named})")
