"""docs/how-to/dead-letters.md does not lie: its table has every reason that the code gives, and no other."""

import ast
import re

from documents import ROOT

from joinback_worker.operating.letters import ADVICE

PAGE = ROOT / "docs" / "how-to" / "dead-letters.md"
WORKER = ROOT / "worker" / "joinback_worker"
POSITIONS = {"Rejected": 2, "DeadEntry": 1, "Bad": 0, "Unusable": 0}
"""What holds a reason -> which argument of it the reason is."""
BY_HAND = "lost"
"""The counter that `joinback status` has a person write, to close the books."""


def explained() -> set[str]:
    """Return the reasons in the first column of the table."""
    table = PAGE.read_text().partition("| reason |")[2].partition("\n\n")[0]
    return {
        name for cell in re.findall(r"^\| (`[^|]+) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", cell)
    }


def given() -> set[str]:
    """Return the reasons that the worker's code and the client's script spell out in full."""
    calls = [
        (POSITIONS[ast.unparse(node.func)], node.args)
        for path in WORKER.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in POSITIONS
    ]
    reasons = [arguments[place] for place, arguments in calls if len(arguments) > place]
    spelled = {reason.value for reason in reasons if isinstance(reason, ast.Constant)}
    script = (ROOT / "client" / "joinback" / "write.lua").read_text()
    return spelled | set(re.findall(r"count\('dead:(\w+)'", script))


def test_every_reason_is_explained() -> None:
    """The table has the reasons that the commands know."""
    assert explained() == set(ADVICE)


def test_the_commands_know_every_reason() -> None:
    """Each reason has its advice: those that the code gives, and the one that a person counts by hand.

    `<kind>_overflow` is the one that the code puts together.
    """
    found = given()
    assert len(found) > 5
    assert {name for name in ADVICE if not name.endswith("_overflow")} == {*found, BY_HAND}


def test_the_reason_that_a_person_counts() -> None:
    """`lost` is the reason in the line that `joinback status` prints for books that do not balance."""
    troubles = "\n".join(path.read_text() for path in (WORKER / "operating").rglob("*.py"))
    assert f"dead:{BY_HAND} " in troubles
