"""The table `records` in SQLite: its schema, its statements, and a row's way into it and back."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from msgspec import structs

from joinback_worker.errors import AlteredRow
from joinback_worker.row import Row
from joinback_worker.times import text_of

from .merge_on_write import COLUMNS, JSON, TIMES, TOLD

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
    feedback            TEXT,           -- JSON: one value a field
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
        # What label maturity asks each tick: small, as both hold only rows that still wait.
        "CREATE INDEX records_waiting ON records (application, predicted_at) WHERE status = 'predicted'",
        "CREATE INDEX records_waiting_skewed ON records (application, logged_at)"
        " WHERE status = 'predicted' AND clock_skew = 1",
    ),
    (
        "ALTER TABLE records ADD COLUMN default_fields TEXT",  # JSON: an array of names
        "ALTER TABLE records ADD COLUMN field_times TEXT",  # JSON: field -> {"first": ..., "last": ...}
        "ALTER TABLE records ADD COLUMN matures_at TEXT",  # when the clock alone may next change the row
        """
UPDATE records SET default_fields = (
    SELECT json_group_array(key) FROM (SELECT key FROM json_each(records.feedback) ORDER BY key)
) WHERE feedback_is_default
""",
        # Due at once: at the next tick the law says when they really are.
        """
UPDATE records SET matures_at = CASE
    WHEN clock_skew AND (julianday(predicted_at) - julianday(logged_at)) * 86400 > 300 THEN logged_at
    ELSE predicted_at
END WHERE status = 'predicted'
""",
        "DROP INDEX records_waiting",
        "DROP INDEX records_waiting_skewed",
        "ALTER TABLE records DROP COLUMN feedback_is_default",
        # What maturity asks each tick: small, as it holds only rows that still wait.
        "CREATE INDEX records_maturing ON records (application, matures_at) WHERE matures_at IS NOT NULL",
    ),
)
"""The statements of each, counted from 1 in `PRAGMA user_version`. One that was released never changes."""

READERS_OF_DROPPED = """
SELECT type, name FROM sqlite_master
WHERE type IN ('view', 'trigger', 'index') AND sql LIKE '%feedback_is_default%' ORDER BY type DESC, name
"""
"""What somebody made on the column that migration 2 drops: SQLite then refuses to drop it."""

_TIME_PLACES = [COLUMNS.index(name) for name in TIMES]
_JSON_PLACES = [COLUMNS.index(name) for name in JSON]

# Parameters, not json_each(?): SQLite's JSON functions end a text at its first NUL.
SELECT = f"SELECT {', '.join(COLUMNS)} FROM records WHERE application = ? AND join_key IN (%s)"  # noqa: S608
# By its type, for which no overflow page is read.
_BARE = {name: f"CASE typeof({name}) WHEN 'null' THEN NULL ELSE 'null' END" for name in ("inputs", "outputs")}
_BARE["tags"] = "NULL"
SELECT_WHOLE = SELECT.replace("SELECT ", "SELECT rowid, ", 1)
SELECT_BARE = (
    f"SELECT rowid, {', '.join(_BARE.get(name, name) for name in COLUMNS)}"  # noqa: S608
    " FROM records WHERE application = ? AND join_key IN (%s)"
)
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
UPSERT = (
    f"INSERT INTO records ({', '.join(COLUMNS)}, updated_at, row_version)"  # noqa: S608
    f" VALUES ({', '.join('?' * len(COLUMNS))}, ?, 1)"
    " ON CONFLICT (application, join_key) DO UPDATE SET "
    + ", ".join(f"{column} = excluded.{column}" for column in COLUMNS[2:])
    + ", updated_at = excluded.updated_at, row_version = records.row_version + 1"
)
INSERT_UNSEEN = UPSERT[: UPSERT.index(" DO UPDATE")] + " DO NOTHING"
UPDATE_TOLD = (
    f"UPDATE records SET {', '.join(f'{name} = ?' for name in TOLD)},"  # noqa: S608
    " updated_at = ?, row_version = row_version + 1 WHERE rowid = ?"
)
_TOLD_PLACES = [COLUMNS.index(name) for name in TOLD]


def to_sql(row: Row) -> list[Any]:
    values: list[Any] = list(structs.astuple(row))
    for place in _TIME_PLACES:
        if values[place] is not None:
            values[place] = text_of(values[place])
    for place in _JSON_PLACES:
        if values[place] is not None:
            values[place] = values[place].decode()
    return values


def told_to_sql(row: Row) -> list[Any]:
    """The values of TOLD."""
    values = to_sql(row)
    return [values[place] for place in _TOLD_PLACES]


def from_sql(values: Sequence[Any]) -> Row:
    """The row of these cells. Raises AlteredRow for one that somebody edited so that it is none: SQLite lets
    anything stand in any column.
    """
    cells: dict[str, Any] = dict(zip(COLUMNS, values, strict=True))
    for column in TIMES:
        if cells[column] is not None:
            try:
                time = datetime.fromisoformat(cells[column])
            except (TypeError, ValueError):
                raise AlteredRow(column, "is no time in ISO 8601") from None
            # As SQLite's own datetime('now') writes it.
            cells[column] = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
    for column in JSON:
        if cells[column] is not None:
            cells[column] = str(cells[column]).encode()
    for columns, kinds in _KINDS:
        for column in columns:
            if type(cells[column]) not in kinds:
                raise AlteredRow(column, f"is {type(cells[column]).__name__}, not {kinds[0].__name__}")
    cells["clock_skew"] = bool(cells["clock_skew"])
    return Row(**cells)


_KINDS: tuple[tuple[tuple[str, ...], tuple[type, ...]], ...] = (
    (("status", "environment", "version", "prediction_event_id"), (str, type(None))),
    (("sample_rate", "feedback_delay_s"), (float, int, type(None))),
)


def migration(number: int) -> list[str]:
    """The statements of one migration and of its record; to be run in one transaction."""
    return [statement.strip() for statement in MIGRATIONS[number - 1]] + [f"PRAGMA user_version = {number}"]
