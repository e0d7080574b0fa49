"""Tables of the release before, with rows in them: the worker migrates them, and the law holds of every row."""

import asyncio
import json
import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from conftest import PATIENCE_S, Cli
from engines import ENGINES
from events import feedback, prediction, record
from msgspec import structs
from postgres_server import fresh_database
from ruled import file, policy

import joinback
from joinback.settings import Settings
from joinback_worker.errors import SinkOlder, SinkUnavailable
from joinback_worker.law.record import Record
from joinback_worker.law.row import Row, project
from joinback_worker.law.rules import Policy
from joinback_worker.sinks import open_sink, postgres_schema, sqlite_table

RULES = {"maturity_s": 600, "feedback": {"repaid": {"default": False}, "days": {"default": 0}}}
NOW = datetime(2026, 11, 23, 12, 20, tzinfo=UTC)
HELD: dict[str, dict[str, bytes]] = {
    "young": {"prediction:p": prediction(900)},
    "old": {"prediction:p": prediction(0)},
    "closed": {"prediction:p": prediction(-9_000)},
    "joined": {"prediction:p": prediction(0), "feedback:f": feedback(60, repaid=True)},
    "orphan": {"feedback:f": feedback(60, repaid=True)},
    "skewed": {"prediction:p": prediction(0).replace(b'"at":"2026', b'"at":"2036')},
}
"""What stands in the table; only `closed` was unlabelled, with both defaults, before the release."""
RECORDS = {key: record(fields, key) for key, fields in HELD.items()}


def cells_of_before() -> Iterator[dict[str, Any]]:
    """The rows as the release before wrote them: a cell per column of its table."""
    for key, held in RECORDS.items():
        row = project(held, policy())[0]
        cells = structs.asdict(row)
        for name in ("default_fields", "field_times", "matures_at"):
            del cells[name]
        if key == "closed":
            cells |= {"status": "unlabelled", "feedback": b'{"repaid":false,"days":0}'}
        yield cells | {"feedback_is_default": key == "closed"}


def old_sqlite(tmp_path: Path) -> str:
    with closing(sqlite3.connect(tmp_path / "old.db", isolation_level=None)) as database:
        for statement in sqlite_table.migration(1):
            database.execute(statement)
        for cells in cells_of_before():
            plain = {name: cell.decode() if isinstance(cell, bytes) else cell for name, cell in cells.items()}
            for name in ("predicted_at", "logged_at", "feedback_at", "first_feedback_at"):
                plain[name] = plain[name] and plain[name].strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            names = ", ".join(plain)
            values = ", ".join("?" * len(plain))
            database.execute(
                f"INSERT INTO records ({names}, updated_at, row_version) VALUES ({values}, 'x', 1)", [*plain.values()]
            )
    return f"sqlite:///{tmp_path}/old.db"


def old_postgres(url: str) -> str:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(postgres_schema.migration(1).encode())
        for cells in cells_of_before():
            plain = {name: cell.decode() if isinstance(cell, bytes) else cell for name, cell in cells.items()}
            if plain["inputs"] is not None:
                plain["prediction"] = f'{{"inputs":{plain["inputs"]},"outputs":{plain["outputs"]}}}'
            names, values = ", ".join(plain), ", ".join(["%s"] * len(plain))
            connection.execute(f"INSERT INTO records ({names}) VALUES ({values})".encode(), [*plain.values()])
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A sink that the release before left."""
    if request.param == "sqlite":
        yield old_sqlite(tmp_path)
    else:
        with fresh_database() as database:
            yield old_postgres(database)


def on(url: str, rules: Policy, records: list[Record], *, refold: bool = False) -> tuple[int, dict[str, Row]]:
    async def run() -> tuple[int, dict[str, Row]]:
        async with open_sink(url, rules) as sink:
            await sink.merge(records)
            closed = await sink.close_matured("loans")
            if refold:
                await sink.refold("loans")
            return closed, await sink.get("loans", list(HELD))

    return asyncio.run(run())


def plain(row: Row) -> Mapping[str, Any]:
    cells = structs.asdict(row)
    return {name: msgspec.json.decode(cell) if isinstance(cell, bytes) else cell for name, cell in cells.items()}


def test_what_waits_is_closed_as_before(url: str) -> None:
    """Rows that waited for their maturity wait on, or are closed at the first tick; closed ones say what is default."""
    closed, rows = on(url, policy(NOW, **RULES), [])
    assert closed == 2
    statuses = {key: row.status for key, row in rows.items()}
    assert statuses == {
        "young": "predicted", "old": "unlabelled", "closed": "unlabelled", "joined": "joined", "orphan": "orphan",
        "skewed": "unlabelled",
    }  # fmt: skip
    assert rows["closed"].default_fields == b'["days","repaid"]'
    assert rows["young"].matures_at == datetime(2026, 11, 23, 12, 25, tzinfo=UTC)
    assert on(url, policy(NOW, **RULES), [])[0] == 0


def test_rows_are_those_of_today(url: str) -> None:
    """Late feedback joins them, and a refold makes each what the law makes of its events."""
    late = record({"feedback:g": feedback(90, days=3)}, "old")
    _, rows = on(url, policy(NOW, **RULES), [late], refold=True)
    wholes = RECORDS | {"old": record(HELD["old"] | {"feedback:g": feedback(90, days=3)}, "old")}
    assert {key: plain(row) for key, row in rows.items()} == {
        key: plain(project(whole, policy(NOW, **RULES))[0]) for key, whole in wholes.items()
    }


@pytest.mark.heavy
def test_clickhouse(tmp_path: Path) -> None:
    """Events and policies of the release before: the view folds them by its new law, also before the first drain."""
    from clickhouse_connect import get_client

    from joinback_worker.sinks import clickhouse_schema
    from joinback_worker.sinks.event_columns import EventColumns
    from joinback_worker.sinks.event_log import COLUMNS

    with closing(get_client(interface="chdb", path=f"{tmp_path}/chdb")) as client:
        for statement in (*clickhouse_schema.MIGRATIONS[0], clickhouse_schema.MIGRATIONS_TABLE):
            client.command(statement)
        client.insert("joinback_migrations", [(1, NOW)], column_names=["number", "applied_at"])
        old = ("loans", 15_552_000.0, {"days": "sum"}, None, '{"repaid":false}', NOW)
        client.insert("policies", [old])
        events = EventColumns(list(RECORDS.values()), NOW)
        columns = [getattr(events, name) for name in COLUMNS]
        types = list(clickhouse_schema.COLUMN_TYPES.values())
        client.insert("events", columns, column_names=COLUMNS, column_type_names=types, column_oriented=True)
    url = f"chdb:///{tmp_path}/chdb"

    async def run(merges: bool) -> None:
        async with open_sink(url, policy(datetime.now(UTC), **RULES)) as sink:
            await sink.merge([RECORDS["young"]] if merges else [])

    looked = open_sink(url, policy())
    looked.migrates = False
    with pytest.raises(SinkOlder, match="schema 1"):
        asyncio.run(looked.__aenter__())
    asyncio.run(run(False))
    settings = Settings(config=file(tmp_path, loans=RULES))
    found = ENGINES["clickhouse"].rows(url, settings)
    assert {row["status"] for row in found.values()} == {"predicted", "joined", "orphan"}
    asyncio.run(run(True))
    found = ENGINES["clickhouse"].rows(url, settings)
    assert found["young"]["default_fields"] == ["days", "repaid"]
    assert json.loads(json.dumps(found["joined"]["feedback"])) == {"days": 0, "repaid": True}


def opened(url: str, *, read_only: bool = False) -> None:
    async def run() -> None:
        async with open_sink(url, policy(), read_only=read_only):
            pass

    asyncio.run(run())


def altered(url: str, statement: str) -> None:
    """Run a statement of the operator's own."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database:
            database.execute(statement)
    else:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(statement.encode())


def test_who_only_reads_is_told_the_release(url: str, client: joinback.Client, cli: Cli) -> None:
    """A table of an older release is whole: whoever may not migrate it says of which it is, and who will."""
    says = "is of an older release (schema 1); a worker of this release migrates it at its next drain"
    client.log_record("loans", inputs=1, outputs=2, join_key="young")
    assert client.flush(PATIENCE_S)
    for read in (("sink", "copy", url, "stdout:"), ("explain", "loans", "young", "--json")):
        done = cli(*read, JOINBACK_SINK_URL=url)
        assert says in done.stdout + done.stderr
        assert "restore" not in done.stdout + done.stderr
    with pytest.raises(SinkOlder, match=re.escape(says)):
        opened(url, read_only=True)
    opened(url)
    opened(url, read_only=True)


def test_a_check_migrates_nothing(url: str, cli: Cli) -> None:
    """Workers of the older release still drain into it: a check says that a worker migrates it, and leaves it so."""
    for _ in range(2):
        done = cli("doctor", JOINBACK_SINK_URL=url)
        line = "of an older release (schema 1); the first worker or drain of this release migrates it"
        assert (done.returncode, line in done.stdout) == (0, True), done
    opened(url)
    assert "can be written" in cli("doctor", JOINBACK_SINK_URL=url).stdout


def test_a_view_on_the_column_that_goes(url: str) -> None:
    """It stops the migration, and the error names it; once it is dropped, the migration goes on."""
    altered(url, "CREATE VIEW told AS SELECT join_key FROM records WHERE NOT feedback_is_default")
    says = (
        "drop the view told, which reads feedback_is_default; migration 2 drops that column, and default_fields"
        " replaces it"
    )
    for _ in range(2):
        with pytest.raises(SinkUnavailable, match=says):
            opened(url)
    altered(url, "DROP VIEW told")
    opened(url)
