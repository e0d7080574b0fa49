"""Records with every kind of field, and typed views as their engines' own SQL reads them."""

import asyncio
import json
from collections.abc import Iterable, Mapping
from contextlib import closing
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import msgspec
from engines import Engine, Lake
from events import feedback, prediction, record
from msgspec import Raw, structs

from joinback.settings import Settings
from joinback_worker.flat.views import ENGINES, View, name_of, statements, view_of
from joinback_worker.law.record import Record
from joinback_worker.law.rules import Policy
from joinback_worker.sinks import lake_view, open_sink


def put(url: str, records: Iterable[Record], policy: Policy | None = None) -> None:
    """Merge the records, in two batches: an append store then holds them in two files."""

    async def run() -> None:
        async with open_sink(url, policy or Policy()) as sink:
            for some in (list(records), [_half(record) for record in records]):
                await sink.merge(some)
                await sink.close_matured("loans")

    asyncio.run(run())


def _half(record: Record) -> Record:
    return structs.replace(record, predictions={})


def made(url: str, application: str = "loans", policy: Policy | None = None, name: str | None = None) -> View:
    """Make the view, where the sink keeps one."""

    async def run() -> View:
        async with open_sink(url, policy or Policy()) as sink:
            view = await view_of(sink, application, (policy or Policy()).rules, name or name_of(application))
            if (engine := ENGINES[url.partition(":")[0]]) != "duckdb":
                await sink.run_sql(statements(view, engine))
            return view

    return asyncio.run(run())


def queried(engine: Engine, url: str, view: View, settings: Settings | None = None) -> list[dict[str, Any]]:
    """All of the view, by the engine's own SQL, ordered by join key; times in UTC, JSON decoded."""
    query = f"SELECT * FROM {view.name} ORDER BY join_key"
    rows: list[Mapping[str, Any]]
    if engine.name == "sqlite":
        import sqlite3

        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database:
            database.row_factory = sqlite3.Row
            rows = [dict(row) for row in database.execute(query)]
    elif engine.name == "postgresql":
        import psycopg
        from psycopg.rows import dict_row

        with psycopg.connect(url, row_factory=dict_row) as connection:
            rows = list(connection.execute(query.encode()))
    elif engine.name == "clickhouse":
        from clickhouse_connect import get_client

        with closing(get_client(interface="chdb", path=urlsplit(url).path[1:])) as client:
            rows = list(client.query(query).named_results())
    else:
        assert isinstance(engine, Lake)
        import duckdb

        with duckdb.connect(config={"threads": 2}) as database:
            database.execute("SET TimeZone = 'UTC'")
            database.execute(lake_view.view(engine.source(database, url), settings or Settings()))
            for statement in statements(view, "duckdb"):
                database.execute(statement)
            found = database.execute(query)
            names = [column[0] for column in found.description or ()]
            rows = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    kinds = {column.name: column.kind for column in view.columns} | {"predicted_at": "time"}
    return [{name: plain(kinds.get(name), value) for name, value in row.items()} for row in rows]


def plain(kind: str | None, value: Any) -> Any:
    """A cell in Python's types, whatever the engine's driver makes of it."""
    if value is None:
        return None
    if kind == "time":
        time = datetime.fromisoformat(value) if isinstance(value, str) else value
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    if kind == "bool":
        assert value in (True, False)
        return bool(value)
    if kind == "json" and isinstance(value, str):
        try:
            return json.loads(value)
        except ValueError:
            return value  # psycopg has decoded it
    return value


ODD = ["a.b", 'q"x', "it's", "a b", "ä/~", "a*/b", "back\\slash", "0", "$", "*", "select", "é", "%s", "{x}"]
ODD += [
    "inputs",
    "feedback",
    "feedback_delay_s",
    "application",
    "field_times",
    "default_fields",
    "records",
    "row_version",
]
"""Names of fields that quoting must survive."""


def raw(value: Any) -> Raw:
    return Raw(msgspec.json.encode(value))


def mixed_bag() -> list[Record]:
    """Ten records: each kind of value, missing and null ones, strays, clashes, nested ones, and odd names."""
    records = []
    for n in range(10):
        inputs: dict[str, Any] = {
            "amount": n if n % 2 else n + 0.5,
            "count": n - 5,
            "is_new": n % 2 == 0,
            "name": f"né {n}",
            "nested": {"deep": [n, None]},
            "mixed": n if n % 2 else "text",
            "version": f"v{n}",  # a fixed column
            "score": n,  # also an output
            "nothing": None,
            "huge": 2**70 + n,
            "repaid_at": n,  # what feedback's column is named
        } | {name: n for name in ODD}
        if n == 3:
            inputs = {"amount": None}
        outputs: Any = {"default": n / 10, "score": n / 3} if n != 4 else 0.25
        fields = {"prediction:p": prediction(n, inputs=inputs, outputs=outputs, version="1.0")}
        if n % 3 == 0:
            told = {"repaid": n % 2 == 0, "note": "x" * n, 'odd "label"': n}
            fields["feedback:f"] = feedback(100 + n, **told)
            fields["feedback:g"] = feedback(200 + n, repaid=True)
        records.append(record(fields, f"k{n}"))
    records.append(record({"feedback:lone": feedback(5, repaid=False)}, "orphan"))
    return records
