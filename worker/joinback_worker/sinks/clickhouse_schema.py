"""ClickHouse's tables `events` and `policies`, and the view `records` over them.

Neither table is partitioned: a replacing engine replaces within a partition only, and a batch that spans
several is not all or nothing. Both hold the same rows whatever the order and number of their inserts.
"""

import re
from pathlib import Path

EVENTS = """
CREATE TABLE IF NOT EXISTS events (
    application   LowCardinality(String),
    join_key      String,
    kind          LowCardinality(String) COMMENT 'prediction, feedback or retraction',
    event_id      String,
    digest        Int64 COMMENT 'of different rows under one event_id the smallest counts',
    ordered_at_us Int64 COMMENT 'what orders events: microseconds since 1970, UTC',
    event_at      DateTime64(6, 'UTC'),
    logged_at     DateTime64(6, 'UTC'),
    version       LowCardinality(Nullable(String)),
    environment   LowCardinality(Nullable(String)),
    tags          Nullable(String) COMMENT 'JSON' CODEC(ZSTD(1)),
    event         String COMMENT 'JSON, of a prediction without inputs, outputs, sample_rate' CODEC(ZSTD(1)),
    inputs        Nullable(String) COMMENT 'JSON' CODEC(ZSTD(1)),
    outputs       Nullable(String) COMMENT 'JSON' CODEC(ZSTD(1)),
    sample_rate   Nullable(Float64),
    fields        Array(String) COMMENT 'that feedback tells, or a retraction takes back',
    field_values  Array(String) COMMENT 'JSON of each field that feedback tells',
    all_fields    Bool COMMENT 'a retraction of all fields',
    written_at    DateTime64(6, 'UTC')
)
-- Repeated rows vanish in merges; until then the view counts them once.
ENGINE = ReplacingMergeTree
ORDER BY (application, join_key, kind, event_id, digest)
-- A look-up by key reads a granule: small ones. An insert is on disk when it is acknowledged.
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1
"""

COLUMN_TYPES = dict(re.findall(r"^    (\w+) +(.+?)(?: COMMENT '[^']*')?(?: CODEC\(.*\))?,?$", EVENTS, re.MULTILINE))
"""Name -> type, as the server tells them too."""

POLICIES = """
CREATE TABLE IF NOT EXISTS policies (
    application       String,
    join_window_s     Float64,
    reducers          Map(String, String),
    matured_before_us Nullable(Int64) COMMENT 'predictions from before, without feedback, are unlabelled',
    default_feedback  Nullable(String) COMMENT 'JSON',
    written_at        DateTime64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(written_at)
ORDER BY application
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
"""

RECORDS = (Path(__file__).parent / "clickhouse_records.sql").read_text(encoding="utf-8")

MIGRATIONS = [(EVENTS, POLICIES, RECORDS)]
"""By number, from 1. ClickHouse has no transactions: each statement may run again, and the record comes last."""

MIGRATIONS_TABLE = """
CREATE TABLE IF NOT EXISTS joinback_migrations (number UInt32, applied_at DateTime64(6, 'UTC'))
ENGINE = ReplacingMergeTree
ORDER BY number
"""

GRANTS = [
    "GRANT SELECT, INSERT ON events TO joinback_worker",
    "GRANT SELECT, INSERT ON policies TO joinback_worker",
    "GRANT SELECT ON joinback_migrations TO joinback_worker",
    "GRANT SELECT ON records, events, policies TO joinback_reader",
]
