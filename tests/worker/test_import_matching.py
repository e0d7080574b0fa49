"""What an import refuses, what it does not match, and the hints that it gives."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pyarrow
from conftest import Cli, Stack
from documents import REDIS, rights
from label_files import ROLES, Labels, predict
from pyarrow import parquet

import joinback
from joinback.sampling import keeps


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
        31: "day: 'soon' is not a time; write ISO 8601, such as 2026-11-23T11:00:00Z",
        32: "id is missing, which the join key needs",
        33: "day is missing, which is the time",
        34: "2 cells, but the header has 3",
        35: "day: '2999-01-01' is in the future",
        36: "id is '4.51235E+15': it has lost digits; format the column as text, export again",
        37: "repaid: 'x' is not an int",
    }


def test_the_screen_has_the_first_and_the_file_all(stack: Stack, cli: Cli, labels: Labels, tmp_path: Path) -> None:
    """Of many lines that do not match the first are shown, with how many more there are and where."""
    predict(stack, "loan_1")
    file = labels("id,day,repaid\n" + "".join(f"x{n},2026-02-01,1\n" for n in range(50)))
    done = cli("import", "loans", file, *ROLES, "--report", "all.jsonl")
    assert "unmatched: and 40 more; all.jsonl has all" in done.stdout
    assert len((tmp_path / "all.jsonl").read_text().splitlines()) == 50
    assert "--report FILE writes all" in cli("import", "loans", file, *ROLES).stdout


def test_unmatched_keys_are_told_the_form_that_would_match(stack: Stack, cli: Cli, labels: Labels) -> None:
    """Keys without their prefix match nothing; the import says which would, for how many, and the option for it."""
    predict(stack, *(f"loan_{n}" for n in range(20)))
    file = labels("id,day,repaid\n" + "".join(f"{n},2026-02-01,yes\n" for n in range(10)))
    done = cli("import", "loans", file, "--key", "id", "--at", "day", "--field", "repaid")
    assert done.returncode == 1
    assert "10  unmatched, not written; --orphans writes them" in done.stdout
    hint = "unmatched: 10 of 10 tried would match with the prefix 'loan_', such as loan_0 for 0; use --key 'loan_{id}'"
    assert hint in done.stdout.splitlines()
    assert cli("import", "loans", file, *ROLES).returncode == 0


def test_the_least_rights_of_an_import(stack: Stack, cli: Cli, labels: Labels) -> None:
    """The worker's rights, and script|load, are enough; without the one to scan, the sink gives the hints."""
    predict(stack, "loan_1")
    stack.server.script_flush()
    assert "`joinback import`: `+script|load`" in REDIS.read_text()
    stack.server.execute_command("ACL", "SETUSER", "importer", "reset", *rights("joinback-worker"), "+script|load")
    url = stack.settings.redis_url.replace("redis://", "redis://importer:secret@")
    try:
        file = labels("id,day,repaid\n1,2026-02-01,yes\n")
        done = cli("import", "loans", file, "--key", "id", "--at", "day", "--field", "repaid", JOINBACK_REDIS_URL=url)
        assert "would match with the prefix 'loan_'" in done.stdout, done.stderr
        assert cli("import", "loans", file, *ROLES, JOINBACK_REDIS_URL=url).returncode == 0
    finally:
        stack.server.execute_command("ACL", "DELUSER", "importer")


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
    assert "use --key-field for each field, and --type for its type" in done.stdout
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
    assert "1  unmatched, written" in cli("import", "loans", file, *ROLES, "--orphans").stdout
    stack.drain()
    assert stack.row("loan_2")["status"] == "orphan"
    assert "no prediction has this join key; it was sent before" in cli("import", "loans", file, *ROLES).stdout
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
    assert f"{kept}  matched, written" in done.stdout
    assert f"{40 - kept}  outside the sample" in done.stdout
    assert "would match" not in done.stdout


def test_labels_of_erased_keys_are_counted_and_not_written(
    stack: Stack, cli: Cli, labels: Labels, tmp_path: Path
) -> None:
    """Labels that the next drain would delete have a count of their own: exit code 1, and no event is written."""
    predict(stack, "loan_1", "loan_2", "loan_3")
    assert cli("erase", "loans", "loan_1", "loan_2", "--yes").returncode == 0
    file = labels("id,day,repaid\n" + "".join(f"{n},2026-02-01,yes\n" for n in (1, 2, 3)))
    for options in ((), ("--orphans",)):
        done = cli("import", "loans", file, *ROLES, "--dry-run", *options)
        assert done.returncode == 1
        assert "           2  of erased keys, not written\n" in done.stdout
        assert "           0  unmatched\n" in done.stdout
        assert "erased: row 1: loan_1: it was erased, and a drain would delete the label" in done.stdout
    done = cli("import", "loans", file, *ROLES, "--orphans", "--json", "--report", "report.jsonl")
    found = json.loads(done.stdout)
    assert (done.returncode, found["rows"], found["erased"], found["matched"], found["told"]) == (1, 3, 2, 1, 1)
    written = [json.loads(line) for line in (tmp_path / "report.jsonl").read_text().splitlines()]
    assert [(entry["what"], entry["join_key"]) for entry in written] == [("erased", "loan_1"), ("erased", "loan_2")]
    assert stack.drain().erased == 0
    assert [row["join_key"] for row in stack.rows()] == ["loan_3"]
