"""`joinback label`: what one row will say, what speaks against it, and that it can be taken back."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from conftest import PATIENCE_S, Cli, Stack
from ruled import file

RULES = {
    "labels": ["repaid"],
    "feedback": {
        "repaid": {"type": "bool", "sources": ["human", "manual"]},
        "days_late": {"type": "int", "min": 0},
        "reason": {"type": ["moved", "lost"]},
        "branch": {"type": "str"},
    },
}


@pytest.fixture
def rules(tmp_path: Path) -> str:
    return file(tmp_path, loans=RULES)


def log_a_loan(stack: Stack, **feedback: object) -> None:
    stack.client.log_record("loans", inputs=1, outputs=1, join_key="loan_17")
    if feedback:
        stack.client.log_record("loans", feedback=feedback, join_key="loan_17", event_id="first", source="model")
    assert stack.client.flush(PATIENCE_S)


def drain(stack: Stack, cli: Cli, rules: str) -> None:
    assert stack.client.flush(PATIENCE_S)
    assert cli("drain", JOINBACK_CONFIG=rules).returncode == 0


def test_one_row_by_hand(stack: Stack, cli: Cli, rules: str) -> None:
    """The command says what the row said and will say; after a drain it does, by the source `manual`."""
    log_a_loan(stack, repaid=False)
    drain(stack, cli, rules)
    done = cli("label", "loans", "loan_17", "repaid=true", "days_late=3", JOINBACK_CONFIG=rules)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(
        "loan_17 has: repaid false\n  days_late  nothing -> 3\n  repaid  false -> true\n"
        "logged with the source manual; the row"
    )
    assert json.loads(stack.row("loan_17")["feedback"]) == {"repaid": False}
    drain(stack, cli, rules)
    row = stack.row("loan_17")
    assert json.loads(row["feedback"]) == {"days_late": 3, "repaid": True}
    # And back, as the last line says.
    arguments = done.stdout.splitlines()[-1].partition("joinback ")[2].split()
    assert cli(*arguments, "--yes", JOINBACK_CONFIG=rules).returncode == 0
    drain(stack, cli, rules)
    assert json.loads(stack.row("loan_17")["feedback"]) == {"repaid": False}


def test_what_waits_in_redis_counts(stack: Stack, cli: Cli, rules: str) -> None:
    """A key that only Redis knows is known; and what it will say counts what is not drained yet."""
    log_a_loan(stack, repaid=False, days_late=2)
    answer = json.loads(cli("label", "loans", "loan_17", "repaid=true", "--json", JOINBACK_CONFIG=rules).stdout)
    assert (answer["before"], answer["source"], answer["troubles"]) == ({}, "manual", [])
    assert answer["changes"] == [{"join_key": "loan_17", "field": "repaid", "before": False, "after": True}]
    drain(stack, cli, rules)
    assert json.loads(stack.row("loan_17")["feedback"]) == {"days_late": 2, "repaid": True}


def test_a_source_of_no_rank_changes_nothing(stack: Stack, cli: Cli, rules: str) -> None:
    """A label by a source that counts for less than the one there is written, and told as changing nothing."""
    stack.client.log_record("loans", inputs=1, outputs=1, join_key="loan_17")
    stack.client.log_record("loans", feedback={"repaid": False}, join_key="loan_17", source="human")
    drain(stack, cli, rules)
    done = cli("label", "loans", "loan_17", "repaid=true", "--source", "a friend", JOINBACK_CONFIG=rules)
    assert "it will not change" in done.stdout
    drain(stack, cli, rules)
    assert json.loads(stack.row("loan_17")["feedback"]) == {"repaid": False}


SOON = (datetime.now(UTC) + timedelta(days=1)).isoformat()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("loan_17", "repaid=maybe"), 'repaid="maybe" is text, not bool; --force'),
        (("loan_17", "days_late=-1"), "days_late=-1 is below 0"),
        (("loan_17", "reason=stolen"), "is none of moved, lost"),
        (("loan_17", "repayed=true"), "no feedback ever had a field 'repayed'; did you mean repaid?"),
        (("loan_17", "repaid"), "'repaid' is not a label; write it like repaid=true"),
        (("loan_17", "repaid=true", "repaid=false"), "repaid is given twice"),
        (("loan_17", "repaid=true", "--at", "yesterday"), "'yesterday' is not a time"),
        (("loan_17", "repaid=true", "--at", SOON), "ahead of this clock, so it counts as now"),
        (("loan_18", "repaid=true"), "knows 'loan_18' of loans"),
    ],
)
def test_what_speaks_against_it(
    stack: Stack, cli: Cli, rules: str, arguments: tuple[str, ...], says: str
) -> None:  # fmt: skip
    """A wrong type, a mistyped field, key or time: one line with the reason, and nothing is written."""
    log_a_loan(stack)
    drain(stack, cli, rules)
    done = cli("label", "loans", *arguments, JOINBACK_CONFIG=rules)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done
    assert says in done.stderr
    assert stack.books().pending == 0


def test_a_label_that_comes_too_late(stack: Stack, cli: Cli, tmp_path: Path) -> None:
    """A label behind the join window would have no say: it is refused with how late it is."""
    now = datetime.now(UTC)
    stack.client.log_record("loans", inputs=1, outputs=1, join_key="a", timestamp=now - timedelta(days=20))
    days = file(tmp_path, loans={"join_window_s": 10 * 86_400})
    drain(stack, cli, days)
    label = ("label", "loans", "a", "repaid=true")
    done = cli(*label, "--at", (now - timedelta(days=9)).isoformat(), JOINBACK_CONFIG=days)
    assert done.returncode == 2
    assert "it comes too late to count: 86400 s after the join window" in done.stderr
    assert cli(*label, "--at", (now - timedelta(days=15)).isoformat(), JOINBACK_CONFIG=days).returncode == 0
    drain(stack, cli, days)
    assert json.loads(stack.row("a")["feedback"]) == {"repaid": True}


def test_force_and_new(stack: Stack, cli: Cli, rules: str) -> None:
    """--force writes what breaks its declaration, and --new a label whose prediction is yet to come."""
    log_a_loan(stack)
    drain(stack, cli, rules)
    assert cli("label", "loans", "loan_17", "days_late=-1", "--force", JOINBACK_CONFIG=rules).returncode == 0
    assert cli("label", "loans", "loan_18", "repaid=true", "--new", JOINBACK_CONFIG=rules).returncode == 0
    drain(stack, cli, rules)
    assert json.loads(stack.row("loan_17")["feedback"]) == {"days_late": -1}
    assert stack.row("loan_18")["status"] == "orphan"


def test_values_as_json_or_text(stack: Stack, cli: Cli, rules: str) -> None:
    """A value is JSON where it is, else text; of a field declared as text it is text, whatever it looks like."""
    log_a_loan(stack)
    drain(stack, cli, rules)
    values = ("branch=007", "note=007", "score=1e2", "tags=[1,null]", "reason=null", "said=a=b", "empty=")
    assert cli("label", "loans", "loan_17", *values, JOINBACK_CONFIG=rules).returncode == 0
    drain(stack, cli, rules)
    told = json.loads(stack.row("loan_17")["feedback"])
    assert told == {
        "branch": "007", "note": "007", "score": 100.0, "tags": [1, None], "reason": None, "said": "a=b", "empty": "",
    }  # fmt: skip
    assert cli("label", "loans", "loan_17", "branch=1e5", JOINBACK_CONFIG=rules).returncode == 0
    drain(stack, cli, rules)
    assert json.loads(stack.row("loan_17")["feedback"])["branch"] == "1e5"


def test_a_mistyped_application(stack: Stack, cli: Cli, rules: str) -> None:
    """An application that nobody logs under is told with the nearest name, unless it is said to be new."""
    log_a_loan(stack)
    done = cli("label", "loan", "loan_17", "repaid=true", JOINBACK_CONFIG=rules)
    assert (done.returncode, done.stderr) == (2, "joinback: no application loan; did you mean loans?\n")


@pytest.mark.parametrize("options", [(), ("--new",), ("--force",), ("--new", "--force")])
def test_a_label_of_an_erased_key(stack: Stack, cli: Cli, options: tuple[str, ...]) -> None:
    """A label that the next drain would delete is refused, whatever the options: it names the tombstone and its end."""
    log_a_loan(stack)
    stack.drain()
    erased = json.loads(cli("erase", "loans", "loan_17", "--yes", "--json").stdout)
    until = datetime.fromisoformat(erased["tombstones_until"])
    done = cli("label", "loans", "loan_17", "repaid=true", *options)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert f"'loan_17' of loans is erased, and its tombstone holds until {until:%Y-%m-%d %H:%M} UTC" in done.stderr
    assert stack.books().pending == 0
