"""`joinback import`: labels from files and queries become rows, each line accounted for; as a person runs it."""

import asyncio
import gzip
import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow
import pytest
from conftest import PATIENCE_S, Cli, Stack, process_environment
from pyarrow import parquet

import joinback
from joinback.sampling import keeps
from joinback.settings import Settings
from joinback_worker.connect import connect
from joinback_worker.labels.importing import Importing
from joinback_worker.labels.lines import Line
from joinback_worker.labels.lookup import looking_up
from joinback_worker.labels.near import KEYS_TRIED, Stray, Strays
from joinback_worker.labels.plan import Plan, Roles
from joinback_worker.labels.report import ReportFile
from joinback_worker.labels.settled import Told
from joinback_worker.layouts import Layout

ROLES = ("--key", "loan_{id}", "--at", "day", "--field", "repaid")


def predict(stack: Stack, *keys: str, drained: bool = True) -> None:
    for key in keys:
        stack.client.log_record("loans", inputs=1, outputs=0.07, join_key=key, timestamp="2026-01-01T00:00:00Z")
    assert stack.client.flush(PATIENCE_S)
    if drained:
        stack.drain()


@pytest.fixture
def labels(tmp_path: Path) -> Callable[[str], str]:
    """Write a CSV file of labels; its name."""

    def write(text: str, name: str = "labels.csv") -> str:
        (tmp_path / name).write_text(text)
        return name

    return write


Labels = Callable[[str], str]


# --- the whole way --------------------------------------------------------------------------------------


def test_an_import_joins(stack: Stack, cli: Cli, labels: Labels) -> None:
    """Each label joins its prediction, whether the worker has drained that or not, at the time the file says."""
    predict(stack, "loan_1")
    predict(stack, "loan_2", drained=False)
    file = labels("id,day,repaid,amount\n1,2026-02-01,yes,900\n2,2026-02-02T10:00:00+02:00,no,\n")
    done = cli("import", "loans", file, *ROLES, "--field", "paid=amount")
    assert (done.returncode, done.stderr) == (0, "")
    assert "2  matched, told" in done.stdout
    stack.drain()
    rows = {row["join_key"]: (row["status"], row["feedback"], row["feedback_at"]) for row in stack.rows()}
    assert rows["loan_1"][:2] == ("joined", '{"paid":900,"repaid":true}')
    assert rows["loan_2"][:2] == ("joined", '{"repaid":false}')
    assert rows["loan_2"][2].startswith("2026-02-02 08:00:00") or rows["loan_2"][2].startswith("2026-02-02T08:00:00")


def test_what_columns_are_is_said_first(stack: Stack, cli: Cli, labels: Labels) -> None:
    """What each column is, and by which cell, stands before the counts."""
    predict(stack, "loan_1")
    file = labels('id;day;repaid\n1;03/04/2026;"1,5"\n1;13/04/2026;3\n')
    lines = cli("import", "loans", file, *ROLES, "--time-zone", "Europe/Berlin").stdout.splitlines()
    assert lines[:5] == [
        "labels.csv",
        "  id      join key, loan_{id}",
        "  day     time: day first (row 2 has '13/04/2026'), in Europe/Berlin where a cell names no zone",
        "  repaid  float: '1,5' is 1.5",
        "2 rows",
    ]


def test_a_dry_run_writes_nothing(stack: Stack, cli: Cli, labels: Labels) -> None:
    """--dry-run says all that the import would, and leaves Redis as it was."""
    predict(stack, "loan_1")
    file = labels("id,day,repaid\n1,2026-02-01,yes\n9,2026-02-01,yes\n1,soon,no\n")
    before = sorted(stack.server.keys("joinback:*"))
    dry = cli("import", "loans", file, *ROLES, "--dry-run")
    assert sorted(stack.server.keys("joinback:*")) == before
    assert stack.server.hlen(stack.record("loan_1")) == 1
    done = cli("import", "loans", file, *ROLES)
    assert dry.returncode == done.returncode == 1
    assert "1  matched, would be told" in dry.stdout
    told = [
        line for line in done.stdout.splitlines() if not line.startswith(("3 rows", "Redis has")) and "told" not in line
    ]
    assert set(told) <= set(dry.stdout.splitlines())
    assert stack.server.hlen(stack.record("loan_1")) == 2


@pytest.mark.parametrize("scheme", ["sqlite", "parquet"])
def test_the_same_import_again(stack: Stack, cli: Cli, labels: Labels, tmp_path: Path, scheme: str) -> None:
    """Repeated, before a drain, after it, and when Redis has forgotten, it finds all told and changes nothing."""
    sink = {"JOINBACK_SINK_URL": f"{scheme}:///{tmp_path}/sink" + (".db" if scheme == "sqlite" else "")}
    predict(stack, "loan_1", "loan_2", drained=False)
    stack.drain(sink_url=sink["JOINBACK_SINK_URL"])
    file = labels("id,day,repaid\n1,2026-02-01,yes\n2,2026-02-01,no\n")
    assert "2  matched, told" in cli("import", "loans", file, *ROLES, **sink).stdout
    events = [stack.server.hkeys(stack.record(f"loan_{n}")) for n in (1, 2)]
    for drains, forgets in ((False, False), (True, False), (False, True)):
        if drains:
            stack.drain(sink_url=sink["JOINBACK_SINK_URL"])
        if forgets:
            stack.server.delete(stack.record("loan_1"), stack.record("loan_2"))
        again = cli("import", "loans", file, *ROLES, **sink)
        assert again.returncode == 0, again.stdout + again.stderr
        assert "0  matched" in again.stdout
        assert "2  already told" in again.stdout
        if not forgets:
            assert [stack.server.hkeys(stack.record(f"loan_{n}")) for n in (1, 2)] == events


def test_a_corrected_label_is_another_event(stack: Stack, cli: Cli, labels: Labels) -> None:
    """A line that changed is told, and the others are not told again."""
    predict(stack, "loan_1", "loan_2")
    cli("import", "loans", labels("id,day,repaid\n1,2026-02-01,yes\n2,2026-02-01,no\n"), *ROLES)
    again = cli("import", "loans", labels("id,day,repaid\n1,2026-02-01,yes\n2,2026-02-03,yes\n"), *ROLES)
    assert "1  matched, told" in again.stdout
    assert "1  already told" in again.stdout
    later = cli("import", "loans", labels("id,day,repaid\n1,2026-02-04,yes\n"), *ROLES)
    assert "1  matched, told" in later.stdout
    stack.drain()
    assert [row["feedback"] for row in stack.rows()] == ['{"repaid":true}'] * 2
    assert stack.row("loan_1")["feedback_at"][:10] == "2026-02-04"


@pytest.mark.parametrize("drained", [True, False])
def test_a_corrected_label_of_the_same_time_wins(stack: Stack, cli: Cli, labels: Labels, drained: bool) -> None:
    """Of one key and time the last correction stands, for each of many keys, whatever their event ids are."""
    numbers = range(20)
    predict(stack, *(f"loan_{n}" for n in numbers))
    for value in (900, 800, 700):
        file = labels("id,day,repaid\n" + "".join(f"{n},2026-02-01,{value}\n" for n in numbers))
        assert "20  matched, told" in cli("import", "loans", file, *ROLES).stdout
        assert "20  already told" in cli("import", "loans", file, *ROLES).stdout
        if drained:
            stack.drain()
    old = cli("import", "loans", labels("id,day,repaid\n1,2026-02-01,800\n"), *ROLES)
    assert (
        "refused: row 1: loan_1 was told so, and corrected since; to go back to it, give it a later time" in old.stdout
    )
    stack.drain()
    assert {row["feedback"] for row in stack.rows()} == {'{"repaid":700}'}


def test_labels_of_other_times_are_not_read(stack: Stack, cli: Cli, labels: Labels) -> None:
    """Of a key that was told before, at another time, nothing is fetched but the ids of its events."""
    predict(stack, *(f"loan_{n}" for n in range(30)))
    for day in (1, 2):
        stack.server.config_resetstat()
        file = labels("id,day,repaid\n" + "".join(f"{n},2026-02-0{day},{n + day}\n" for n in range(30)))
        assert "30  matched, told" in cli("import", "loans", file, *ROLES).stdout
    assert stack.server.info("commandstats")["cmdstat_hgetall"]["calls"] < 30


def test_more_fields_contradict_nothing(stack: Stack, cli: Cli, labels: Labels) -> None:
    """The same labels with one field more are told at their own time, and those before stay told."""
    predict(stack, "loan_1")
    file = labels("id,day,repaid,paid\n1,2026-02-01,yes,900\n")
    cli("import", "loans", file, *ROLES)
    assert "1  matched, told" in cli("import", "loans", file, *ROLES, "--field", "paid").stdout
    assert "1  already told" in cli("import", "loans", file, *ROLES).stdout
    stack.drain()
    assert stack.row("loan_1")["feedback"] == '{"paid":900,"repaid":true}'
    assert datetime.fromisoformat(stack.row("loan_1")["feedback_at"]) == datetime(2026, 2, 1, tzinfo=UTC)


def test_a_retracted_label_stays_retracted(stack: Stack, cli: Cli, labels: Labels) -> None:
    """The same import after a retraction does not bring the label back."""
    predict(stack, "loan_1")
    file = labels("id,day,repaid\n1,2026-02-01,yes\n")
    cli("import", "loans", file, *ROLES)
    stack.client.retract("loans", "loan_1")
    stack.drain()
    assert "1  already told" in cli("import", "loans", file, *ROLES).stdout
    stack.drain()
    assert stack.row("loan_1")["status"] == "predicted"


# --- what is refused, and what does not match -----------------------------------------------------------


def test_each_refused_line_has_its_row_and_why(stack: Stack, cli: Cli, labels: Labels, tmp_path: Path) -> None:
    """Lines that cannot be told are refused one by one; the rest is told; --report has all, --json the counts."""
    predict(stack, *(f"loan_{n}" for n in range(40)))
    good = "".join(f"{n},2026-02-01,1\n" for n in range(30))
    bad = "31,soon,1\n,2026-02-01,1\n32,,1\n33,2026-02-01\n34,2999-01-01,1\n4.51235E+15,2026-02-01,1\n35,2026-02-01,x\n"
    file = labels(f"id,day,repaid\n{good}{bad}36,2026-02-01,\n")
    done = cli("import", "loans", file, *ROLES, "--type", "repaid=int", "--json", "--report", "report.jsonl")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    counts = {
        name: found[name] for name in ("rows", "matched", "already_told", "unmatched", "refused", "without_a_label")
    }
    assert counts == {"rows": 38, "matched": 30, "already_told": 0, "unmatched": 0, "refused": 7, "without_a_label": 1}
    assert found["told"] == 30
    written = [json.loads(line) for line in (tmp_path / "report.jsonl").read_text().splitlines()]
    assert written == found["listed"]
    whys = {entry["row"]: entry["why"] for entry in written}
    assert whys == {
        31: "day: 'soon' is no time; write ISO 8601, such as 2026-11-23T11:00:00Z",
        32: "id is missing: no join key",
        33: "day is missing: no time",
        34: "2 cells, but the header has 3",
        35: "day: '2999-01-01' is in the future",
        36: "id is '4.51235E+15': it has lost digits; format the column as text, export again",
        37: "repaid: 'x' is no int",
    }


def test_the_screen_has_the_first_and_the_file_all(stack: Stack, cli: Cli, labels: Labels, tmp_path: Path) -> None:
    """Of many lines that do not match the first are shown, with how many more there are and where."""
    predict(stack, "loan_1")
    file = labels("id,day,repaid\n" + "".join(f"x{n},2026-02-01,1\n" for n in range(50)))
    done = cli("import", "loans", file, *ROLES, "--report", "all.jsonl")
    assert "unmatched: and 40 more; all in all.jsonl" in done.stdout
    assert len((tmp_path / "all.jsonl").read_text().splitlines()) == 50
    assert "--report FILE has all" in cli("import", "loans", file, *ROLES).stdout


def test_unmatched_keys_are_told_the_form_that_would_match(stack: Stack, cli: Cli, labels: Labels) -> None:
    """Keys without their prefix match nothing; the import says which would, for how many, and the option for it."""
    predict(stack, *(f"loan_{n}" for n in range(20)))
    file = labels("id,day,repaid\n" + "".join(f"{n},2026-02-01,yes\n" for n in range(10)))
    done = cli("import", "loans", file, "--key", "id", "--at", "day", "--field", "repaid")
    assert done.returncode == 1
    assert "10  unmatched, not written; --orphans writes them" in done.stdout
    hint = "unmatched: 10 of 10 tried would match with the prefix 'loan_', such as loan_0 for 0; say --key 'loan_{id}'"
    assert hint in done.stdout.splitlines()
    assert cli("import", "loans", file, *ROLES).returncode == 0


def test_a_key_of_from_dict(stack: Stack, cli: Cli, labels: Labels) -> None:
    """Keys that JoinKey.from_dict made are made again by --key-field; of another type, the type is told."""
    predict(stack, *(joinback.JoinKey.from_dict({"loan": float(n), "region": "eu"}) for n in range(5)))
    file = labels("id,area,day,repaid\n" + "".join(f"{n},eu,2026-02-01,yes\n" for n in range(5)))
    command = ("import", "loans", file, "--key-field", "loan=id", "--key-field", "region=area", "--at", "day")
    command += ("--field", "repaid")
    done = cli(*command)
    assert "5 of 5 tried would match as JoinKey.from_dict of loan as float, region as str, such as" in done.stdout
    assert cli(*command, "--type", "id=float").returncode == 0


def test_a_key_that_from_dict_would_make(stack: Stack, cli: Cli, labels: Labels, tmp_path: Path) -> None:
    """Plain ids, where keys are digests of them: the import says so; what no key can be made of is refused."""
    predict(stack, *(joinback.JoinKey.from_dict({"id": n}) for n in range(5)))
    file = labels("id,day,repaid\n" + "".join(f"{n},2026-02-01,yes\n" for n in range(5)))
    done = cli("import", "loans", file, "--key", "id", "--at", "day", "--field", "repaid")
    assert "5 of 5 tried would match as JoinKey.from_dict of id as int, such as" in done.stdout
    assert "say --key-field for each, and --type for its type" in done.stdout
    (tmp_path / "l.jsonl").write_text('{"id": [1], "day": "2026-02-01", "repaid": true}\n')
    ok = cli("import", "loans", "l.jsonl", "--key-field", "id", "--at", "day", "--field", "repaid")
    assert ok.returncode == 1
    table = pyarrow.table({"id": [datetime(2026, 1, 1, tzinfo=UTC).date()], "day": ["2026-02-01"], "repaid": [True]})
    parquet.write_table(table, tmp_path / "l.parquet")
    odd = cli("import", "loans", "l.parquet", "--key-field", "id", "--at", "day", "--field", "repaid")
    assert "refused: row 1: a join key cannot hold a date; convert it to str, int or float" in odd.stdout


def test_orphans_are_written_if_asked(stack: Stack, cli: Cli, labels: Labels) -> None:
    """Labels that match nothing stay out of the rows, unless --orphans says otherwise; then they heal as ever."""
    predict(stack, "loan_1")
    file = labels("id,day,repaid\n2,2026-02-01,yes\n")
    assert cli("import", "loans", file, *ROLES).returncode == 1
    stack.drain()
    assert len(stack.rows()) == 1
    assert "1  unmatched, told" in cli("import", "loans", file, *ROLES, "--orphans").stdout
    stack.drain()
    assert stack.row("loan_2")["status"] == "orphan"
    assert "1  already told" in cli("import", "loans", file, *ROLES).stdout
    predict(stack, "loan_2")
    assert stack.row("loan_2")["status"] == "joined"


def test_an_orphan_is_no_match(stack: Stack, cli: Cli, labels: Labels) -> None:
    """A row of feedback alone has no prediction, so another label of its key does not match either."""
    predict(stack, "loan_1")
    stack.client.log_record("loans", feedback={"repaid": True}, join_key="loan_2")
    assert "1  unmatched" in cli("import", "loans", labels("id,day,repaid\n2,2026-02-01,no\n"), *ROLES).stdout
    stack.drain()
    assert "1  unmatched" in cli("import", "loans", labels("id,day,repaid\n2,2026-02-01,no\n"), *ROLES).stdout


def test_labels_of_what_was_not_sampled(stack: Stack, cli: Cli, labels: Labels) -> None:
    """Labels of predictions that the sample left out are counted as such, and hinted at nothing."""
    stack.client.set_sample_rate("loans", 0.5)
    keys = [f"loan_{n}" for n in range(40)]
    predict(stack, *keys)
    file = labels("id,day,repaid\n" + "".join(f"{n},2026-02-01,yes\n" for n in range(40)))
    kept = sum(keeps("loans", key, 0.5) for key in keys)
    done = cli("import", "loans", file, *ROLES)
    assert f"{kept}  matched, told" in done.stdout
    assert f"{40 - kept} of the unmatched are outside the sample" in done.stdout
    assert "would match" not in done.stdout


# --- where labels live ----------------------------------------------------------------------------------

TABLE = [(n, datetime(2026, 2, 1 + n, 10, tzinfo=UTC), n % 2 == 0, n * 1.5) for n in range(1, 6)]


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
    assert "5  already told" in cli("import", "loans", *as_csv(tmp_path), *ROLES, "--field", "paid").stdout


def test_what_excel_could_not_compute(stack: Stack, cli: Cli, tmp_path: Path) -> None:
    """An error of a formula is refused, an empty row says nothing, and both keep the rows' numbers right."""
    predict(stack, "loan_1")
    book = openpyxl.Workbook()
    day = datetime(2026, 2, 1)  # noqa: DTZ001 - Excel knows no zones
    for row in (["id", "day", "repaid"], [1, day, "#N/A"], [], [1, day, True], [1, "soon", True]):
        book.active.append(row)
    book.save(tmp_path / "t.xlsx")
    done = cli("import", "loans", "t.xlsx", *ROLES)
    assert "1  matched, told" in done.stdout
    assert "refused: row 1: repaid is an error of Excel's" in done.stdout
    assert "refused: row 4: day: 'soon' is no time" in done.stdout


def test_a_query_of_postgresql(stack: Stack, cli: Cli) -> None:
    """A query's rows come over the URL that a variable holds, so that no list of processes shows its password."""
    from postgres_server import fresh_database

    predict(stack, *(f"loan_{n}" for n in range(1, 6)))
    with fresh_database() as url:
        query = """SELECT n::numeric AS id, timestamptz '2026-02-01T10:00:00Z' + n * interval '1 day' AS day,
                   n % 2 = 0 AS repaid, (n * 1.5)::numeric(10, 2) AS paid FROM generate_series(1, 6) n"""
        done = cli("import", "loans", "WAREHOUSE", "--sql", query, *ROLES, "--field", "paid", WAREHOUSE=url)
        assert done.returncode == 1, done.stdout + done.stderr
        assert "5  matched, told" in done.stdout
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


def test_files_of_other_encodings(stack: Stack, cli: Cli, tmp_path: Path) -> None:
    """A file in another encoding is read as told; one that was not told is told how."""
    predict(stack, "Zürich")
    text = "id;day;repaid\nZürich;2026-02-01;yes\n"
    command = ("--key", "id", "--at", "day", "--field", "repaid")
    for encoding in ("latin-1", "utf-16", "utf-8-sig"):
        (tmp_path / "labels.csv").write_bytes(text.encode(encoding))
        given = () if encoding == "utf-8-sig" else ("--encoding", encoding)
        done = cli("import", "loans", "labels.csv", *command, *given)
        assert done.returncode == 0, done.stdout + done.stderr
    (tmp_path / "labels.csv.gz").write_bytes(gzip.compress(text.encode()))
    assert "1  already told" in cli("import", "loans", "labels.csv.gz", *command).stdout
    (tmp_path / "labels.tsv").write_text(text.replace(";", "\t"))
    assert "1  already told" in cli("import", "loans", "labels.tsv", *command).stdout
    (tmp_path / "labels.csv").write_bytes(text.encode("latin-1"))
    assert "row 1: id is no UTF-8; say --encoding" in cli("import", "loans", "labels.csv", *command).stdout


def test_a_quote_that_is_never_closed(stack: Stack, cli: Cli, labels: Labels) -> None:
    """What follows such a quote is in its cell, which no reader can tell; the odd quotes are told."""
    predict(stack, "loan_1")
    file = labels('id,day,repaid,note\n1,2026-02-01,1,"odd\n2,2026-02-01,1,\n3,2026-02-01,1,\n')
    assert "has an odd number of quotes" in cli("import", "loans", file, *ROLES).stderr
    for note in ('"two\nlines"', '5"'):
        file = labels(f"id,day,repaid,note\n1,2026-02-01,1,{note}\n1,2026-02-02,1,\n")
        assert cli("import", "loans", file, *ROLES).stderr == ""


# --- what is to be mended, in one line ------------------------------------------------------------------


MENDED: list[tuple[str, bytes, tuple[str, ...], str]] = [
    ("l.csv", b"id,day,repayed\n1,2026-01-01,1\n", (), "no column 'repaid'; did you mean 'repayed'? there are"),
    ("l.csv", b"ID,day,repaid\n1,2026-01-01,1\n", (), "no column 'id'; did you mean 'ID'?"),
    ("l.csv", b"id,day,repaid,repaid\n1,2026-01-01,1,1\n", (), "2 columns are named 'repaid'"),
    ("l.csv", b"", (), "l.csv is empty"),
    ("l.csv", b"\n\n", (), "l.csv is empty"),
    ("l.csv", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", (), "l.csv is binary"),
    ("l.csv", b'id,day,repaid\n1,2026-01-01,"1\n' + b"x,y,z\n" * 3_000_000, (), "is a quote never closed?"),
    ("l.csv", b"id,day,repaid\n1,03/04/2026,1\n", (), "day first or month first?"),
    ("l.csv", b"id,day,repaid\n1,2026-01-01,1\n", ("--encoding", "utf-9"), "no encoding 'utf-9'"),
    ("l.csv", b"id,day,repaid\n1,2026-01-01,1\n", ("--time-zone", "Europe/Berln"), "did you mean Europe/Berlin?"),
    ("l.csv", b"id,day,repaid\n1,2026-01-01,1\n", ("--type", "repaid=number"), "one of bool, int, float, str"),
    ("l.csv", b"id,day,repaid\n1,2026-01-01,1\n", ("--type", "id=int"), "a join key is text as it stands"),
    ("l.csv", b"id,day,repaid\n1,2026-01-01,1\n", ("--report", "l.csv"), "--report would overwrite the source"),
    ("l.csv", b"id,day,repaid\n1,2026-01-01,1\n", ("--report", "no/r"), "no/r cannot be written"),
    ("l.csv", b"id,day,repaid\n1,2026-01-01,1\n", ("--key", "x{}"), "a column stands in braces as it is"),
    ("l.csv", b"id,day,repaid\n1,2026-01-01,1\n", ("--key", "x{"), "is no format"),
    ("l.csv", b"id,day,repaid\n1,2026-01-01,1\n", ("--field", "x="), "write it as --field NAME=VALUE"),
    ("l.csv", b"id,day,repaid\n1,2026-01-01,1\n", ("--key-field", "id"), "which column is the join key?"),
    ("l.csv", b"id,day,repaid\n1,2026-01-01,1\n", ("--separator", "||"), "one character"),
    ("l.gz", b"nothing", (), "what kind of file is l.gz?"),
    ("l.csv.gz", b"nothing", (), "cannot be read as CSV"),
    ("l.parquet", b"PAR1nothing", (), "l.parquet cannot be read as Parquet"),
    ("l.xlsx", b"PK nothing", (), "l.xlsx cannot be read as Excel's .xlsx"),
    ("l.jsonl", b"[1]\n", (), "l.jsonl is empty, or no line of it is a JSON object"),
    ("l.dat", b"id", (), "what kind of file is l.dat? say --format"),
]
"""Of a file: its name, its content, options, and what is said."""

ONE_AFTER_THE_OTHER = """
import contextlib, io, json, sys
from joinback_worker.cli import main

for arguments in json.load(sys.stdin):
    said, code = io.StringIO(), None
    with contextlib.redirect_stderr(said):
        try:
            sys.argv = ["joinback", *arguments]
            main()
        except SystemExit as ended:
            code = ended.code
    print("ended", json.dumps([code, said.getvalue()]))
"""
"""The command's own entry, many times in one process: starting each would take longer than all of them."""


def test_one_line_says_what_to_mend(stack: Stack, settings: Settings, tmp_path: Path) -> None:
    """A wrong name, file or option is one line and exit code 2; nothing is written, and nothing is a traceback."""
    predict(stack, "loan_1")
    commands = []
    for number, (name, content, options, _) in enumerate(MENDED):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / name).write_bytes(content)
        # --report names a file beside it.
        options = tuple(str(folder / option) if option in ("l.csv", "no/r") else option for option in options)
        commands.append(["import", "loans", str(folder / name), *ROLES, *options])
    done = subprocess.run(
        [sys.executable, "-c", ONE_AFTER_THE_OTHER],
        input=json.dumps(commands),
        env=process_environment(settings),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    ended = [json.loads(line.removeprefix("ended ")) for line in done.stdout.splitlines() if line.startswith("ended ")]
    for (code, told), case in zip(ended, MENDED, strict=True):
        assert (code, len(told.splitlines())) == (2, 1), (case[0], case[2], told)
        assert case[3] in told
    assert stack.server.hlen(stack.record("loan_1")) == 1


def test_a_file_or_an_application_that_is_not_there(stack: Stack, cli: Cli, tmp_path: Path) -> None:
    """Both are one line with the fix; a directory is no file."""
    predict(stack, "loan_1")
    assert "there is no file nothing.csv" in cli("import", "loans", "nothing.csv", *ROLES).stderr
    assert "is no file; to load several" in cli("import", "loans", str(tmp_path), *ROLES).stderr
    assert "did you mean loans?" in cli("import", "loan", "nothing.csv", *ROLES).stderr
    assert "NOTHING is not set" in cli("import", "loans", "NOTHING", "--sql", "select 1", *ROLES).stderr


def test_a_name_with_control_characters(stack: Stack, cli: Cli, labels: Labels) -> None:
    """A column's name cannot drive the terminal, neither in an error nor in what is said."""
    predict(stack, "loan_1")
    # A bell, and a mark that turns the line around; click itself takes out colours.
    odd = "repaid\a\u202e"
    file = labels(f"id,day,{odd}\n1,03/04/2026,1\n")
    done = cli("import", "loans", file, "--key", "id", "--at", "day", "--field", f"x={odd}", "--day-first")
    assert not {"\a", "\u202e"} & set(done.stdout + done.stderr)
    done = cli("import", "loans", file, "--key", "id", "--at", odd, "--field", "day")
    assert done.returncode == 2
    assert not {"\a", "\u202e"} & set(done.stdout + done.stderr)


def test_rows_that_go_to_another_sink(stack: Stack, cli: Cli, labels: Labels, tmp_path: Path) -> None:
    """Matching against a sink that has not this Redis's rows would call all unmatched; it is refused."""
    predict(stack, "loan_1")
    file = labels("id,day,repaid\n1,2026-02-01,1\n")
    done = cli("import", "loans", file, *ROLES, JOINBACK_SINK_URL=f"sqlite:///{tmp_path}/other.db")
    assert done.returncode == 2
    assert f"rows go to sqlite:///{tmp_path}/joinback.db" in done.stderr
    assert not (tmp_path / "other.db").exists()


# --- nothing is lost without a word ---------------------------------------------------------------------


def test_a_label_that_redis_does_not_take(stack: Stack, cli: Cli, labels: Labels) -> None:
    """What the client could not deliver is exit code 2, with the count and the reason; the rest is told."""
    predict(stack, "loan_1", "loan_2")
    file = labels("id,day,repaid\n1,2026-02-01,1\n2,2026-02-01,1\n")
    stack.server.delete(stack.record("loan_1"))
    stack.server.set(stack.record("loan_1"), "somebody's", ex=60)
    done = cli("import", "loans", file, *ROLES)
    assert done.returncode == 2
    assert "Redis has 1 of 2 labels (0 not delivered, dropped: 1 wrong_type)" in done.stderr
    stack.server.delete(stack.record("loan_1"))
    again = cli("import", "loans", file, *ROLES)
    assert "1  matched, told" in again.stdout
    assert "1  already told" in again.stdout


def test_it_waits_while_redis_is_nearly_full(
    stack: Stack, labels: Labels, spawn: Callable[..., Any], wait_until: Callable[..., None], tmp_path: Path
) -> None:
    """A nearly full Redis has its room for predictions: the import says that it waits, and goes on when there is."""
    predict(stack, "loan_1")
    file = labels("id,day,repaid\n1,2026-02-01,1\n")
    stack.server.config_set("maxmemory", int(stack.server.info("memory")["used_memory"] * 1.05))
    importing = spawn("-m", "joinback_worker", "import", "loans", file, *ROLES)
    log = Path(importing.log.name)
    wait_until(lambda: "waiting: Redis is nearly full" in log.read_text() or importing.poll() is not None)
    assert importing.poll() is None
    assert stack.server.hlen(stack.record("loan_1")) == 1
    stack.server.config_set("maxmemory", 0)
    assert importing.wait(PATIENCE_S) == 0
    assert stack.server.hlen(stack.record("loan_1")) == 2


# --- memory ---------------------------------------------------------------------------------------------


class Cells(list[str]):
    """The cells of a line, of which it is known how many lines are held at once."""

    held = 0
    most = 0

    def __init__(self, cells: list[str]) -> None:
        super().__init__(cells)
        Cells.held += 1
        Cells.most = max(Cells.most, Cells.held)

    def __del__(self) -> None:
        Cells.held -= 1


class Endless:
    """A source of as many lines as one likes, none of which is held here."""

    name = "endless"
    is_typed = False

    def __init__(self, batches: int) -> None:
        self._batches = batches

    def columns(self) -> list[str]:
        return ["id", "day", "repaid"]

    def doubts(self) -> list[str]:
        return []

    def close(self) -> None:
        pass

    def batches(self, wanted: object) -> Iterator[list[Line]]:
        for batch in range(self._batches):
            yield [line(batch * 500 + n) for n in range(500)]


def line(row: int) -> Line:
    return Line(row, Cells([f"x{row}", "soon" if row % 7 == 0 else "2026-02-01", "1"]))


def test_a_sample_is_even_and_bounded() -> None:
    """Of many keys that did not match few are kept, from the beginning, the middle and the end alike."""
    strays = Strays()
    for n in range(10_000):
        if (place := strays.place()) is not None:
            strays.put(place, Stray(str(n), {}))
    assert len(strays.sample) == KEYS_TRIED
    assert {int(stray.key) // 1_000 for stray in strays.sample} == set(range(10))


class Silent:
    def has_done(self, rows: int) -> None: ...

    def waits(self, why: str) -> None: ...


def test_what_is_held_does_not_grow(settings: Settings) -> None:
    """Of any number of lines, refused and unmatched ones too, no more than two batches are held at once."""
    most = []
    for batches in (20, 60):
        Cells.held = Cells.most = 0
        report = asyncio.run(_look_at(settings, batches))
        assert report.rows == batches * 500
        assert report.refused + report.unmatched == report.rows
        assert len(report.listed) == 20
        most.append(Cells.most)
    assert most[1] <= most[0] <= 2 * 2_000 + 500


async def _look_at(settings: Settings, batches: int) -> Any:
    source = Endless(batches)
    roles = Roles(key="id", at="day", fields={"repaid": "repaid"})
    plan = Plan("loans", roles, source, Told())
    for _ in plan.survey(source.batches(plan.wanted), datetime.now(UTC)):
        pass
    redis = connect(settings)
    try:
        async with looking_up(redis, settings, "loans", Layout()) as lookup:
            with ReportFile(None) as file:
                importing = Importing("loans", 1.0, plan, lookup, file, orphans=False)
                return await importing.run(source, None, Silent())
    finally:
        await redis.aclose()
