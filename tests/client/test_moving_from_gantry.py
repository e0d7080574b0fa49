"""docs/how-to/move-from-gantry.md does not lie: its code runs, its names exist, its proofs are tests."""

import inspect
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from conftest import PATIENCE_S, Stack

import joinback
from joinback import gantry
from joinback.settings import Settings

ROOT = Path(__file__).parents[2]
DOC = (ROOT / "docs" / "how-to" / "move-from-gantry.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", DOC, re.MULTILINE | re.DOTALL)


def cells() -> list[list[str]]:
    """The cells of all tables, without their heads."""
    rows = [line.strip("| ").split(" | ") for line in DOC.splitlines() if line.startswith("| ")]
    return [row for row in rows if row[0] not in ("---", "Gantry 0.5 to 0.6")]


def test_one_line_changes() -> None:
    """Before and after differ in the import, and in nothing else."""
    before, after = (block.splitlines() for block in blocks("python"))
    assert before[0] == "import gantry"
    assert after == ["import joinback.gantry as gantry", *before[1:]]


def test_its_code_runs(stack: Stack) -> None:
    """The code after the move logs, the worker joins, and the query answers."""
    joinback.init(stack.settings.redis_url, strict=True)
    namespace: dict[str, Any] = {}
    exec(blocks("python")[1], namespace)
    assert joinback.flush(PATIENCE_S)
    joinback.close()
    stack.drain()
    (query,) = blocks("sql")
    with closing(sqlite3.connect(stack.settings.sink_url.removeprefix("sqlite:///"))) as database:
        answer = database.execute(query).fetchall()
    assert answer == [(namespace["key"], "production", '{"default":0.07}', '{"repaid":true}')]


def test_its_names_exist() -> None:
    """What the first table maps is a function of the shim, an argument of one, a variable, or the tag `env`."""
    spans = [span for row in cells() if len(row) == 2 for span in re.findall(r"`(.*?)`", row[0])]
    mapped = {re.split(r"[(.=]", span)[0] for span in spans}
    assert set(gantry.__all__) <= mapped
    functions = [getattr(gantry, name) for name in gantry.__all__ if inspect.ismethod(getattr(gantry, name))]
    arguments = {name for function in functions for name in inspect.signature(function).parameters}
    rest = {name for name in mapped - set(gantry.__all__) if not name.startswith("GANTRY_")}
    assert rest - {"env"} <= arguments
    assert len(rest) > 10
    (init,) = [span for span in spans if span.startswith("init(")]
    assert init == f"init({', '.join(inspect.signature(gantry.init).parameters)})"


def test_its_environment_variables_are_read() -> None:
    """Each GANTRY_ variable of the first table is one that `init` reads."""
    source = (ROOT / "client" / "joinback" / "gantry" / "options.py").read_text()
    named = {name for row in cells() if len(row) == 2 for name in re.findall(r"GANTRY_[A-Z_]+", row[0])}
    assert named == set(re.findall(r"GANTRY_[A-Z_]+", source))


def test_its_variables_exist() -> None:
    """A variable of Joinback's that it names is one of the settings."""
    known = {f"JOINBACK_{field.upper()}" for field in Settings.__struct_fields__}
    named = set(re.findall(r"JOINBACK_[A-Z_]+", DOC))
    assert named
    assert named <= known


def test_every_proof_is_a_test() -> None:
    """The proofs of what is safer are tests of this suite."""
    named = set(re.findall(r"`(test_\w+)`", DOC))
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert len(named) > 12
    assert {name for name in named if f"def {name}(" not in tests} == set()
