"""What an import says of labels that would not count: by a retraction, by the rules, by the sample or by their time."""

import json
from pathlib import Path

import pytest
import ruled
from conftest import Cli, Stack
from label_files import ROLES, Imports, Labels, predict

from joinback.sampling import keeps

LINE = "id,day,repaid\n1,2026-02-01,yes\n"


@pytest.mark.parametrize("by_event", [False, True])
def test_a_label_that_was_taken_back(stack: Stack, cli: Cli, labels: Labels, tmp_path: Path, by_event: bool) -> None:
    """A label that a retraction covers is counted as such, exit code 1, with the way out; taken back, it is told."""
    predict(stack, "loan_1")
    file = labels(LINE)
    if by_event:
        cli("import", "loans", file, *ROLES)
        (field,) = (f for f in stack.server.hkeys(stack.record("loan_1")) if f.startswith(b"feedback:"))
        stack.client.retract("loans", "loan_1", event_ids=[field.decode().partition(":")[2]], event_id="oops")
    else:
        stack.client.retract("loans", "loan_1", event_id="oops")
    stack.drain()
    done = cli("import", "loans", file, *ROLES)
    assert done.returncode == 1
    assert "0  matched" in done.stdout
    assert "1  taken back since" in done.stdout
    assert "taken back: row 1: loan_1: a retraction takes it back" in done.stdout
    assert "joinback retract loans --undo RECEIPT" in done.stdout
    stack.client.retract("loans", "loan_1", retraction_ids=["oops"])
    stack.drain()
    assert cli("import", "loans", file, *ROLES).returncode == 0
    stack.drain()
    assert stack.row("loan_1")["feedback"] == '{"repaid":true}'


def test_the_declared_types(stack: Stack, cli: Cli, labels: Labels) -> None:
    """A column is what the rules declare of its field, before anything is guessed; --type has the last word."""
    predict(stack, "loan_1")
    config = ruled.file(stack.folder, loans={"feedback": {"repaid": {"type": "bool"}}})
    file = labels("id,day,repaid\n1,2026-02-01,1\n")
    done = cli("import", "loans", file, *ROLES, "--dry-run", JOINBACK_CONFIG=config)
    assert f"  repaid  bool, as {Path(config).name} declares" in done.stdout
    done = cli("import", "loans", file, *ROLES, "--dry-run", "--type", "repaid=int", JOINBACK_CONFIG=config)
    assert "  repaid  int, as given" in done.stdout


def test_what_the_rules_would_drop_is_refused(stack: Stack, cli: Cli, labels: Labels) -> None:
    """A value that a strict field does not take, and a label after the join window, are refused with row and reason;
    so is one of a prediction that waits in Redis.
    """
    predict(stack, "loan_1", "loan_2")
    predict(stack, "loan_3", drained=False)
    amount = {"type": "int", "min": 0, "strict": True}
    config = ruled.file(stack.folder, loans={"join_window_s": 86_400 * 30, "feedback": {"repaid": amount}})
    file = labels("id,day,repaid\n1,2026-01-09,-1\n2,2026-02-01,1\n3,2026-02-01,1\n1,2026-01-09,7\n")
    done = cli("import", "loans", file, *ROLES, JOINBACK_CONFIG=config)
    assert done.returncode == 1
    assert "1  matched, written" in done.stdout
    assert "3  refused" in done.stdout
    assert f"refused: row 1: repaid is below 0, and {Path(config).name} declares it strict" in done.stdout
    for row in (2, 3):
        assert f"refused: row {row}: loan_{row}: 86,400 s after the join window of its prediction" in done.stdout


def test_names_that_are_nearly_those_of_the_rules(stack: Stack, cli: Cli, labels: Labels) -> None:
    """A field and a source that the rules name otherwise are one line each, and nothing is refused."""
    predict(stack, "loan_1")
    config = ruled.file(stack.folder, loans={"feedback": {"repaid": {"sources": ["human", "model"]}}})
    options = ("--field", "repayed=repaid", "--told-by", "Human")
    done = cli("import", "loans", labels(LINE), *ROLES, *options, JOINBACK_CONFIG=config)
    assert done.returncode == 0
    field, source = done.stderr.splitlines()
    assert f"{Path(config).name} declares no field 'repayed'; did you mean 'repaid'?" in field
    assert "no sources of repaid name 'Human', so all others come before it; did you mean 'human'?" in source


def test_an_orphan_stays_unmatched(stack: Stack, imports: Imports, tmp_path: Path) -> None:
    """With --orphans a label without a prediction is exit code 1 each time, and told once."""
    predict(stack, "loan_1")
    (tmp_path / "l.csv").write_text("id,day,repaid\n2,2026-02-01,yes\n")
    first, again = imports(*[["loans", "l.csv", *ROLES, "--orphans", "--json"]] * 2)
    assert (first.code, again.code) == (1, 1)
    counts = [
        (found["unmatched"], found["already_told"], found["told"])
        for found in map(json.loads, (first.stdout, again.stdout))
    ]
    assert counts == [(1, 0, 1), (1, 0, 0)]


def test_labels_outside_the_sample_are_no_fault(stack: Stack, cli: Cli, labels: Labels, tmp_path: Path) -> None:
    """Labels of predictions that were never logged are one line and exit code 0; --report has each of them."""
    stack.client.set_sample_rate("loans", 0.5)
    keys = [f"loan_{n}" for n in range(40)]
    predict(stack, *keys)
    left_out = sum(not keeps("loans", key, 0.5) for key in keys)
    file = labels("id,day,repaid\n" + "".join(f"{n},2026-02-01,yes\n" for n in range(40)))
    done = cli("import", "loans", file, *ROLES, "--report", "all.jsonl")
    assert done.returncode == 0
    assert f"{left_out}  outside the sample: their predictions were never logged" in done.stdout
    assert "0  unmatched" in done.stdout
    assert "row " not in done.stdout
    assert len((tmp_path / "all.jsonl").read_text().splitlines()) == left_out


def test_a_label_before_its_prediction(stack: Stack, cli: Cli, labels: Labels) -> None:
    """A date alone is midnight UTC, before a prediction of the same day: it is told, and the report has a note."""
    stack.client.log_record("loans", inputs=1, outputs=1, join_key="loan_1", timestamp="2026-02-01T09:00:00Z")
    stack.drain()
    done = cli("import", "loans", labels(LINE), *ROLES)
    assert done.returncode == 0
    assert "note: 1 label of the matched is earlier than its prediction" in done.stdout
    assert "midnight UTC" in done.stdout
