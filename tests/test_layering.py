"""The house's plan, held against the imports: arrows go one way, files stay small, and no stray package."""

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CLIENT = ROOT / "client" / "joinback"
DELIVERY = CLIENT / "_delivery"
WORKER = ROOT / "worker" / "joinback_worker"
SOURCES = sorted([*CLIENT.rglob("*.py"), *WORKER.rglob("*.py")])
LINES_MAX = 250
"""Of code and comments. Docstrings are not counted: a promise told well is no second idea."""


def imports(path: Path) -> set[str]:
    """Every module a file imports, in full."""
    return imports_of(path, ast.parse(path.read_text()))


def imports_of(path: Path, tree: ast.Module) -> set[str]:
    package = path.relative_to(CLIENT.parent if path.is_relative_to(CLIENT) else WORKER.parent).parent.parts
    found = set()
    for node in ast.walk(tree):
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


DOOR = {"joinback._delivery", "joinback._delivery.Funnel"}
NEEDED = {
    # The contract with the worker, and what both sides say of Redis.
    "joinback.wire",
    "joinback.redis_url",
    "joinback.redis_errors",
    "joinback.credentials",
    "joinback.memory",
    "joinback.command_line",
    # What the client was told, and what it answers a wrong call with.
    "joinback.options",
    "joinback.errors",
    "joinback.drops",
    "joinback.log",
    # From a call to bytes.
    "joinback.events",
    "joinback.ids",
    "joinback.values",
    "joinback.nesting",
    "joinback.sampling",
    "joinback.times",
    "joinback.patience",
    "joinback.timeouts",
    "joinback.forks",
}
"""What the delivery imports of the rest of the client."""
OUTSIDE = sorted(path for path in CLIENT.rglob("*.py") if not path.is_relative_to(DELIVERY))
INSIDE = sorted(DELIVERY.rglob("*.py"))


@pytest.mark.parametrize("path", OUTSIDE, ids=lambda path: str(path.relative_to(CLIENT)))
def test_the_delivery_has_one_door(path: Path) -> None:
    """Nothing outside the folder of the delivery imports from inside it but the door."""
    assert {name for name in imports(path) if name.startswith("joinback._delivery")} <= DOOR


def test_the_door_is_one_class() -> None:
    """What can be imported of the delivery is one class, and some module of the client passes through it."""
    from joinback import _delivery

    assert _delivery.__all__ == ["Funnel"]
    assert any(imports(path) >= DOOR for path in OUTSIDE)


@pytest.mark.parametrize("path", OUTSIDE, ids=lambda path: str(path.relative_to(CLIENT)))
def test_nobody_reaches_through_the_door(path: Path) -> None:
    """Of what is private to another object or module only the way to a client's door is used; and of what hangs on the
    door only the options.
    """
    private = {name.rpartition(".")[2] for name in imports(path) if not name.startswith("joinback._delivery")}
    assert not {name for name in private if name.startswith("_") and name != "__version__"}
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Attribute):
            continue
        holder = node.value
        if node.attr.startswith("_") and not node.attr.startswith("__") and ast.unparse(holder) != "self":
            assert node.attr in WAY_TO_THE_DOOR, ast.unparse(node)
        if isinstance(holder, ast.Attribute) and is_door(holder.value):
            assert holder.attr == "options", ast.unparse(node)


WAY_TO_THE_DOOR = {"_funnel", "_open_funnel"}


def is_door(node: ast.expr) -> bool:
    """Whether this is how the modules of the client name the door."""
    return isinstance(node, ast.Name | ast.Attribute) and (node.id if isinstance(node, ast.Name) else node.attr) in (
        "funnel",
        "_funnel",
    )


def test_the_delivery_needs_little() -> None:
    """The delivery imports of the rest of the client what is listed here: all of it, and nothing else."""
    names = {name for path in INSIDE for name in imports(path) if name.startswith("joinback.")}
    modules = {".".join(name.split(".")[:2]) for name in names} - {"joinback._delivery"}
    assert modules == NEEDED


@pytest.mark.parametrize("name", sorted(NEEDED))
def test_what_the_delivery_needs_stands_below_it(name: str) -> None:
    """Nothing that the delivery imports imports the delivery, or the client that stands above it."""
    path = CLIENT / f"{name.removeprefix('joinback.')}.py"
    above = {"joinback._delivery", "joinback.client", "joinback.testing", "joinback.gantry"}
    assert not {".".join(found.split(".")[:2]) for found in imports(path)} & above


KEPT_RATES = {"configured", "_published", "_of_calls"}


def test_one_class_owns_the_sample_rates() -> None:
    """Rates are kept and compared in one file; all others ask it."""
    touched = {
        (path.name, node.attr)
        for path in CLIENT.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in KEPT_RATES
    }
    # The plain path asks whether there is any rate at all, without a call.
    assert touched == {("rates.py", name) for name in KEPT_RATES} | {("funnel.py", "configured")}


def test_the_contract_is_used() -> None:
    """Each module of the contract is one that the worker imports."""
    used = {name for path in WORKER.rglob("*.py") for name in imports(path)}
    assert {".".join(name.split(".")[:2]) for name in used} >= CONTRACT


CONTRACT = {
    "joinback.wire",
    # The rules of both sides stand in one file.
    "joinback.config_file",
    "joinback.errors",
    "joinback.settings",
    "joinback.redis_errors",
    "joinback.redis_url",
    "joinback.urls",
    "joinback.command_line",
    # How a login that rotates is asked for.
    "joinback.credentials",
    # Where the Redis in a process's memory is.
    "joinback.memory",
    # Which keys are in a sample, so that a person can be told.
    "joinback.sampling",
    # What a cell of a table says, as a key: the import is a client itself, and looks keys up before it logs.
    "joinback.cells",
    # Why a cell is none.
    "joinback.drops",
}


@pytest.mark.parametrize("path", sorted(WORKER.rglob("*.py")), ids=lambda path: str(path.relative_to(WORKER)))
def test_the_worker_uses_the_contract_only(path: Path) -> None:
    """Of the client's modules the worker imports those that both must agree on; only the demo imports more."""
    used = {name for name in imports(path) if name.startswith("joinback.")}
    modules = {".".join(name.split(".")[:2]) for name in used}
    if path.name not in ("demo.py", "demo_months.py"):
        assert modules <= CONTRACT


def test_one_file_imports_arq() -> None:
    """Arq can be replaced: its name stands in one file."""
    assert [path.name for path in SOURCES if "arq" in top_level(path)] == ["main.py"]


@pytest.mark.parametrize("path", sorted((WORKER / "law").glob("*.py")), ids=lambda path: path.name)
def test_the_law_is_pure(path: Path) -> None:
    """The law imports nothing that does I/O, reads a clock or logs; of the worker nothing but its errors."""
    pure = {"collections", "datetime", "functools", "hashlib", "math", "re", "typing", "msgspec", "joinback"}
    assert top_level(path) - {"joinback_worker"} <= pure
    worker = {name for name in imports(path) if name.startswith("joinback_worker.")}
    assert {name.split(".")[1] for name in worker} <= {"law", "errors"}


ROOMS = (
    # What anybody may need.
    "errors",
    "totals",
    "nearest",
    "key_forms",
    "logs",
    "embedded",
    # The join, and by which rules.
    "law",
    "config",
    # Where rows go, and where events come from.
    "sinks",
    "connection",
    "notes",
    "drain",
    # Labels by hand and from files.
    "by_hand",
    "labels",
    # What is asked of the rows, and of the whole.
    "answers",
    "flat",
    "operating",
    "metrics",
    "dashboard",
    # Who starts it.
    "local",
    "main",
    "cli",
    "__main__",
)
"""The rooms of the worker, the lowest first: each imports from those above it in this list, and from no other."""


def test_no_circle_of_files() -> None:
    """No file imports, by way of others, itself: not even inside a function. An import for types alone is none."""
    arrows = {name_of(path): imports_at_run_time(path) for path in SOURCES}
    graph = {name: {found for found in used if found in arrows and found != name} for name, used in arrows.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def name_of(path: Path) -> str:
    parts = path.relative_to((CLIENT if path.is_relative_to(CLIENT) else WORKER).parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


def imports_at_run_time(path: Path) -> set[str]:
    """The modules that a file imports when it runs. Of `from package import module` the module, not its package."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = [ast.Pass()]
    found = imports_of(path, tree)
    packages = {name for name in found if any(other.startswith(f"{name}.") for other in found & MODULES)}
    return found - packages


MODULES = {name_of(path) for path in SOURCES}


def test_every_room_of_the_worker_is_on_the_plan() -> None:
    """The list names every folder and every file at the top of the worker."""
    found = {path.stem for path in WORKER.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert found - {"__init__"} == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_arrows_go_one_way(room: str) -> None:
    """A room imports from the rooms before it in the list alone."""
    files = (WORKER / room).rglob("*.py") if (WORKER / room).is_dir() else [WORKER / f"{room}.py"]
    used = {name.split(".")[1] for path in files for name in imports(path) if name.startswith("joinback_worker.")}
    assert used & set(ROOMS) <= set(ROOMS[: ROOMS.index(room) + 1])


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
