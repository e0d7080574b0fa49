"""The house's plan, held against the imports: arrows go one way, files stay small, and no stray package."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CLIENT = ROOT / "client" / "joinback"
WORKER = ROOT / "worker" / "joinback_worker"
SOURCES = sorted([*CLIENT.rglob("*.py"), *WORKER.rglob("*.py")])
LINES_MAX = 250
"""Of code and comments. Docstrings are not counted: a promise told well is no second idea."""


def imports(path: Path) -> set[str]:
    """Every module a file imports, in full."""
    package = path.relative_to(CLIENT.parent if path.is_relative_to(CLIENT) else WORKER.parent).parent.parts
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            found.update({module} | {f"{module}.{name.name}" for name in node.names})
    return found


def top_level(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports(path)}


def test_there_are_sources() -> None:
    """These tests look at something."""
    assert len(SOURCES) > 20


@pytest.mark.parametrize("path", sorted(CLIENT.rglob("*.py")), ids=lambda path: path.name)
def test_the_client_knows_nothing_of_the_worker(path: Path) -> None:
    """The client imports msgspec and the standard library, and redis for its transport; never the worker's packages."""
    foreign = {"joinback_worker", "arq", "structlog", "click", "rich", "numpy", "pandas"}
    if path.parent.name != "transport":
        foreign.add("redis")
    assert not top_level(path) & foreign


CONTRACT = {
    "joinback.wire",
    # The rules of both sides stand in one file.
    "joinback.config_file",
    "joinback.errors",
    "joinback.settings",
    "joinback.redis_errors",
    "joinback.redis_url",
    "joinback.urls",
    # How a login that rotates is asked for.
    "joinback.credentials",
    # Where the Redis in a process's memory is.
    "joinback.memory",
    # Which keys are in a sample, so that a person can be told.
    "joinback.sampling",
    # What a cell of a table says, as a key: the import is a client itself, and looks keys up before it logs.
    "joinback.cells",
}


@pytest.mark.parametrize("path", sorted(WORKER.rglob("*.py")), ids=lambda path: str(path.relative_to(WORKER)))
def test_the_worker_uses_the_contract_only(path: Path) -> None:
    """Of the client the worker imports what both must agree on; only the demo, and what a person tells by a command,
    are clients themselves.
    """
    used = {name for name in imports(path) if name.startswith("joinback.")}
    modules = {".".join(name.split(".")[:2]) for name in used}
    if path.name not in ("demo.py", "demo_months.py", "telling.py"):
        assert modules <= CONTRACT


def test_one_file_imports_arq() -> None:
    """Arq can be replaced: its name stands in one file."""
    assert [path.name for path in SOURCES if "arq" in top_level(path)] == ["main.py"]


@pytest.mark.parametrize(
    "name", ["fold.py", "rules.py", "counting.py", "declared.py", "verdict.py", "plain.py", "reduce.py", "row.py"]
)
def test_the_join_is_pure(name: str) -> None:
    """The law, from the fold to the row, imports nothing that does I/O, tells the time or logs."""
    pure = {
        "collections",
        "datetime",
        "functools",
        "hashlib",
        "math",
        "re",
        "typing",
        "msgspec",
        "joinback",
        "joinback_worker",
    }
    assert top_level(WORKER / name) <= pure


def test_keys_are_spelled_in_one_file() -> None:
    """Nothing but wire.py writes a Redis key of ours; the others ask it."""
    spelled = {
        path.name
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.match(r"joinback:\S", node.value)
    }
    assert spelled == {"wire.py"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_stay_small(path: Path) -> None:
    """A file that wants more has two ideas."""
    text = path.read_text()
    assert len(text.splitlines()) - sum(docstring_lines(node) for node in ast.walk(ast.parse(text))) <= LINES_MAX


def docstring_lines(node: ast.AST) -> int:
    """The lines of text that stand for themselves in this node's body: its docstring, and those of its attributes."""
    body = node.body if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) else []
    texts = [line for line in body if isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant)]
    return sum((line.end_lineno or line.lineno) - line.lineno + 1 for line in texts)


@pytest.mark.parametrize("folder", ["client", "worker", "tests"])
def test_no_stray_package(folder: str) -> None:
    """An __init__.py here would make every module importable under a second name."""
    assert not (ROOT / folder / "__init__.py").exists()
