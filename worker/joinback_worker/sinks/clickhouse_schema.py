"""ClickHouse's tables `events` and `policies`, and the view `records` over them.

Neither table is partitioned: a ReplacingMergeTree replaces rows within a partition only, and an insert into several
partitions is not all or nothing. Both tables hold the same rows whatever the order and number of their inserts.
"""

import re
from datetime import UTC, datetime
from pathlib import Path

from clickhouse_connect.driver.client import Client

from joinback_worker.errors import SinkOlder, SinkUnavailable

EVENTS = """
CREATE TABLE IF NOT EXISTS events (
    application   LowCardinality(String),
    join_key      String,
    kind          LowCardinality(String) COMMENT 'prediction, feedback or retraction',
    event_id      String,
    digest        Int64 COMMENT 'if one event_id has different rows, the smallest digest counts',
    ordered_at_us Int64 COMMENT 'the time that orders events: microseconds since 1970, UTC',
    event_at      DateTime64(6, 'UTC'),
    logged_at     DateTime64(6, 'UTC'),
    version       LowCardinality(Nullable(String)),
    environment   LowCardinality(Nullable(String)),
    tags          Nullable(String) COMMENT 'JSON' CODEC(ZSTD(1)),
    event         String COMMENT 'JSON, for a prediction without inputs, outputs, sample_rate' CODEC(ZSTD(1)),
    inputs        Nullable(String) COMMENT 'JSON' CODEC(ZSTD(1)),
    outputs       Nullable(String) COMMENT 'JSON' CODEC(ZSTD(1)),
    sample_rate   Nullable(Float64),
    fields        Array(String) COMMENT 'names of the fields that feedback gives, or a retraction takes back',
    field_values  Array(String) COMMENT 'JSON of the value of each field of feedback',
    all_fields    Bool COMMENT 'true: a retraction of all fields',
    written_at    DateTime64(6, 'UTC')
)
-- ClickHouse removes repeated rows when it merges parts; until then the view counts them once.
ENGINE = ReplacingMergeTree
ORDER BY (application, join_key, kind, event_id, digest)
-- A look-up by key reads whole granules, so they are small. An insert is on disk when it is acknowledged.
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1
"""

COLUMN_TYPES = dict(re.findall(r"^    (\w+) +(.+?)(?: COMMENT '[^']*')?(?: CODEC\(.*\))?,?$", EVENTS, re.MULTILINE))
"""Column -> type, as the server spells it in system.columns."""

RECORDS_COPY = """
CREATE MATERIALIZED VIEW IF NOT EXISTS records_copy
REFRESH EVERY 5 MINUTE
ENGINE = MergeTree ORDER BY (application, join_key)
AS SELECT * FROM records
"""
"""Optional, for dashboards: the rows of `records`, which ClickHouse folds again every five minutes and then swaps in.
Its database needs the engine Atomic, which a server's databases have; chDB's `default` does not."""

POLICIES = """
CREATE TABLE IF NOT EXISTS policies (
    application       String,
    join_window_s     Float64,
    reducers          Map(String, String),
    matured_before_us Nullable(Int64) COMMENT 'predictions before it, without feedback, are unlabelled',
    default_feedback  Nullable(String) COMMENT 'JSON',
    written_at        DateTime64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(written_at)
ORDER BY application
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
"""

RECORDS = (Path(__file__).parent / "clickhouse_records.sql").read_text(encoding="utf-8")

RULES = (
    "ALTER TABLE policies ADD COLUMN IF NOT EXISTS rules String DEFAULT '' COMMENT 'JSON: the declared rules'"
    " AFTER application",
    "ALTER TABLE policies ADD COLUMN IF NOT EXISTS now_us Nullable(Int64)"
    " COMMENT 'when its last drain began: rows are mature as of this time' AFTER rules",
    RECORDS,
    *(
        f"ALTER TABLE policies DROP COLUMN IF EXISTS {column}"
        for column in ("join_window_s", "reducers", "matured_before_us", "default_feedback")
    ),
)

PLAIN_PATH = (RECORDS,)
"""The same rows, computed faster. A view that exists keeps the query it was made with, so it is replaced here."""

MIGRATIONS = [(EVENTS, POLICIES), RULES, PLAIN_PATH]
"""The statements of each migration, counted from 1. ClickHouse has no transactions: so each statement may run again,
and the record of the migration comes last."""

MIGRATIONS_TABLE = """
CREATE TABLE IF NOT EXISTS joinback_migrations (number UInt32, applied_at DateTime64(6, 'UTC'))
ENGINE = ReplacingMergeTree
ORDER BY number
"""

GRANTS = [
    "GRANT SELECT, INSERT, ALTER DELETE ON events TO joinback_worker",
    "GRANT SELECT, INSERT ON policies TO joinback_worker",
    "GRANT SELECT ON joinback_migrations TO joinback_worker",
    "GRANT SELECT ON records, events, policies TO joinback_reader",
]


def migrate(client: Client, name: str, migrates: bool = True) -> None:
    """Run the missing migrations. Raises SinkUnavailable if the schema is of a newer worker.

    Raises SinkOlder if it is of an older worker and `migrates` is False; the schema then stays as it is.
    """
    # Look first: if nothing is missing, a user without the right to CREATE can run the worker.
    made = client.command("EXISTS TABLE joinback_migrations")
    applied = int(client.query("SELECT max(number) FROM joinback_migrations").result_rows[0][0]) if made else 0
    if applied > len(MIGRATIONS):
        raise SinkUnavailable(f"{name}: schema {applied} is newer than this worker's; upgrade the worker")
    if not migrates and 0 < applied < len(MIGRATIONS):
        raise SinkOlder(name, applied)
    if not made:
        client.command(MIGRATIONS_TABLE)
    for number, statements in enumerate(MIGRATIONS[applied:], applied + 1):
        for statement in statements:
            client.command(statement)
        client.insert("joinback_migrations", [(number, datetime.now(UTC))], column_names=["number", "applied_at"])


def check_columns(client: Client, name: str) -> None:
    """Raise SinkUnavailable, naming the column, if somebody altered `events`."""
    found: dict[str, str] = dict(
        client.query(
            "SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = 'events'"
        ).result_rows  # type: ignore[arg-type]
    )
    for column, type_ in COLUMN_TYPES.items():
        if found.get(column) != type_:
            state = f"is {found[column]}, not {type_}" if column in found else f"is missing; it was {type_}"
            raise SinkUnavailable(f"{name}: column {column} of table events {state}; restore it")
