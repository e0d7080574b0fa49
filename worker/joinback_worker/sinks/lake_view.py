"""The view `records` over a lake, in DuckDB's SQL, with the policies of these settings written into it."""

from collections.abc import Iterable
from pathlib import Path

import msgspec

from joinback.settings import Settings

_VIEW = (Path(__file__).parent / "duckdb_records.sql").read_text(encoding="utf-8")
_JSONL = """(
    SELECT * REPLACE (
        -- A JSON null is a value, not the lack of one.
        CASE kind WHEN 'prediction' THEN coalesce(inputs, 'null') END AS inputs,
        CASE kind WHEN 'prediction' THEN coalesce(outputs, 'null') END AS outputs,
        list_transform(field_values, lambda value: coalesce(value, 'null')) AS field_values
    )
    FROM read_json({files}, format = 'newline_delimited', columns = {{
        'application': 'VARCHAR', 'join_key': 'VARCHAR', 'kind': 'VARCHAR', 'event_id': 'VARCHAR', 'digest': 'BIGINT',
        'ordered_at_us': 'BIGINT', 'event_at': 'TIMESTAMPTZ', 'logged_at': 'TIMESTAMPTZ', 'version': 'VARCHAR',
        'environment': 'VARCHAR', 'tags': 'JSON', 'event': 'JSON', 'inputs': 'JSON', 'outputs': 'JSON',
        'sample_rate': 'DOUBLE', 'fields': 'VARCHAR[]', 'field_values': 'JSON[]', 'all_fields': 'BOOLEAN',
        'written_at': 'TIMESTAMPTZ'
    }})
)"""


def parquet_source(directory: Path) -> str:
    return f"read_parquet({_text(f'{directory}/*.parquet')})"


def jsonl_source(directory: Path) -> str:
    return _JSONL.format(files=_text(f"{directory}/*.jsonl"))


def delta_source(location: str) -> str:
    """By DuckDB's delta extension, which knows the table's newest version at each query."""
    return f"delta_scan({_text(location)})"


def view(source: str, settings: Settings) -> str:
    """Two statements: `events` as it is stored, and `records` over it."""
    named = sorted({*settings.reducers, *settings.maturity_s, *settings.default_feedback})
    policies = [_policy(settings, application) for application in named]
    nobody = "SELECT NULL::VARCHAR, NULL::MAP(VARCHAR, VARCHAR), NULL::BIGINT, NULL::VARCHAR WHERE false"
    return _VIEW.format(
        source=source,
        join_window_s=settings.join_window_s,
        policies="\n    UNION ALL ".join(policies) or nobody,
    )


def _policy(settings: Settings, application: str) -> str:
    reducers = settings.reducers.get(application, {})
    default = settings.default_feedback.get(application)
    pairs = f"MAP {{{_listed(f'{_text(name)}: {_text(reducer)}' for name, reducer in reducers.items())}}}"
    return (
        f"SELECT {_text(application)}, {pairs if reducers else 'NULL::MAP(VARCHAR, VARCHAR)'},"
        f" {settings.maturity_s.get(application, 'NULL')}::BIGINT,"
        f" {_text(msgspec.json.encode(default).decode()) if default else 'NULL'}::VARCHAR"
    )


def _listed(parts: Iterable[str]) -> str:
    return ", ".join(parts)


def _text(value: str) -> str:
    """A literal of SQL."""
    return "'" + value.replace("'", "''") + "'"
