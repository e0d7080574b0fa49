"""The view `records` over a lake, in DuckDB's SQL. It holds the rules of the settings by which it is printed."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from joinback.settings import Settings
from joinback_worker.config.rules_file import config_of
from joinback_worker.law.rules import Rules, plain_fields

_VIEW = (Path(__file__).parent / "duckdb_records.sql").read_text(encoding="utf-8")
_JSONL = """(
    SELECT * REPLACE (
        -- A JSON null is a value; it does not mean that there is none.
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
    """Return the table function that reads the files of a Parquet sink."""
    return f"read_parquet({_text(f'{directory}/*.parquet')})"


def jsonl_source(directory: Path) -> str:
    """Return the query that reads the files of a JSON Lines sink."""
    return _JSONL.format(files=_text(f"{directory}/*.jsonl"))


def delta_source(location: str) -> str:
    """Return the table function of DuckDB's delta extension. Each query reads the newest version of the table."""
    return f"delta_scan({_text(location)})"


def view(source: str, settings: Settings) -> str:
    """Return two statements: the view `events` of what is stored, and the view `records` over it."""
    config = config_of(settings)
    policies = [_policy(application, rules) for application, rules in sorted(config.applications.items())]
    return _VIEW.format(
        source=source,
        join_window_s=config.otherwise.join_window_s,
        policies="\n    UNION ALL ".join(policies) or f"{_policy('', config.otherwise)} WHERE false",
        has_label=_has_label(config.applications),
    )


def _has_label(applications: Mapping[str, Rules]) -> str:
    """Return the condition that a feedback event gives a label: a declared one, or any field if none are declared."""
    declared = [
        f"WHEN {_text(application)} THEN list_has_any(fields, {_list(rules.labels)})"
        for application, rules in sorted(applications.items())
        if rules.labels
    ]
    return f"CASE application {' '.join(declared)} ELSE len(fields) > 0 END" if declared else "len(fields) > 0"


def _policy(application: str, rules: Rules) -> str:
    fields = [
        f"{_text(field.name)}: {{'reducer': {_text(field.reducer)}, 'scalar': {_text_or_null(field.scalar)},"
        f" 'sources': {_list(field.sources)}, 'default': {_text_or_null(field.default)},"
        f" 'maturity_s': {field.maturity_s or 'NULL'}::BIGINT}}"
        for field in plain_fields(rules)
    ]
    kind = (
        'MAP(VARCHAR, STRUCT(reducer VARCHAR, scalar VARCHAR, sources VARCHAR[], "default" VARCHAR, maturity_s BIGINT))'
    )
    return (
        f"SELECT {_text(application)}, {rules.join_window_s}::BIGINT, {rules.row_maturity_s or 'NULL'}::BIGINT,"
        f" {_list(rules.labels)}, MAP {{{', '.join(fields)}}}::{kind}"
    )


def _list(texts: Iterable[str]) -> str:
    return f"[{', '.join(map(_text, texts))}]::VARCHAR[]"


def _text_or_null(value: str | None) -> str:
    return "NULL::VARCHAR" if value is None else _text(value)


def _text(value: str) -> str:
    """Return the text as a literal of SQL."""
    return "'" + value.replace("'", "''") + "'"
