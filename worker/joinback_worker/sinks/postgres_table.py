"""The table `records` in PostgreSQL: the statements of a merge, and a row as SQL values and back.

The columns that people query are `jsonb`: inputs, outputs, tags, feedback. jsonb sorts keys, rewrites numbers and
drops doubled keys. So other columns keep as `json`, byte for byte as it was logged, what the law compares: the winning
prediction, the other predictions, and the history of feedback. Without them a repeated event would differ from itself,
and of two events with one id the first to arrive would win.
"""

import json
import re
import zlib
from collections.abc import Sequence
from decimal import Decimal
from operator import attrgetter
from typing import Any

import msgspec
from msgspec import Raw, Struct, structs

from joinback_worker.errors import AlteredRow, SinkRefused
from joinback_worker.law.row import Row

from .postgres_schema import TYPES
from .row_columns import COLUMNS, FEEDBACK_COLUMNS

CELL_BYTES_MAX = 200 << 20
"""jsonb holds 256 MB. A message of more than 1 GB makes the server hang up, and each new try would end the same way."""

_EXACT = ("inputs", "outputs", "tags")
"""These are read from `prediction`, not from their own columns."""
_WRITTEN = (*COLUMNS, "prediction")
# JSON is bytes already, and COPY sends them as they are. The binary form of json is its text; that of jsonb is the
# byte 1 and its text.
COPY_TYPES = ["bytea" if TYPES[name].startswith("json") else TYPES[name] for name in _WRITTEN]
_JSONB_PLACES = [COLUMNS.index(name) for name, type_ in TYPES.items() if type_ == "jsonb"]

COPY_NEW = f"COPY records ({', '.join(_WRITTEN)}) FROM STDIN (FORMAT BINARY)"

_STAGED = ", ".join(f"{name} {TYPES[name]}" for name in _WRITTEN)
# The name depends on the columns: a pooled session may still hold the staging table of an older release.
_STAGING = f"joinback_staging_{zlib.crc32(_STAGED.encode()):08x}"
# Each transaction creates it if it is missing: a pooler may run it on another session than the last one.
CREATE_STAGING = f"CREATE TEMPORARY TABLE IF NOT EXISTS {_STAGING} ({_STAGED}) ON COMMIT DELETE ROWS"
COPY_STAGED = COPY_NEW.replace("records", f"pg_temp.{_STAGING}", 1)
# This transaction has locked these rows, so nothing waits. ON CONFLICT, not a join: nobody analyzes the staging table,
# so the planner could choose to scan all of `records`.
UPDATE_STAGED = (
    f"INSERT INTO records ({', '.join(_WRITTEN)}) SELECT {', '.join(_WRITTEN)} FROM pg_temp.{_STAGING}"  # noqa: S608
    " ON CONFLICT (application, join_key) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _WRITTEN[2:])
    + ", updated_at = excluded.updated_at, row_version = records.row_version + 1"
)
_FEEDBACK_STAGED = "place tid, application text, join_key text, " + ", ".join(
    f"{name} {TYPES[name]}" for name in FEEDBACK_COLUMNS
)
_FEEDBACK_STAGING = f"joinback_feedback_{zlib.crc32(_FEEDBACK_STAGED.encode()):08x}"
CREATE_FEEDBACK = f"CREATE TEMPORARY TABLE IF NOT EXISTS {_FEEDBACK_STAGING} ({_FEEDBACK_STAGED}) ON COMMIT DELETE ROWS"
COPY_FEEDBACK = (
    f"COPY pg_temp.{_FEEDBACK_STAGING} (place, application, join_key, {', '.join(FEEDBACK_COLUMNS)})"
    " FROM STDIN (FORMAT BINARY)"
)
# A tid is read and written as bytes, without a look into it.
FEEDBACK_TYPES = ["bytea", "text", "text", *(COPY_TYPES[COLUMNS.index(name)] for name in FEEDBACK_COLUMNS)]
# This transaction has locked the rows, so none moves to another place. The partitions of a partitioned table repeat
# places, so the statement compares the key too.
UPDATE_FEEDBACK = (
    "UPDATE records SET "  # noqa: S608
    + ", ".join(f"{name} = staged.{name}" for name in FEEDBACK_COLUMNS)
    + f", updated_at = now(), row_version = records.row_version + 1 FROM pg_temp.{_FEEDBACK_STAGING} AS staged"
    + " WHERE records.ctid = staged.place"
    + " AND (records.application, records.join_key) = (staged.application, staged.join_key)"
)
# Nobody analyzes the staging table. By a wrong guess of its size the planner could read all of `records`, or look up
# each key again. With these ways off it uses the places.
BY_PLACE = "SELECT " + ", ".join(
    f"set_config('enable_{way}', 'off', true)"
    for way in ("seqscan", "indexscan", "bitmapscan", "hashjoin", "mergejoin")
)

_READ = [name for name in COLUMNS if name not in _EXACT]
# Key by key through the primary key, in the order of the keys. A join instead was planned as a scan of the whole
# application while nobody had analyzed the table. The keys come as one JSON array: the driver dumps it four times
# faster than text[].
SELECT = f"""
SELECT held.* FROM json_array_elements_text(%s::json) AS wanted(key) CROSS JOIN LATERAL (
    SELECT {", ".join(_READ)}, prediction FROM records WHERE application = %s AND join_key = wanted.key LIMIT 1
) AS held"""  # noqa: S608
# A bare row has a constant in place of its prediction, so PostgreSQL does not fetch the prediction from TOAST.
_BARE = """CASE WHEN wanted.whole = '1' THEN prediction
        WHEN prediction IS NOT NULL THEN '{"inputs":null,"outputs":null}' END"""
SELECT_HELD = f"""
SELECT held.* FROM ROWS FROM (json_array_elements_text(%s::json), json_array_elements_text(%s::json))
AS wanted(key, whole) CROSS JOIN LATERAL (
    SELECT ctid, {", ".join(_READ)}, {_BARE}
    FROM records WHERE application = %s AND join_key = wanted.key LIMIT 1 FOR NO KEY UPDATE
) AS held"""  # noqa: S608
SELECT_HELD_AT_ONCE = SELECT_HELD.replace("FOR NO KEY UPDATE", "FOR NO KEY UPDATE NOWAIT")
NEWEST = """
(SELECT join_key FROM records WHERE application = %(application)s AND predicted_at IS NOT NULL
    ORDER BY predicted_at DESC LIMIT %(limit)s)
UNION
(SELECT join_key FROM records WHERE application = %(application)s AND first_feedback_at IS NOT NULL
    ORDER BY first_feedback_at DESC LIMIT %(limit)s)
"""
STANDING = """
SELECT relkind = 'v', coalesce(obj_description(oid, 'pg_class'), '') FROM pg_class
WHERE oid = to_regclass(quote_ident(%s))
"""
# It may lock rows in any order. If that causes a deadlock with a merge, one of the two begins again.
DELETE = (
    "DELETE FROM records WHERE application = %s AND join_key = ANY(ARRAY(SELECT json_array_elements_text(%s::json)))"
)
PAGE = f"""
SELECT {", ".join(_READ)}, prediction FROM records WHERE (application, join_key) > (%s, %s)
ORDER BY application, join_key LIMIT %s"""  # noqa: S608
MATURED = """
SELECT join_key FROM records WHERE application = %(application)s AND matures_at < %(before)s
ORDER BY matures_at LIMIT %(limit)s
"""


class _Exact(Struct):
    inputs: Raw
    outputs: Raw
    tags: Raw = Raw()


_decode_exact = msgspec.json.Decoder(_Exact).decode


def to_sql(row: Row) -> list[Any]:
    """Return the values of COPY_NEW, in its order. Raises SinkRefused for what PostgreSQL cannot hold."""
    values: list[Any] = list(structs.astuple(row))
    exact = None
    if row.inputs is not None and row.outputs is not None:
        tags = b"" if row.tags is None else b',"tags":' + row.tags
        exact = b'{"inputs":' + row.inputs + b',"outputs":' + row.outputs + tags + b"}"
    _check(row, exact)
    for place in _JSONB_PLACES:
        if values[place] is not None:
            values[place] = b"\x01" + values[place]
    values.append(exact)
    return values


def feedback_to_sql(place: bytes, row: Row) -> list[Any]:
    """Return the values of COPY_FEEDBACK, in its order. Raises SinkRefused for what PostgreSQL cannot hold."""
    _check(row, None)
    values: list[Any] = [place, row.application, row.join_key, *_feedback_of(row)]
    for number in _FEEDBACK_JSONB_PLACES:
        if values[number] is not None:
            values[number] = b"\x01" + values[number]
    return values


_feedback_of = attrgetter(*FEEDBACK_COLUMNS)
_FEEDBACK_JSONB_PLACES = [3 + number for number, name in enumerate(FEEDBACK_COLUMNS) if TYPES[name] == "jsonb"]


def from_sql(values: Sequence[Any]) -> Row:
    """Return the row of these cells. Raises AlteredRow if somebody edited it so that nobody can read it."""
    cells: dict[str, Any] = dict(zip(_READ, values, strict=False))
    exact = None if values[-1] is None else _exact(values[-1])
    cells["inputs"] = bytes(exact.inputs) if exact else None
    cells["outputs"] = bytes(exact.outputs) if exact else None
    cells["tags"] = (bytes(exact.tags) or None) if exact else None
    for name in ("feedback", "default_fields"):
        if cells[name] is not None:
            cells[name] = msgspec.json.format(cells[name], indent=-1)
    return Row(**cells)


def _exact(cell: bytes) -> _Exact:
    try:
        return _decode_exact(cell)
    except (ValueError, RecursionError):
        raise AlteredRow("prediction", "lacks the inputs and outputs that were logged") from None


def same_value(a: bytes, b: bytes) -> bool:
    """Return whether two JSON texts have the same value, whatever the order of keys and the form of numbers."""
    return a == b or _value(a) == _value(b)


def _value(text: bytes) -> Any:
    # Decimal keeps all digits. The tuple keeps 1 and true apart, which Python holds for equal.
    return json.loads(text, parse_float=_number, parse_int=_number)


def _number(digits: str) -> tuple[Decimal]:
    return (Decimal(digits),)


# \u0000 after an even number of backslashes. jsonb also refuses half a surrogate pair, but no event contains one.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


def _check(row: Row, exact: bytes | None) -> None:
    for text in (row.join_key, row.application, row.environment, row.version, row.prediction_event_id):
        if text is not None and "\0" in text:
            raise SinkRefused("PostgreSQL cannot hold a NUL character, and the key, version or environment has one")
    for cell in (exact, row.feedback_events, row.conflicts, row.feedback):
        if cell is None:
            continue
        if len(cell) > CELL_BYTES_MAX:
            raise SinkRefused(f"PostgreSQL cannot hold the {len(cell):,} bytes of one cell; {CELL_BYTES_MAX:,} at most")
        # `json` would accept it, and each query that reads the row would then fail.
        if rb"\u0000" in cell and _NUL.search(cell):
            raise SinkRefused(r"PostgreSQL cannot hold the character \u0000, and the JSON has one")
