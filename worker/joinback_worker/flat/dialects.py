"""Typed columns in each engine's SQL: the value of a field in a JSON column, or NULL if it has another kind.

The rules are those of `kinds.value_of`, by which Python reads. Names and keys may be any text, so each is quoted.
"""

from collections.abc import Mapping
from typing import Protocol

from .columns import Column, Field

FLOAT_MAX = "1.7976931348623157e308"


class Dialect(Protocol):
    """How one engine spells SQL."""

    def name(self, identifier: str) -> str:
        """Return the identifier, quoted."""

    def text(self, value: str) -> str:
        """Return the text as a literal."""

    def value(self, field: Field, kind: str) -> str:
        """Return the expression for the value of the field in this kind."""

    def time(self, key: str) -> str:
        """Return the expression for the time at which a feedback field first had a value."""

    def is_default(self, key: str) -> str:
        """Return the expression that is true if a feedback field has only its default."""


def expression(dialect: Dialect, column: Column) -> str:
    """Return the expression of a column over `records`."""
    key = column.field.key or ""
    if column.part == "value":
        return dialect.value(column.field, column.kind)
    return dialect.time(key) if column.part == "at" else dialect.is_default(key)


class _Ansi:
    def name(self, identifier: str) -> str:
        return '"' + identifier.replace('"', '""') + '"'

    def text(self, value: str) -> str:
        return "'" + value.replace("'", "''") + "'"


class SQLite(_Ansi):
    """JSON is in text columns. Without types for them, true and false are 1 and 0, and times are texts in ISO 8601."""

    def value(self, field: Field, kind: str) -> str:
        if field.key is not None and any(c in '"\\' or c < " " for c in field.key):
            # A path cannot hold such a key.
            found = (
                f"FROM json_each({field.place}) WHERE key = {self.text(field.key)}"
                f" AND json_type({field.place}) = 'object'"
            )
            type_, value = f"(SELECT type {found})", f"(SELECT value {found})"
            text = f"CASE {type_} WHEN 'true' THEN 'true' WHEN 'false' THEN 'false' ELSE json_quote({value}) END"
        else:
            path = self.text("$" if field.key is None else f'$."{field.key}"')
            type_, value = f"json_type({field.place}, {path})", f"json_extract({field.place}, {path})"
            # Half of `[v,v]` keeps all digits of a number. SQLite before 3.38 has no operator ->.
            twice = f"json_extract({field.place}, {path}, {path})"
            text = f"substr({twice}, 2, (length({twice}) - 3) / 2)"
        sql = {
            "bool": f"CASE {type_} WHEN 'true' THEN 1 WHEN 'false' THEN 0 END",
            # SQLite extracts an integer beyond 64 bits as a double.
            "int": f"CASE WHEN {type_} = 'integer' AND typeof({value}) = 'integer' THEN {value} END",
            "float": f"CASE WHEN {type_} IN ('integer', 'real') AND CAST({value} AS REAL) BETWEEN -{FLOAT_MAX}"
            f" AND {FLOAT_MAX} THEN CAST({value} AS REAL) END",
            "str": f"CASE {type_} WHEN 'text' THEN {value} END",
            "json": f"CASE WHEN {type_} <> 'null' THEN {text} END",
        }[kind]
        return sql if field.key is not None else f"CASE WHEN json_type({field.place}) <> 'object' THEN {sql} END"

    def time(self, key: str) -> str:
        return f"(SELECT json_extract(value, '$.first') FROM json_each(field_times) WHERE key = {self.text(key)})"  # noqa: S608

    def is_default(self, key: str) -> str:
        return f"EXISTS (SELECT 1 FROM json_each(default_fields) WHERE value = {self.text(key)})"  # noqa: S608


class PostgreSQL(_Ansi):
    """JSON is in jsonb columns. Their numbers have any size: to cast one that no double holds would be an error."""

    def value(self, field: Field, kind: str) -> str:
        v = f"({field.place} -> {self.text(field.key)})" if field.key is not None else field.place
        number = f"({v} #>> '{{}}')::numeric"
        sql = {
            "bool": f"CASE jsonb_typeof({v}) WHEN 'boolean' THEN ({v} #>> '{{}}')::boolean END",
            "int": f"CASE WHEN jsonb_typeof({v}) = 'number' AND {v} #>> '{{}}' ~ '^-?[0-9]{{1,19}}$' THEN CASE WHEN"
            f" {number} BETWEEN -9223372036854775808 AND 9223372036854775807 THEN ({v} #>> '{{}}')::bigint END END",
            "float": f"CASE WHEN jsonb_typeof({v}) = 'number' THEN CASE WHEN abs({number}) > {FLOAT_MAX} THEN NULL"
            f" WHEN abs({number}) < 5e-324 THEN 0::float8 ELSE ({v} #>> '{{}}')::float8 END END",
            "str": f"CASE jsonb_typeof({v}) WHEN 'string' THEN {v} #>> '{{}}' END",
            "json": f"CASE WHEN jsonb_typeof({v}) <> 'null' THEN {v} END",
        }[kind]
        return sql if field.key is not None else f"CASE WHEN jsonb_typeof({v}) <> 'object' THEN {sql} END"

    def time(self, key: str) -> str:
        return f"(field_times -> {self.text(key)} ->> 'first')::timestamptz"

    def is_default(self, key: str) -> str:
        return f"coalesce(jsonb_exists(default_fields, {self.text(key)}), false)"


class ClickHouse:
    """JSON is in text columns. Their functions take any key, and read an integer beyond 64 bits as text.

    An alias after AS counts everywhere in the query: an alias `inputs` would hide the column of this name. So columns
    are qualified.
    """

    def name(self, identifier: str) -> str:
        return "`" + identifier.replace("\\", "\\\\").replace("`", "\\`") + "`"

    def text(self, value: str) -> str:
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"

    def value(self, field: Field, kind: str) -> str:
        at = f"ifNull(records.{field.place}, '')" + ("" if field.key is None else f", {self.text(field.key)}")
        # A text as key finds nothing in an array.
        type_ = f"JSONType({at})"
        number = f"JSONExtractFloat({at})"
        condition, value = {
            "bool": (f"{type_} = 'Bool'", f"JSONExtractBool({at})"),
            "int": (f"{type_} = 'Int64'", f"JSONExtractInt({at})"),
            "float": (f"{type_} IN ('Int64', 'UInt64', 'Double') AND isFinite({number})", number),
            "str": (f"{type_} = 'String'", f"JSONExtractString({at})"),
            "json": (f"{type_} != 'Null'", f"JSONExtractRaw({at})"),
        }[kind]
        if field.key is None:
            condition += f" AND {type_} != 'Object'"
        engines = {"bool": "Bool", "int": "Int64", "float": "Float64", "str": "String", "json": "String"}[kind]
        return f"if({condition}, CAST({value}, 'Nullable({engines})'), NULL)"

    def time(self, key: str) -> str:
        told = f"JSONExtractString(ifNull(records.field_times, ''), {self.text(key)}, 'first')"
        return f"parseDateTime64BestEffortOrNull({told}, 6, 'UTC')"

    def is_default(self, key: str) -> str:
        return f"has(JSONExtract(ifNull(records.default_fields, '[]'), 'Array(String)'), {self.text(key)})"


class DuckDB(_Ansi):
    """JSON columns are read by JSONPath, or by a JSON pointer for a key that JSONPath cannot hold."""

    def value(self, field: Field, kind: str) -> str:
        path = "'$'"
        if field.key is not None:
            path = self.text(f'$."{field.key}"')
            if not field.key or any(c in '"\\*' or c < " " for c in field.key):
                path = self.text("/" + field.key.replace("~", "~0").replace("/", "~1"))
        type_, v = f"json_type({field.place}, {path})", f"json_extract({field.place}, {path})"
        sql = {
            "bool": f"CASE WHEN {type_} = 'BOOLEAN' THEN {v}::BOOLEAN END",
            "int": f"CASE WHEN {type_} IN ('BIGINT', 'UBIGINT') THEN TRY_CAST({v} AS BIGINT) END",
            "float": f"CASE WHEN {type_} IN ('BIGINT', 'UBIGINT', 'HUGEINT', 'DOUBLE')"
            f" AND isfinite(TRY_CAST({v} AS DOUBLE)) THEN TRY_CAST({v} AS DOUBLE) END",
            "str": f"CASE WHEN {type_} = 'VARCHAR' THEN json_extract_string({field.place}, {path}) END",
            "json": f"CASE WHEN {type_} <> 'NULL' THEN {v} END",
        }[kind]
        return sql if field.key is not None else f"CASE WHEN json_type({field.place}) <> 'OBJECT' THEN {sql} END"

    def time(self, key: str) -> str:
        # By a map, since a path cannot hold every key.
        return f"TRY_CAST(CAST(field_times AS MAP(VARCHAR, JSON))[{self.text(key)}] ->> 'first' AS TIMESTAMPTZ)"

    def is_default(self, key: str) -> str:
        names = "from_json(default_fields, '[\"VARCHAR\"]')"
        return f"coalesce(list_contains({names}, {self.text(key)}), false)"


DIALECTS: Mapping[str, Dialect] = {
    "sqlite": SQLite(),
    "postgres": PostgreSQL(),
    "clickhouse": ClickHouse(),
    "duckdb": DuckDB(),
}
