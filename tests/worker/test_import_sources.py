"""Where labels live: each source gives the same rows, with its own ways to be odd."""

import gzip
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import openpyxl
import pyarrow
import pytest
from conftest import Cli, Stack
from label_files import ROLES, Imports, Labels, predict
from pyarrow import parquet

TABLE = [(n, datetime(2026, 2, 1 + n, 10, tzinfo=UTC), n % 2 == 0, n * 1.5) for n in range(1, 6)]

pytestmark = pytest.mark.heavy
"""CI's own step: it starts many processes."""


def as_csv(folder: Path) -> list[str]:
    text = "id,day,repaid,paid\n" + "".join(f"{n},{day.isoformat()},{bool_},{paid}\n" for n, day, bool_, paid in TABLE)
    (folder / "t.csv").write_text(text)
    return ["t.csv"]


def as_parquet(folder: Path) -> list[str]:
    columns = list(zip(*TABLE, strict=True))
    names = ["id", "day", "repaid", "paid"]
    parquet.write_table(pyarrow.table(dict(zip(names, columns, strict=True))), folder / "t.parquet", row_group_size=2)
    return ["t.parquet"]


def as_json_lines(folder: Path) -> list[str]:
    rows = [{"id": n, "day": day.isoformat(), "repaid": bool_, "paid": paid} for n, day, bool_, paid in TABLE]
    (folder / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return ["t.jsonl"]


def as_excel(folder: Path) -> list[str]:
    book = openpyxl.Workbook()
    book.create_sheet("labels")
    book["labels"].append(["id", "day", "repaid", "paid"])
    for n, day, bool_, paid in TABLE:
        book["labels"].append([n, day.replace(tzinfo=None), bool_, paid])
    book.save(folder / "t.xlsx")
    return ["t.xlsx", "--sheet", "labels"]


def as_sqlite(folder: Path) -> list[str]:
    with closing(sqlite3.connect(folder / "t.db")) as database, database:
        database.execute("CREATE TABLE t (id INTEGER, day TEXT, repaid TEXT, paid REAL)")
        rows = [(n, day.isoformat(), str(bool_), paid) for n, day, bool_, paid in TABLE]
        database.executemany("INSERT INTO t VALUES (?, ?, ?, ?)", rows)
    query = "SELECT *, '100%:x' AS odd FROM t"
    return [f"sqlite:///{folder}/t.db", "--sql", query, "--type", "repaid=bool"]


SOURCES = [as_csv, as_parquet, as_json_lines, as_excel, as_sqlite]


@pytest.mark.parametrize("source", SOURCES)
def test_each_source_gives_the_same_rows(
    stack: Stack, cli: Cli, tmp_path: Path, source: Callable[[Path], list[str]]
) -> None:
    """CSV, Parquet, JSON Lines, Excel and a query: the same labels, to the last value and type, and told once."""
    predict(stack, *(f"loan_{n}" for n in range(1, 6)))
    done = cli("import", "loans", *source(tmp_path), *ROLES, "--field", "paid")
    assert done.returncode == 0, done.stdout + done.stderr
    stack.drain()
    expected = [(f"loan_{n}", {"repaid": bool_, "paid": paid}, day) for n, day, bool_, paid in TABLE]
    rows = [
        (row["join_key"], json.loads(row["feedback"]), datetime.fromisoformat(row["feedback_at"]))
        for row in stack.rows()
    ]
    assert [(key, fields, at.astimezone(UTC)) for key, fields, at in rows] == expected
    assert all(type(fields["paid"]) is float for _, fields, _ in rows)
    # Another source of the same labels tells the same events.
    assert "5  already there" in cli("import", "loans", *as_csv(tmp_path), *ROLES, "--field", "paid").stdout


def test_what_excel_could_not_compute(stack: Stack, cli: Cli, tmp_path: Path) -> None:
    """An error of a formula is refused, an empty row says nothing, and both keep the rows' numbers right."""
    predict(stack, "loan_1")
    book = openpyxl.Workbook()
    day = datetime(2026, 2, 1)  # noqa: DTZ001 - Excel knows no zones
    for row in (["id", "day", "repaid"], [1, day, "#N/A"], [], [1, day, True], [1, "soon", True]):
        book.active.append(row)
    book.save(tmp_path / "t.xlsx")
    done = cli("import", "loans", "t.xlsx", *ROLES)
    assert "1  matched, written" in done.stdout
    assert "refused: row 1: repaid holds an error of Excel" in done.stdout
    assert "refused: row 4: day: 'soon' is not a time" in done.stdout


def test_a_query_of_postgresql(stack: Stack, cli: Cli) -> None:
    """A query's rows come over the URL that a variable holds, so that no list of processes shows its password."""
    from postgres_server import fresh_database

    predict(stack, *(f"loan_{n}" for n in range(1, 6)))
    with fresh_database() as url:
        query = """SELECT n::numeric AS id, timestamptz '2026-02-01T10:00:00Z' + n * interval '1 day' AS day,
                   n % 2 = 0 AS repaid, (n * 1.5)::numeric(10, 2) AS paid FROM generate_series(1, 6) n"""
        done = cli("import", "loans", "WAREHOUSE", "--sql", query, *ROLES, "--field", "paid", WAREHOUSE=url)
        assert done.returncode == 1, done.stdout + done.stderr
        assert "5  matched, written" in done.stdout
        wrong = cli(
            "import",
            "loans",
            "WAREHOUSE",
            "--sql",
            "select nothing",
            *ROLES,
            WAREHOUSE=url.replace("postgresql", "postgres"),
        )
        assert (wrong.returncode, len(wrong.stderr.splitlines())) == (2, 1)
        assert 'does not answer the query: column "nothing" does not exist' in wrong.stderr
    stack.drain()
    assert [json.loads(row["feedback"])["paid"] for row in stack.rows()] == [1.5, 3.0, 4.5, 6.0, 7.5]


def test_a_password_is_not_shown(stack: Stack, cli: Cli) -> None:
    """A query that cannot be asked names its place without the password."""
    predict(stack, "loan_1")
    url = "postgresql://reader:s3cret@127.0.0.1:1/labels"
    done = cli("import", "loans", "WAREHOUSE", "--sql", "select 1", *ROLES, WAREHOUSE=url)
    assert done.returncode == 2
    assert "127.0.0.1:1/labels does not answer the query" in done.stderr
    assert "s3cret" not in done.stderr + done.stdout


def test_ids_stay_as_they_are_written(stack: Stack, cli: Cli, labels: Labels) -> None:
    """Leading zeros, signs and long digits of a key are text; white space around them is not theirs."""
    keys = ["007", "+5", "1.0", "12345678901234567890"]
    predict(stack, *keys)
    file = labels("id,day,repaid\n" + "".join(f" {key} ,2026-02-01,yes\n" for key in keys))
    assert cli("import", "loans", file, "--key", "id", "--at", "day", "--field", "repaid").returncode == 0


def test_files_of_other_encodings(stack: Stack, imports: Imports, tmp_path: Path) -> None:
    """A file in another encoding, packed, or with tabs is read; one whose encoding was not told says how to."""
    predict(stack, "Zürich")
    text = "id;day;repaid\nZürich;2026-02-01;yes\n"
    files = {
        "latin.csv": (text.encode("latin-1"), "--encoding", "latin-1"),
        "utf16.csv": (text.encode("utf-16"), "--encoding", "utf-16"),
        "bom.csv": (text.encode("utf-8-sig"),),
        "packed.csv.gz": (gzip.compress(text.encode()),),
        "PACKED.CSV.GZ": (gzip.compress(text.encode()),),
        "once.tsv.csv": (text.encode(),),
        "tabs.tsv": (text.replace(";", "\t").encode(),),
        "untold.csv": (text.encode("latin-1"),),
    }
    for name, (content, *_) in files.items():
        (tmp_path / name).write_bytes(content)
    command = ("--key", "id", "--at", "day", "--field", "repaid")
    *ended, untold = imports(*(["loans", name, *command, *options] for name, (_, *options) in files.items()))
    assert [each.code for each in ended] == [0] * 7, ended
    assert all("1  matched, written" in each.stdout or "1  already there" in each.stdout for each in ended)
    assert "row 1: id is not UTF-8; add --encoding" in untold.stdout


def test_a_quote_that_is_never_closed(stack: Stack, cli: Cli, labels: Labels) -> None:
    """What follows such a quote is in its cell, which no reader can tell; the odd quotes are told."""
    predict(stack, "loan_1")
    file = labels('id,day,repaid,note\n1,2026-02-01,1,"odd\n2,2026-02-01,1,\n3,2026-02-01,1,\n')
    assert "has an odd number of quotes" in cli("import", "loans", file, *ROLES).stderr
    for note in ('"two\nlines"', '5"'):
        file = labels(f"id,day,repaid,note\n1,2026-02-01,1,{note}\n1,2026-02-02,1,\n")
        assert cli("import", "loans", file, *ROLES).stderr == ""
