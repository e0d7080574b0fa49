"""docs/how-to/sinks.md, query.md and reference/row.md do not lie: URLs, columns, queries, and the recipe for polars."""

import asyncio
import os
import re
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import model
import pytest
from conftest import PATIENCE_S
from engines import ENGINES, Engine
from events import plain_records
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from loans import loans
from ruled import file, reducing

from joinback.settings import Settings
from joinback_worker.answers.stores import DIALECTS
from joinback_worker.law.record import Record
from joinback_worker.law.row import Row
from joinback_worker.law.rules import Policy
from joinback_worker.sinks import lake_view, open_sink
from joinback_worker.sinks.schemes import SCHEMES

DOCS = Path(__file__).parents[2] / "docs"
URLS = (DOCS / "how-to" / "sinks.md").read_text()
QUERIES = (DOCS / "how-to" / "query.md").read_text()
COLUMNS = (DOCS / "reference" / "row.md").read_text()
POLICY = Policy()


def section(heading: str) -> str:
    (text,) = re.findall(rf"^### {heading}.*?\n(.*?)(?=^##|\Z)", QUERIES, re.MULTILINE | re.DOTALL)
    return str(text)


def block(text: str, language: str) -> str:
    (code,) = re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return str(code)


def put(url: str, records: list[Record]) -> None:
    async def run() -> None:
        async with open_sink(url, POLICY) as sink:
            await sink.merge(records)

    asyncio.run(run())


def sqlite(url: str, query: str) -> list[Any]:
    import sqlite3

    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database:
        return database.execute(query).fetchall()


def postgresql(url: str, query: str) -> list[Any]:
    import psycopg

    with psycopg.connect(url) as connection:
        return connection.execute(query.encode()).fetchall()


def clickhouse(url: str, query: str) -> list[Any]:
    from clickhouse_connect import get_client

    with closing(get_client(interface="chdb", path=urlsplit(url).path[1:])) as client:
        return list(client.query(query.rstrip().rstrip(";")).result_rows)


def duckdb(url: str, query: str) -> list[Any]:
    import duckdb

    with duckdb.connect() as database:
        database.execute("SET TimeZone = 'UTC'")
        database.execute(lake_view.view(lake_view.parquet_source(Path(urlsplit(url).path[1:])), Settings()))
        return database.execute(query).fetchall()


@pytest.mark.parametrize(
    ("heading", "engine", "ask"),
    [
        ("SQLite", ENGINES["sqlite"], sqlite),
        ("PostgreSQL", ENGINES["postgresql"], postgresql),
        pytest.param("ClickHouse", ENGINES["clickhouse"], clickhouse, marks=pytest.mark.heavy),
        ("DuckDB", ENGINES["parquet"], duckdb),
    ],
    ids=["sqlite", "postgresql", "clickhouse", "duckdb"],
)
def test_the_query_to_begin_with(heading: str, engine: Engine, ask: Any, tmp_path: Path) -> None:
    """Accuracy by day and version, with coverage and bounds, comes out as the document shows it."""
    with engine.place(tmp_path) as url:
        put(url, loans())
        answer = ask(url, block(section(heading), "sql"))
    shown = [" | ".join(str(cell) for cell in row) for row in answer]
    head = "day | version | predictions | coverage | so_far | at_2_days | at_least | at_most"
    assert "\n".join([head, *shown]) + "\n" == block(section(heading), "text")


def test_the_polars_recipe(tmp_path: Path) -> None:
    """For any history without retractions that name events, the recipe gives the rows of the model."""
    import polars as pl

    namespace: dict[str, Any] = {}
    exec(block(section("polars"), "python"), namespace)
    batches = iter(range(1_000))

    @hypothesis_settings(max_examples=30)
    @given(st.lists(plain_records.filter(lambda record: record.has_events), min_size=1, max_size=5))
    def check(records: list[Record]) -> None:
        directory = tmp_path / f"batch_{next(batches)}"
        for number, record in enumerate(records):
            record.join_key = f"k{number}"
        put(f"parquet:///{directory}", records)
        put(f"parquet:///{directory}", records[::-1])
        found = namespace["records"](pl.scan_parquet(f"{directory}/*.parquet")).collect()
        rows = {row["join_key"]: row for row in found.iter_rows(named=True)}
        assert len(rows) == len(found) == len(records)
        for record in records:
            want, row = model.row(model.events_of(record)), rows[record.join_key]
            got = model.parts(lambda column, row=row: row.get(column))
            for part in ("status", "inputs", "outputs", "feedback", "feedback_delay_s"):
                assert got[part] == want[part], part

    check()


def test_every_url_is_in_the_table() -> None:
    """The schemes that the worker serves are those of the document."""
    table = set(re.findall(r"`([a-z0-9+]+):(?://\S*)?`", URLS.partition("## Write the URL")[0]))
    assert table - {"duckdb"} == set(SCHEMES)


def test_what_reads_a_lake_is_in_the_table() -> None:
    """Each sink that `joinback report` folds by DuckDB has the extra `report`, and no other has."""
    rows = re.findall(r"^\| `([a-z0-9+]+):.*? \| ([^|]*) \|", URLS.partition("## Write the URL")[0], re.MULTILINE)
    lakes = {scheme for scheme, _ in rows if SCHEMES[scheme] not in {*DIALECTS, "stdout"}}
    assert {scheme for scheme, extras in rows if "`report`" in extras} == lakes != set()


def test_the_old_sink_has_a_name() -> None:
    """Whoever never set a sink copies from the default one; whoever did, from that."""
    (line,) = re.findall(r"^export OLD_SINK_URL=.*$", URLS, re.MULTILINE)
    for environment, old in (({}, "embedded:"), ({"JOINBACK_SINK_URL": "jsonl:////lake"}, "jsonl:////lake")):
        command = ["/bin/sh", "-c", f"{line}; echo $OLD_SINK_URL"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert done.stdout == old + "\n"


def test_the_columns_are_those_of_the_row() -> None:
    """Each column of `records` is explained, and no other."""
    table = COLUMNS.partition("## Types")[0]
    named = {
        name for cell in re.findall(r"^\| (`[^|]+) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", cell)
    }
    assert named == {*Row.__struct_fields__, "updated_at", "row_version"}


def test_a_printed_view_is_what_duckdb_reads(tmp_path: Path) -> None:
    """`joinback sink schema` prints SQL that makes the view, with the policies of the environment in it."""
    import duckdb

    put(f"jsonl:///{tmp_path}/lake", loans())
    environment = {"JOINBACK_CONFIG": file(tmp_path, loans=reducing(repaid="count")), "PATH": "/usr/bin:/bin"}
    # The tree under test, where it is not the installed one.
    environment["PYTHONPATH"] = os.environ.get("PYTHONPATH", "")
    command = [sys.executable, "-m", "joinback_worker", "sink", "schema", f"jsonl:///{tmp_path}/lake"]
    printed = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=True
    ).stdout
    with duckdb.connect() as database:
        database.execute(printed)
        (row,) = database.execute("SELECT feedback FROM records WHERE join_key = 'loan_0'").fetchall()
    assert row == ('{"repaid":1}',)
