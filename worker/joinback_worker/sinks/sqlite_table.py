"""The table `records` in SQLite: its schema, its statements, and a row as SQL values and back."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any

from msgspec import structs

from joinback_worker.errors import AlteredRow
from joinback_worker.law.row import Row
from joinback_worker.law.times import text_of

from .row_columns import COLUMNS, FEEDBACK_COLUMNS, JSON, TIMES

MIGRATIONS = (
    (
        """
CREATE TABLE records (
    application         TEXT NOT NULL,
    join_key            TEXT NOT NULL,
    status              TEXT NOT NULL,  -- predicted, joined, orphan or unlabelled
    environment         TEXT,
    version             TEXT,
    predicted_at        TEXT,           -- times are UTC, ISO 8601
    inputs              TEXT,           -- JSON
    outputs             TEXT,           -- JSON
    tags                TEXT,           -- JSON
    feedback            TEXT,           -- JSON: one value per field
    feedback_is_default INTEGER NOT NULL,
    feedback_at         TEXT,
    first_feedback_at   TEXT,
    feedback_delay_s    REAL,
    feedback_events     TEXT,           -- JSON: "<kind>:<event_id>" -> the event as it was logged
    conflicts           TEXT,           -- JSON: the other predictions under this key
    sample_rate         REAL,
    clock_skew          INTEGER NOT NULL,
    logged_at           TEXT,
    prediction_event_id TEXT,
    updated_at          TEXT NOT NULL,
    row_version         INTEGER NOT NULL,
    PRIMARY KEY (application, join_key)
)
""",
        "CREATE INDEX records_by_time ON records (application, predicted_at)",
        # For label maturity, which the worker checks at each drain. Small: both hold only rows that still wait.
        "CREATE INDEX records_waiting ON records (application, predicted_at) WHERE status = 'predicted'",
        "CREATE INDEX records_waiting_skewed ON records (application, logged_at)"
        " WHERE status = 'predicted' AND clock_skew = 1",
    ),
    (
        "ALTER TABLE records ADD COLUMN default_fields TEXT",  # JSON: an array of names
        "ALTER TABLE records ADD COLUMN field_times TEXT",  # JSON: field -> {"first": ..., "last": ...}, times
        "ALTER TABLE records ADD COLUMN matures_at TEXT",  # when the clock alone may next change the row
        """
UPDATE records SET default_fields = (
    SELECT json_group_array(key) FROM (SELECT key FROM json_each(records.feedback) ORDER BY key)
) WHERE feedback_is_default
""",
        # Due at once: the next drain then sets the right time.
        """
UPDATE records SET matures_at = CASE
    WHEN clock_skew AND (julianday(predicted_at) - julianday(logged_at)) * 86400 > 300 THEN logged_at
    ELSE predicted_at
END WHERE status = 'predicted'
""",
        "DROP INDEX records_waiting",
        "DROP INDEX records_waiting_skewed",
        "ALTER TABLE records DROP COLUMN feedback_is_default",
        # For maturity, which the worker checks at each drain. Small: it holds only rows that still wait.
        "CREATE INDEX records_maturing ON records (application, matures_at) WHERE matures_at IS NOT NULL",
    ),
)
"""The statements of each migration. `PRAGMA user_version` counts them from 1. The statements of a released migration
never change; their comments may."""

READERS_OF_DROPPED = """
SELECT type, name FROM sqlite_master
WHERE type IN ('view', 'trigger', 'index') AND sql LIKE '%feedback_is_default%' ORDER BY type DESC, name
"""
"""Views, triggers and indexes that somebody made on the column that migration 2 drops. SQLite refuses to drop a column
that one of them uses."""

_TIME_PLACES = [COLUMNS.index(name) for name in TIMES]
_JSON_PLACES = [COLUMNS.index(name) for name in JSON]

# One parameter per key, not json_each(?): SQLite's JSON functions end a text at its first NUL.
SELECT = f"SELECT {', '.join(COLUMNS)} FROM records WHERE application = ? AND join_key IN (%s)"  # noqa: S608
# The type of a cell is known without its overflow pages, so a bare row reads none of the prediction's JSON.
_BARE = {name: f"CASE typeof({name}) WHEN 'null' THEN NULL ELSE 'null' END" for name in ("inputs", "outputs")}
_BARE["tags"] = "NULL"
SELECT_WHOLE = SELECT.replace("SELECT ", "SELECT rowid, ", 1)
SELECT_BARE = (
    f"SELECT rowid, {', '.join(_BARE.get(name, name) for name in COLUMNS)}"  # noqa: S608
    " FROM records WHERE application = ? AND join_key IN (%s)"
)
DELETE = "DELETE FROM records WHERE application = ? AND join_key IN (%s)"
PAGE = (
    f"SELECT {', '.join(COLUMNS)} FROM records WHERE (application, join_key) > (?, ?)"  # noqa: S608
    " ORDER BY application, join_key LIMIT ?"
)
NEWEST = """
SELECT join_key FROM (SELECT join_key FROM records WHERE application = :application AND predicted_at IS NOT NULL
    ORDER BY predicted_at DESC LIMIT :limit)
UNION
SELECT join_key FROM (SELECT join_key FROM records WHERE application = :application AND first_feedback_at IS NOT NULL
    ORDER BY first_feedback_at DESC LIMIT :limit)
"""
MATURED = "SELECT join_key FROM records WHERE application = :application AND matures_at < :before LIMIT :limit"
_INSERT = (
    f"INSERT INTO records ({', '.join(COLUMNS)}, updated_at, row_version)"  # noqa: S608
    f" VALUES ({', '.join('?' * len(COLUMNS))}, ?, 1)"
    " ON CONFLICT (application, join_key) DO "
)
INSERT_UNSEEN = _INSERT + "NOTHING"
UPSERT = (
    _INSERT
    + "UPDATE SET "
    + ", ".join(f"{column} = excluded.{column}" for column in COLUMNS[2:])
    + ", updated_at = excluded.updated_at, row_version = records.row_version + 1"
)
UPDATE_FEEDBACK = (
    f"UPDATE records SET {', '.join(f'{name} = ?' for name in FEEDBACK_COLUMNS)},"  # noqa: S608
    " updated_at = ?, row_version = row_version + 1 WHERE rowid = ?"
)


def to_sql(row: Row) -> list[Any]:
    """Return the values of COLUMNS."""
    return _to_sql(structs.astuple(row), _TIME_PLACES, _JSON_PLACES)


def feedback_to_sql(row: Row) -> list[Any]:
    """Return the values of FEEDBACK_COLUMNS."""
    return _to_sql(_feedback_of(row), _FEEDBACK_TIME_PLACES, _FEEDBACK_JSON_PLACES)


_feedback_of = attrgetter(*FEEDBACK_COLUMNS)
_FEEDBACK_TIME_PLACES = [place for place, name in enumerate(FEEDBACK_COLUMNS) if name in TIMES]
_FEEDBACK_JSON_PLACES = [place for place, name in enumerate(FEEDBACK_COLUMNS) if name in JSON]


def _to_sql(cells: Iterable[Any], times: Sequence[int], jsons: Sequence[int]) -> list[Any]:
    values = list(cells)
    for place in times:
        if values[place] is not None:
            values[place] = text_of(values[place])
    for place in jsons:
        if values[place] is not None:
            values[place] = values[place].decode()
    return values


def from_sql(values: Sequence[Any]) -> Row:
    """Return the row of these cells. Raises AlteredRow if somebody edited it so that nobody can read it.

    SQLite accepts a value of any type in any column.
    """
    cells = list(values)
    for place in _TIME_PLACES:
        if cells[place] is not None:
            try:
                time = datetime.fromisoformat(cells[place])
            except (TypeError, ValueError):
                raise AlteredRow(COLUMNS[place], "is not a time in ISO 8601") from None
            # SQLite's own datetime('now') writes a time without a zone; it is UTC.
            cells[place] = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
    for place in _JSON_PLACES:
        if cells[place] is not None:
            cells[place] = str(cells[place]).encode()
    for place, kinds in _KINDS:
        if type(cells[place]) not in kinds:
            raise AlteredRow(COLUMNS[place], f"is {type(cells[place]).__name__}, not {kinds[0].__name__}")
    cells[_CLOCK_SKEW] = bool(cells[_CLOCK_SKEW])
    # By position: names would cost twice as much, and COLUMNS are the fields of Row in their order.
    return Row(*cells)


_TEXT: tuple[type, ...] = (str, type(None))
_REAL: tuple[type, ...] = (float, int, type(None))
_KINDS = [(COLUMNS.index(name), _TEXT) for name in ("status", "environment", "version", "prediction_event_id")]
_KINDS += [(COLUMNS.index(name), _REAL) for name in ("sample_rate", "feedback_delay_s")]
_CLOCK_SKEW = COLUMNS.index("clock_skew")


def migration(number: int) -> list[str]:
    """Return the statements of one migration and of its record. Run them in one transaction."""
    return [statement.strip() for statement in MIGRATIONS[number - 1]] + [f"PRAGMA user_version = {number}"]
