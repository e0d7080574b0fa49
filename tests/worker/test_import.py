"""`joinback import`: labels become rows, told once, and corrected; as a person runs it."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from conftest import PATIENCE_S, Cli, Stack
from label_files import ROLES, Labels, predict


def test_an_import_joins(stack: Stack, cli: Cli, labels: Labels) -> None:
    """Each label joins its prediction, whether the worker has drained that or not, at the time the file says."""
    predict(stack, "loan_1")
    predict(stack, "loan_2", drained=False)
    file = labels("id,day,repaid,amount\n1,2026-02-01,yes,900\n2,2026-02-02T10:00:00+02:00,no,\n")
    done = cli("import", "loans", file, *ROLES, "--field", "paid=amount")
    assert (done.returncode, done.stderr) == (0, "")
    assert "2  matched, written" in done.stdout
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
    assert "1  matched, would be written" in dry.stdout
    lines = done.stdout.splitlines()
    same = [line for line in lines if not line.startswith(("3 rows", "Redis has")) and "matched, written" not in line]
    assert set(same) <= set(dry.stdout.splitlines())
    assert stack.server.hlen(stack.record("loan_1")) == 2


@pytest.mark.parametrize("scheme", ["sqlite", "parquet"])
def test_the_same_import_again(stack: Stack, cli: Cli, labels: Labels, tmp_path: Path, scheme: str) -> None:
    """Repeated, before a drain, after it, and when Redis has forgotten, it finds all told and changes nothing."""
    sink = {"JOINBACK_SINK_URL": f"{scheme}:///{tmp_path}/sink" + (".db" if scheme == "sqlite" else "")}
    predict(stack, "loan_1", "loan_2", drained=False)
    stack.drain(sink_url=sink["JOINBACK_SINK_URL"])
    file = labels("id,day,repaid\n1,2026-02-01,yes\n2,2026-02-01,no\n")
    assert "2  matched, written" in cli("import", "loans", file, *ROLES, **sink).stdout
    events = [stack.server.hkeys(stack.record(f"loan_{n}")) for n in (1, 2)]
    for drains, forgets in ((False, False), (True, False), (False, True)):
        if drains:
            stack.drain(sink_url=sink["JOINBACK_SINK_URL"])
        if forgets:
            stack.server.delete(stack.record("loan_1"), stack.record("loan_2"))
        again = cli("import", "loans", file, *ROLES, **sink)
        assert again.returncode == 0, again.stdout + again.stderr
        assert "0  matched" in again.stdout
        assert "2  already there" in again.stdout
        if not forgets:
            assert [stack.server.hkeys(stack.record(f"loan_{n}")) for n in (1, 2)] == events


def test_a_corrected_label_is_another_event(stack: Stack, cli: Cli, labels: Labels) -> None:
    """A line that changed is told, and the others are not told again."""
    predict(stack, "loan_1", "loan_2")
    cli("import", "loans", labels("id,day,repaid\n1,2026-02-01,yes\n2,2026-02-01,no\n"), *ROLES)
    again = cli("import", "loans", labels("id,day,repaid\n1,2026-02-01,yes\n2,2026-02-03,yes\n"), *ROLES)
    assert "1  matched, written" in again.stdout
    assert "1  already there" in again.stdout
    later = cli("import", "loans", labels("id,day,repaid\n1,2026-02-04,yes\n"), *ROLES)
    assert "1  matched, written" in later.stdout
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
        assert "20  matched, written" in cli("import", "loans", file, *ROLES).stdout
        assert "20  already there" in cli("import", "loans", file, *ROLES).stdout
        if drained:
            stack.drain()
    old = cli("import", "loans", labels("id,day,repaid\n1,2026-02-01,800\n"), *ROLES)
    assert (
        "refused: row 1: loan_1 had this label, and it was corrected since; to return to it, give it a later time"
        in old.stdout
    )
    stack.drain()
    assert {row["feedback"] for row in stack.rows()} == {'{"repaid":700}'}


def test_labels_of_other_times_are_not_read(stack: Stack, cli: Cli, labels: Labels) -> None:
    """Of a key that was told before, at another time, nothing is fetched but the ids of its events."""
    predict(stack, *(f"loan_{n}" for n in range(30)))
    for day in (1, 2):
        stack.server.config_resetstat()
        file = labels("id,day,repaid\n" + "".join(f"{n},2026-02-0{day},{n + day}\n" for n in range(30)))
        assert "30  matched, written" in cli("import", "loans", file, *ROLES).stdout
    assert stack.server.info("commandstats")["cmdstat_hgetall"]["calls"] < 30


def test_more_fields_contradict_nothing(stack: Stack, cli: Cli, labels: Labels) -> None:
    """The same labels with one field more are told at their own time, and those before stay told."""
    predict(stack, "loan_1")
    file = labels("id,day,repaid,paid\n1,2026-02-01,yes,900\n")
    cli("import", "loans", file, *ROLES)
    assert "1  matched, written" in cli("import", "loans", file, *ROLES, "--field", "paid").stdout
    assert "1  already there" in cli("import", "loans", file, *ROLES).stdout
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
    assert "1  taken back since" in cli("import", "loans", file, *ROLES).stdout
    stack.drain()
    assert stack.row("loan_1")["status"] == "predicted"


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
    assert "1  matched, written" in again.stdout
    assert "1  already there" in again.stdout


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


def test_who_tells_the_labels(stack: Stack, cli: Cli, labels: Labels) -> None:
    """`--told-by` is the source of each label: a person's file overrules what a model guessed later."""
    predict(stack, "loan_1")
    file = labels("id,day,repaid\n1,2026-02-01,yes\n")
    assert cli("import", "loans", file, *ROLES, "--told-by", "human").returncode == 0
    stack.client.log_record("loans", feedback={"repaid": False}, join_key="loan_1", source="model")
    stack.drain({"loans": {"feedback": {"repaid": {"sources": ["human", "model"]}}}})
    assert stack.row("loan_1")["feedback"] == '{"repaid":true}'


def test_an_import_is_taken_back(stack: Stack, cli: Cli, labels: Labels) -> None:
    """All labels of one file are found by its name, and taken back; the others stay."""
    predict(stack, "loan_1")
    stack.client.log_record("loans", feedback={"days": 3}, join_key="loan_1", timestamp="2026-02-02T00:00:00Z")
    file = labels("id,day,repaid\n1,2026-02-01,yes\n")
    assert cli("import", "loans", file, *ROLES).returncode == 0
    stack.drain()
    done = cli("retract", "loans", "--where", "tags.import=labels.csv", "--yes")
    assert done.returncode == 0, done.stderr
    stack.drain()
    assert stack.row("loan_1")["feedback"] == '{"days":3}'
