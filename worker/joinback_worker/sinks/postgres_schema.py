"""The schema of PostgreSQL: numbered migrations, the worker's grants, and the check of a table that exists."""

from collections.abc import Collection, Mapping
from textwrap import indent

from joinback_worker.errors import SinkUnavailable

TYPES = {
    "application": "text",
    "join_key": "text",
    "status": "text",
    "environment": "text",
    "version": "text",
    "predicted_at": "timestamp with time zone",
    "inputs": "jsonb",
    "outputs": "jsonb",
    "tags": "jsonb",
    "feedback": "jsonb",
    "default_fields": "jsonb",
    "field_times": "json",
    "feedback_at": "timestamp with time zone",
    "first_feedback_at": "timestamp with time zone",
    "feedback_delay_s": "double precision",
    "feedback_events": "json",
    "conflicts": "json",
    "sample_rate": "double precision",
    "clock_skew": "boolean",
    "logged_at": "timestamp with time zone",
    "prediction_event_id": "text",
    "matures_at": "timestamp with time zone",
    "prediction": "json",
    # Their defaults fill these two.
    "updated_at": "timestamp with time zone",
    "row_version": "bigint",
}
"""Column -> type that it must have, as PostgreSQL spells it. A table may have more columns."""
_BY_DEFAULT = frozenset({"updated_at", "row_version"})

LIVE_COLUMNS = """
SELECT attname, format_type(atttypid, atttypmod),
    attnotnull AND NOT atthasdef AND attidentity = '' AND attgenerated = ''
FROM pg_attribute WHERE attrelid = to_regclass('records') AND attnum > 0 AND NOT attisdropped
"""
"""Of each column: name, type, and whether an insert must give it a value."""

_KEYS = """
SELECT FROM pg_index WHERE indrelid = to_regclass('records')
    AND indisunique AND indimmediate AND indisvalid AND indpred IS NULL AND indnkeyatts = 2
    AND (SELECT count(*) FROM pg_attribute WHERE attrelid = indrelid AND attnum IN (indkey[0], indkey[1])
        AND attname IN ('application', 'join_key')) = 2
"""
IS_KEYED = f"SELECT EXISTS ({_KEYS})"
"""Whether an index ensures that a key has one row only."""
IS_KEY = f"SELECT EXISTS ({_KEYS} AND (SELECT relname FROM pg_class WHERE oid = indexrelid) = %s)"  # noqa: S608
"""Whether the index of this name is the one that ensures it."""
APPLIED = "SELECT coalesce(max(number), 0) FROM joinback_migrations"
MAY_READ_APPLIED = "SELECT has_table_privilege(to_regclass('joinback_migrations'), 'SELECT')"
"""It returns NULL if there is no such table."""
READERS_OF_DROPPED = """
SELECT DISTINCT rule.ev_class::regclass::text AS name
FROM pg_depend AS held
JOIN pg_rewrite AS rule ON held.classid = 'pg_rewrite'::regclass AND rule.oid = held.objid
JOIN pg_attribute AS dropped ON dropped.attrelid = held.refobjid AND dropped.attnum = held.refobjsubid
WHERE held.refclassid = 'pg_class'::regclass AND held.refobjid = to_regclass('records')
    AND dropped.attname = 'feedback_is_default'
ORDER BY name
"""
"""The views that read the column that migration 2 drops; somebody else made them."""


def check(live: Collection[tuple[str, str, bool]], is_keyed: bool, where: str) -> None:
    """Raise SinkUnavailable if somebody altered the table so that the worker cannot use it."""
    types = {name: type_ for name, type_, _ in live}
    if not types:
        raise SinkUnavailable(f"{where}: lost its table `records`; restore it")
    for name, type_ in TYPES.items():
        if name not in types:
            raise SinkUnavailable(f"{where}: its table `records` has no column {name!r}; add it again, as {type_}")
        if types[name] != type_:
            raise SinkUnavailable(f"{where}: column {name!r} of `records` is {types[name]}; make it {type_} again")
    if not is_keyed:
        raise SinkUnavailable(
            f"{where}: its table `records` lost its primary key; add it again: (application, join_key)"
        )
    for name, _, needed in live:
        if needed and (name not in TYPES or name in _BY_DEFAULT):
            raise SinkUnavailable(
                f"{where}: column {name!r} of `records` must be filled, and the worker does not; give it a default"
            )


MIGRATIONS: Mapping[int, str] = {
    1: """
CREATE TABLE records (
    application         text COLLATE "C" NOT NULL,  -- "C": plain byte order, which no upgrade of a locale changes
    join_key            text COLLATE "C" NOT NULL,
    status              text NOT NULL,              -- predicted, joined, orphan or unlabelled
    environment         text,
    version             text,
    predicted_at        timestamptz,
    inputs              jsonb,
    outputs             jsonb,
    tags                jsonb,
    feedback            jsonb,                      -- one value per field
    feedback_is_default boolean NOT NULL,
    feedback_at         timestamptz,
    first_feedback_at   timestamptz,
    feedback_delay_s    double precision,
    feedback_events     json,                       -- "<kind>:<event_id>" -> the event as it was logged
    conflicts           json,                       -- the other predictions under this key, as they were logged
    sample_rate         double precision,
    clock_skew          boolean NOT NULL,
    logged_at           timestamptz,
    prediction_event_id text,
    prediction          json,                       -- inputs, outputs and tags as they were logged, for the merge
    updated_at          timestamptz NOT NULL DEFAULT now(),
    row_version         bigint NOT NULL DEFAULT 1,
    PRIMARY KEY (application, join_key)
) WITH (fillfactor = 80);  -- leaves room for the next version of a row: later feedback then often writes no index
CREATE INDEX records_by_time ON records (application, predicted_at);
-- For label maturity, which the worker checks at each drain. Small: both hold only rows that still wait.
CREATE INDEX records_waiting ON records (application, predicted_at) WHERE status = 'predicted';
CREATE INDEX records_waiting_skewed ON records (application, logged_at) WHERE status = 'predicted' AND clock_skew;
""",
    2: """
ALTER TABLE records
    ADD COLUMN default_fields jsonb,        -- the fields whose value is their default: an array of names
    ADD COLUMN field_times    json,         -- field -> {"first": ..., "last": ...}, times of values that count
    ADD COLUMN matures_at     timestamptz;  -- when the clock alone may next change the row
UPDATE records SET default_fields = (
    SELECT jsonb_agg(name ORDER BY name COLLATE "C") FROM jsonb_object_keys(feedback) AS name
) WHERE feedback_is_default;
-- Due at once: the next drain then sets the right time.
UPDATE records SET matures_at = CASE
    WHEN clock_skew AND predicted_at - logged_at > interval '5 minutes' THEN logged_at ELSE predicted_at
END WHERE status = 'predicted';
DROP INDEX records_waiting, records_waiting_skewed;
ALTER TABLE records DROP COLUMN feedback_is_default;
-- For maturity, which the worker checks at each drain. Small: it holds only rows that still wait.
CREATE INDEX records_maturing ON records (application, matures_at) WHERE matures_at IS NOT NULL;
""",
}
"""Numbers only grow. The statements of a released migration never change; their comments may."""

_MIGRATION = """
DO $joinback$
BEGIN
    -- One at a time, whoever runs it: two workers that start together, or a person.
    PERFORM pg_advisory_xact_lock({lock});
    CREATE TABLE IF NOT EXISTS joinback_migrations (
        number     integer PRIMARY KEY,
        applied_at timestamptz NOT NULL DEFAULT now()
    );
    IF NOT EXISTS (SELECT FROM joinback_migrations WHERE number = {number}) THEN
{statements}
        INSERT INTO joinback_migrations (number) VALUES ({number});
    END IF;
END
$joinback$;
"""
_LOCK = 0x6A6F696E6261636B
"""The bytes of `joinback`: nobody else uses this advisory lock by accident."""

GRANTS = """
-- The least that a worker needs. Grant it to the role that JOINBACK_SINK_URL names: GRANT joinback_worker TO ...
DO $joinback$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'joinback_worker') THEN
        CREATE ROLE joinback_worker NOLOGIN;
    END IF;
    EXECUTE format('GRANT CONNECT, TEMPORARY ON DATABASE %I TO joinback_worker', current_database());
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO joinback_worker', current_schema());
END
$joinback$;
GRANT SELECT, INSERT, UPDATE, DELETE ON records TO joinback_worker;
GRANT SELECT ON joinback_migrations TO joinback_worker;
-- A role that only reads needs: GRANT SELECT ON records, joinback_migrations TO ...
"""


def migration(number: int) -> str:
    """Return the SQL of one migration and of its record: one transaction, which changes nothing if it runs again."""
    statements = indent(MIGRATIONS[number].strip(), " " * 8)
    return _MIGRATION.format(lock=_LOCK, number=number, statements=statements)
