"""Typed views: what plain SQL reads on each engine, their names, and what happens when fields appear."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import flat_rows
import pytest
from conftest import Cli, Stack
from engines import EACH_ENGINE, ENGINES, Engine, Lake, named
from events import at, feedback, prediction, record
from flat_rows import made, mixed_bag, put, queried
from ruled import file, policy

import joinback
from joinback.errors import ConfigurationError, JoinbackError
from joinback.settings import Settings
from joinback_worker.flat.columns import Field, columns_of
from joinback_worker.flat.views import name_of


@pytest.fixture(params=EACH_ENGINE)
def engine(request: pytest.FixtureRequest) -> Engine:
    return ENGINES[request.param]


@pytest.fixture
def url(engine: Engine, tmp_path: Path) -> Iterator[str]:
    with engine.place(tmp_path) as url:
        yield url


def by_key(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {row["join_key"]: row for row in rows}


def read(url: str, application: str = "loans", **options: Any) -> list[dict[str, Any]]:
    """As `joinback.read` gives it, with JSON decoded."""
    table = joinback.read(url, application, **options)
    return list(table.to_pylist())


def test_the_same_values_on_every_engine(engine: Engine, url: str) -> None:
    """Plain SQL over the view and `joinback.read` give each field's own value, typed, and NULL where there is none."""
    put(url, mixed_bag())
    view = made(url)
    rows = by_key(queried(engine, url, view))
    kinds = {column.name: column.kind for column in view.columns}
    assert {name: kinds[name] for name in ("amount", "count", "is_new", "name", "nested", "mixed", "huge")} == {
        "amount": "float", "count": "int", "is_new": "bool", "name": "str", "nested": "json", "mixed": "json",
        "huge": "json",
    }  # fmt: skip
    row = rows["k6"]
    assert (row["predicted_at"], row["version"], row["status"], row["label_age_s"]) == (at(6), "1.0", "joined", 100)
    assert {name: row[name] for name in ("amount", "count", "is_new", "name", "mixed", "default")} == {
        "amount": 6.5, "count": 1, "is_new": True, "name": "né 6", "mixed": "text", "default": 0.6,
    }  # fmt: skip
    assert row["nested"] == {"deep": [6, None]}
    assert int(row["huge"]) == 2**70 + 6
    assert (row["in_version"], row["in_score"], row["out_score"], row["in_repaid_at"]) == ("v6", 6, 2.0, 6)
    assert {name: row[name] for name in flat_rows.ODD} == dict.fromkeys(flat_rows.ODD, 6)
    assert (row["repaid"], row["repaid_at"], row["repaid_is_default"]) == (True, at(106), False)
    assert (row['odd "label"'], row["note"], row["nothing"], row["outputs"]) == (6, "xxxxxx", None, None)
    assert (rows["k4"]["outputs"], rows["k4"]["default"], rows["k4"]["repaid"]) == (0.25, None, None)
    assert (rows["k3"]["amount"], rows["k3"]["count"], rows["k3"]["mixed"]) == (None, None, None)
    assert (rows["orphan"]["status"], rows["orphan"]["repaid"], rows["orphan"]["amount"]) == ("orphan", False, None)
    assert len(rows) == 11
    ours = read(url)
    assert [set(row) for row in ours] == [set(row) for row in rows.values()]
    for row in ours:
        want = rows[row["join_key"]]
        got = {name: flat_rows.plain(kinds.get(name), value) for name, value in row.items()}
        assert {name: _alike(value) for name, value in got.items()} == {
            name: _alike(value) for name, value in want.items()
        }


def _alike(value: Any) -> Any:
    # To ClickHouse's JSON functions an integer beyond 64 bits is text.
    return int(value) if isinstance(value, str) and len(value) > 20 and value.isdecimal() else value


def test_declared_types(engine: Engine, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What joinback.toml declares stands before what the rows hold: with its reducer, and before any value came."""
    tables = {
        "maturity_s": 60, "feedback": {
            "repaid": {"type": "bool", "default": False}, "calls": {"type": "bool", "reducer": "sum"},
            "grade": {"type": ["a", "b"]}, "later": {"type": "int"}, "open": {},
        },
    }  # fmt: skip
    rules = policy(at(1_000), **tables)
    monkeypatch.setenv("JOINBACK_CONFIG", file(tmp_path, loans=tables))
    told = feedback(10, repaid="true", calls=True, grade="a", open=1.5)
    records = [
        record({"prediction:p": prediction(0), "feedback:f": told, "feedback:g": feedback(20, calls=True)}, "told"),
        record({"prediction:p": prediction(0)}, "mature"),
        record({"prediction:p": prediction(0), "feedback:f": feedback(10, repaid="maybe")}, "stray"),
    ]
    put(url, records, rules)
    view = made(url, policy=rules)
    kinds = {c.name: c.kind for c in view.columns if c.part == "value" and c.field.place == "feedback"}
    assert kinds == {"repaid": "bool", "calls": "int", "grade": "str", "later": "int", "open": "float"}
    # Of files a row may be sampled in parts, and be met twice.
    assert view.survey.misfits.keys() == {"repaid"}
    rows = by_key(queried(engine, url, view, Settings(config=file(tmp_path, loans=tables))))
    assert (rows["told"]["repaid"], rows["told"]["calls"], rows["told"]["grade"]) == (True, 2, "a")
    assert (rows["mature"]["repaid"], rows["mature"]["repaid_at"], rows["mature"]["repaid_is_default"]) == (
        False, None, True,
    )  # fmt: skip
    assert (rows["stray"]["repaid"], rows["stray"]["repaid_at"]) == (None, at(10))
    assert rows["mature"]["status"] == "unlabelled"
    got = by_key(read(url))
    assert got["mature"]["repaid_is_default"]
    assert (got["told"]["calls"], got["stray"]["repaid"], got["mature"]["status"]) == (2, None, "unlabelled")
    if not isinstance(engine, Lake):
        # The rows, or the policy that stands beside them, say what was folded; only the types are the file's.
        monkeypatch.delenv("JOINBACK_CONFIG")
        got = by_key(read(url))
        assert (got["told"]["calls"], got["mature"]["repaid"], got["mature"]["status"]) == (2, "false", "unlabelled")


@pytest.fixture(params=named("sqlite", "postgresql", "clickhouse"))
def keeps(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Engine, str]]:
    """The engines that keep a view."""
    engine = ENGINES[request.param]
    with engine.place(tmp_path) as url:
        yield engine, url


def one(key: str, inputs: Any, **told: Any) -> Any:
    fields = {"prediction:p": prediction(0, inputs=inputs)}
    if told:
        fields["feedback:f"] = feedback(60, **told)
    return record(fields, key)


def test_fields_that_appear(keeps: tuple[Engine, str]) -> None:
    """Run again, a view gets new columns after its old ones, whose names and places stay, also where a name clashes."""
    engine, url = keeps
    put(url, [one("a", {"x": 1, "unknown": None})])
    first = made(url)
    put(url, [one("b", {"x": 2, "y": "new", "unknown": 7}, x=True)])
    second = made(url)
    assert [c.name for c in second.columns[: len(first.columns)]] == [c.name for c in first.columns]
    assert [c.name for c in second.added] == ["y", "fb_x", "fb_x_at", "fb_x_is_default"]
    assert [(old.kind, new.kind) for old, new in second.retyped] == [("json", "int")]
    rows = by_key(queried(engine, url, second))
    assert (rows["a"]["x"], rows["a"]["y"], rows["b"]["x"], rows["b"]["y"], rows["b"]["fb_x"]) == (
        1,
        None,
        2,
        "new",
        True,
    )
    assert rows["b"]["unknown"] == 7
    third = made(url)
    assert (third.added, third.retyped, third.columns) == ([], [], second.columns)


def test_a_type_that_changed(keeps: tuple[Engine, str]) -> None:
    """Integers beside which fractions came become doubles, and are told; what was seen once stays possible."""
    engine, url = keeps
    put(url, [one("a", {"x": 1})])
    made(url)
    put(url, [one("b", {"x": 1.5})])
    view = made(url)
    assert [(old.kind, new.kind) for old, new in view.retyped] == [("int", "float")]
    assert [row["x"] for row in queried(engine, url, view)] == [1.0, 1.5]


def test_what_was_seen_once_stays_possible(tmp_path: Path) -> None:
    """A type does not go back because a sample has no fraction any more: that would be told at each run."""
    path = tmp_path / "sink.db"
    put(f"sqlite:///{path}", [one("a", {"x": 1}), one("b", {"x": 1.5})])
    made(f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("DELETE FROM records WHERE join_key = 'b'")
    view = made(f"sqlite:///{path}")
    assert (view.retyped, [column.kind for column in view.columns if column.name == "x"]) == ([], ["float"])


@pytest.mark.parametrize("name", named("sqlite", "postgresql", "clickhouse", "parquet"))
def test_numbers_beyond_their_column(name: str, tmp_path: Path) -> None:
    """A number that a column cannot hold, and the sample did not have, is NULL and fails no query."""
    from msgspec import Raw

    with ENGINES[name].place(tmp_path) as url:
        put(url, [one("a", {"float": 1.5, "int": 1, "small": 0.5})])
        view = made(url)
        wide = Raw(b'{"float": -123456789e400, "int": 9223372036854775808, "small": 1e-400}')
        put(url, [one("b", wide)])
        first, second = queried(ENGINES[name], url, view)
    assert (first["float"], first["int"], first["small"]) == (1.5, 1, 0.5)
    if name != "clickhouse":
        # To its JSON functions what holds such a number is no JSON at all.
        assert second["small"] == 0
    assert (second["float"], second["int"]) == (None, None)


@pytest.mark.parametrize("statement", ["CREATE TABLE loans (x int)", "CREATE VIEW loans AS SELECT 1 AS x"])
def test_what_is_not_ours_stays(keeps: tuple[Engine, str], statement: str) -> None:
    """A table or view of somebody else under the name is refused, with the option to give, and stays as it is."""
    engine, url = keeps
    put(url, [one("a", {"x": 1})])

    from joinback_worker.sinks import open_sink

    async def execute() -> None:
        async with open_sink(url, policy()) as sink:
            engine_too = " ENGINE = Memory" if engine.name == "clickhouse" and "TABLE" in statement else ""
            await sink.run_sql([statement + engine_too])

    asyncio.run(execute())
    with pytest.raises(JoinbackError, match="--name"):
        made(url)
    assert queried(engine, url, made(url, name="my_loans"))[0]["x"] == 1


def test_two_applications_of_one_name(keeps: tuple[Engine, str]) -> None:
    """Two applications whose names make one identifier do not take each other's view."""
    engine, url = keeps
    from msgspec import structs

    odd = "Loans!'; drop table records; --"
    put(url, [one("a", {"x": 1}), structs.replace(one("b", {"x": 2}), application=odd)])
    assert name_of(odd) == "loans_drop_table_records"
    with pytest.raises(JoinbackError, match=r"--name"):
        made(url), made(url, odd, name="loans")
    assert [row["x"] for row in queried(engine, url, made(url, odd))] == [2]
    assert [row["x"] for row in queried(engine, url, made(url))] == [1]


@pytest.mark.parametrize(
    ("application", "name"),
    [
        ("loans", "loans"), ("Loan Risk (EU)", "loan_risk_eu"), ("7up", "app_7up"), ("***", "app"), ("ähm", "hm"),
        ("records", "records_view"), ("a" * 200, "a" * 54 + "_" + "fd1f5b34"),
    ],
)  # fmt: skip
def test_the_name_of_a_view(application: str, name: str) -> None:
    """It is made of the application's: lower case, letters, digits and _, within what every engine keeps."""
    assert len(name) <= 63
    assert name_of(application)[:54] == name[:54]
    assert len(name_of(application)) == len(name)


def test_a_given_name_is_an_identifier() -> None:
    """--name takes nothing that would need quoting."""
    for given in ("", "a b", "1a", 'a"b', "a" * 64, "Loans"):
        with pytest.raises(ConfigurationError, match="--name"):
            name_of("loans", given)


def test_names_of_columns() -> None:
    """Names are those of the fields; what clashes gets its place in front, long and unprintable ones are bounded."""
    pairs = [
        ("inputs", "Amount"), ("outputs", "amount"), ("feedback", "x"), ("inputs", "x_at"), ("inputs", "in_version"),
        ("inputs", "version"), ("inputs", "n" * 100), ("feedback", "f" * 100), ("feedback", "predicted"),
        ("inputs", "a\0b"), ("inputs", ""), ("outputs", None), ("inputs", "age_s"),
    ]  # fmt: skip
    fields = [Field(place, key) for place, key in pairs]
    names = [column.name for column in columns_of(dict.fromkeys(fields, "int"))]
    assert len({name.casefold() for name in names}) == len(names)
    assert {"in_Amount", "out_amount", "x", "x_at", "in_x_at", "in_version", "in_in_version"} <= set(names)
    assert {"a_b", "in_", "outputs", "in_age_s", "fb_predicted", "fb_predicted_at"} <= set(names)
    assert all(0 < len(name.encode()) <= 63 for name in names)
    # Whatever the order in which they were met.
    again = [column.name for column in columns_of(dict.fromkeys(reversed(fields), "int"))]
    assert again == names


def test_the_command(stack: Stack, cli: Cli) -> None:
    """`joinback sink views` makes the view, says its name, prints it on demand, and knows when nothing changed."""
    stack.client.log_record("loans", inputs={"amount": 900}, outputs={"default": 0.07}, join_key="a")
    stack.client.log_record("loans", feedback={"repaid": True}, join_key="a")
    stack.drain()
    done = cli("sink", "views", "loans")
    assert done.returncode == 0, done.stderr
    assert "view loans in sqlite:" in done.stdout
    assert "made, 5 typed columns, from a sample of 1 rows" in done.stdout
    path = stack.settings.sink_url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path)) as database:
        assert database.execute('SELECT amount, "default", repaid FROM loans').fetchall() == [(900, 0.07, 1)]
    assert "unchanged" in cli("sink", "views", "loans").stdout
    printed = cli("sink", "views", "loans", "--print", "--name", "other")
    with closing(sqlite3.connect(path)) as database:
        database.executescript(printed.stdout)
        assert database.execute("SELECT amount FROM other").fetchall() == [(900,)]
    assert "printed" in printed.stderr
    unknown = cli("sink", "views", "lones")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "holds no row of 'lones'" in unknown.stderr


def test_a_lake_is_printed(stack: Stack, cli: Cli, tmp_path: Path) -> None:
    """Over files the command prints SQL that DuckDB runs after that of `joinback sink schema`."""
    import duckdb

    url = f"parquet:///{tmp_path}/lake"
    stack.client.log_record("loans", inputs={"amount": 900}, outputs=0.5, join_key="a", feedback={"repaid": True})
    stack.drain(sink_url=url)
    sql = cli("sink", "schema", url).stdout + cli("sink", "views", "loans", url).stdout
    with duckdb.connect() as database:
        database.execute(sql)
        assert database.execute("SELECT amount, outputs, repaid FROM loans").fetchall() == [(900, 0.5, True)]


def test_rights(tmp_path: Path) -> None:
    """A role that may not create views is told so, with the fix."""
    import psycopg
    from postgres_server import fresh_database

    with fresh_database() as url:
        put(url, [one("a", {"x": 1})])
        with psycopg.connect(url, autocommit=True) as admin:
            admin.execute("DROP ROLE IF EXISTS poor")
            admin.execute("CREATE ROLE poor LOGIN")
            admin.execute("GRANT SELECT ON records, joinback_migrations TO poor")
        try:
            with pytest.raises(JoinbackError, match=r"GRANT CREATE ON SCHEMA"):
                made(url.replace("postgres@", "poor@"))
        finally:
            with psycopg.connect(url, autocommit=True) as admin:
                admin.execute("DROP OWNED BY poor")
                admin.execute("DROP ROLE poor")
