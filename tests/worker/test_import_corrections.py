"""A corrected label takes the place of the one before it, whatever its field's reducer is, in one file or in two."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import pytest
from conftest import Cli, Stack
from label_files import ROLES, Imports, Labels, predict

from joinback_worker.labels.lookup import LABELS_AT_ONCE
from joinback_worker.labels.same_value import canonical_json

REDUCERS = ("last", "first", "sum", "mean", "count", "majority", "min", "max")


def paid(*values: object) -> str:
    return "id,day,repaid\n" + "".join(f"1,2026-02-01,{value}\n" for value in values)


def test_the_later_line_of_one_file_wins(stack: Stack, cli: Cli, labels: Labels) -> None:
    """Of lines of one key and time the last one holds, for each of many keys; the file again is told already."""
    numbers = range(20)
    predict(stack, *(f"loan_{n}" for n in numbers))
    file = labels("id,day,repaid\n" + "".join(f"{n},2026-02-01,{value}\n" for value in (3, 7, 5) for n in numbers))
    done = cli("import", "loans", file, *ROLES)
    assert "60  matched, written" in done.stdout
    assert "Redis has 60 labels" in done.stdout
    again = cli("import", "loans", file, *ROLES)
    assert (again.returncode, "60  already there" in again.stdout) == (0, True), again.stdout
    stack.drain()
    assert {row["feedback"] for row in stack.rows()} == {'{"repaid":5}'}


def test_a_line_that_stands_twice_is_told_once(stack: Stack, cli: Cli, labels: Labels) -> None:
    """The same line twice in one file is one label, and the second is told already; a way back is refused."""
    predict(stack, "loan_1")
    done = cli("import", "loans", labels(paid(3, 3, 5, 3)), *ROLES)
    assert "2  matched, written" in done.stdout
    assert "1  already there" in done.stdout
    assert "refused: row 4: loan_1 had this label, and it was corrected since" in done.stdout
    assert "Redis has 2 labels" in done.stdout


def test_lines_that_are_far_apart(stack: Stack, cli: Cli, labels: Labels) -> None:
    """The later line wins, too, where the one before it was told a look-up ago and may be on its way to Redis."""
    count = LABELS_AT_ONCE
    stack.client.log_records(
        "loans", inputs=[1] * count, outputs=[1] * count, join_keys=[f"loan_{n}" for n in range(count)]
    )
    stack.drain()
    file = labels("id,day,repaid\n" + "".join(f"{n},2026-02-01,{value}\n" for value in (3, 5) for n in range(count)))
    assert f"{2 * count:,}  matched, written" in cli("import", "loans", file, *ROLES).stdout
    stack.drain()
    assert {row["feedback"] for row in stack.rows()} == {'{"repaid":5}'}


@pytest.mark.parametrize("drained", [True, False])
def test_a_correction_holds_under_every_reducer(stack: Stack, imports: Imports, tmp_path: Path, drained: bool) -> None:
    """3 corrected to 5 and then to 4 is 4, as a sum too, and it is so when each is repeated; the count is 1."""
    predict(stack, "loan_1")
    rules = {"loans": {"feedback": {name: {"reducer": name} for name in REDUCERS}}}
    fields = [option for name in REDUCERS for option in ("--field", f"{name}=repaid")]
    for value in (3, 5, 4):
        (tmp_path / "l.csv").write_text(paid(value))
        command = ["loans", "l.csv", *ROLES[:4], *fields]
        first, again = imports(command, command)
        assert "1  matched, written" in first.stdout
        assert "Redis has 1 label" in first.stdout
        assert "1  already there" in again.stdout
        if drained:
            stack.drain(rules)
    stack.drain(rules)
    said = ",".join(f'"{name}":{1 if name == "count" else 4}' for name in sorted(REDUCERS))
    assert stack.row("loan_1")["feedback"].replace(".0", "") == "{" + said + "}"


def test_one_field_more_does_not_count_twice(stack: Stack, imports: Imports, tmp_path: Path) -> None:
    """A label that is told again with another field beside it is one value of a sum."""
    predict(stack, "loan_1")
    (tmp_path / "l.csv").write_text("id,day,repaid,n\n1,2026-02-01,3,1\n")
    imports(["loans", "l.csv", *ROLES], ["loans", "l.csv", *ROLES, "--field", "n"])
    stack.drain({"loans": {"feedback": {"repaid": {"reducer": "sum"}, "n": {"reducer": "sum"}}}})
    assert stack.row("loan_1")["feedback"] == '{"n":1,"repaid":3}'


def test_a_column_of_another_type_tells_nothing_again(stack: Stack, imports: Imports, tmp_path: Path) -> None:
    """A new row with a fraction makes the column float: the whole numbers told before are told already."""
    predict(stack, "loan_1", "loan_2")
    for name, text in (("l.csv", paid(3)), ("m.csv", paid(3) + "2,2026-02-01,0.5\n")):
        (tmp_path / name).write_text(text)
    first, second, third = imports(*(["loans", name, *ROLES] for name in ("l.csv", "m.csv", "l.csv")))
    assert "1  matched, written" in first.stdout
    assert "1  matched, written" in second.stdout
    assert "1  already there" in second.stdout
    assert "1  already there" in third.stdout
    assert canonical_json({"b": [3.0, {"c": 2.0}], "a": 0.5}) == b'{"a":0.5,"b":[3,{"c":2}]}'


def test_another_source_is_another_label(stack: Stack, imports: Imports, tmp_path: Path) -> None:
    """What a model told counts for a person too once a person says so; each is told once, and none corrects another."""
    predict(stack, "loan_1")
    (tmp_path / "l.csv").write_text(paid("yes"))
    (tmp_path / "m.csv").write_text(paid("no"))
    model, human, again, first = imports(
        ["loans", "m.csv", *ROLES, "--told-by", "model"],
        ["loans", "l.csv", *ROLES, "--told-by", "human"],
        ["loans", "l.csv", *ROLES, "--told-by", "human"],
        ["loans", "m.csv", *ROLES, "--told-by", "model"],
    )
    assert "1  matched, written" in model.stdout
    assert "1  matched, written" in human.stdout
    assert "1  already there" in again.stdout
    assert "1  already there" in first.stdout
    stack.drain({"loans": {"feedback": {"repaid": {"sources": ["model", "human"]}}}})
    assert stack.row("loan_1")["feedback"] == '{"repaid":false}'


def test_the_id_of_a_label(stack: Stack, imports: Imports, tmp_path: Path) -> None:
    """It is a hash of what the line says, and of who says it, if somebody does: the same label of another source is
    told, too.
    """
    predict(stack, "loan_1")
    (tmp_path / "l.csv").write_text(paid("yes"))
    done = imports(["loans", "l.csv", *ROLES], *[["loans", "l.csv", *ROLES, "--told-by", "human"]] * 2)
    assert ["1  matched, written" in each.stdout for each in done] == [True, True, False]
    at = int(datetime(2026, 2, 1, tzinfo=UTC).timestamp()) * 1_000_000
    ids = {
        f"feedback:import-{at:x}-{hashlib.sha256(said).hexdigest()[:32]}".encode()
        for said in (b'["loans","loan_1",{"repaid":true}]', b'["loans","loan_1",{"repaid":true},"human"]')
    }
    assert ids <= set(stack.server.hkeys(stack.record("loan_1")))
