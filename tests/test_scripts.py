"""Scripts that no other test runs whole still fit what they measure and show."""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted(
    path.relative_to(ROOT).as_posix()
    for place in ("bench", "docs", "examples")
    for path in (ROOT / place).rglob("*.py")
)
PRODUCT = ("joinback", "joinback_worker")


def taken(script: Path) -> Iterator[tuple[str, str]]:
    """Module and name of whatever this script imports from the product, also inside its functions."""
    for node in ast.walk(ast.parse(script.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module.split(".")[0] in PRODUCT:
            yield from ((node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "__name__") for alias in node.names if alias.name.split(".")[0] in PRODUCT)


def exists(module: str, name: str) -> bool:
    if hasattr(importlib.import_module(module), name):
        return True
    try:
        importlib.import_module(f"{module}.{name}")
    except ModuleNotFoundError:
        return False
    return True


@pytest.mark.parametrize("script", SCRIPTS)
def test_what_a_script_takes_from_the_product_is_there(script: str) -> None:
    """Each name that a bench, an example or a page's script imports from client or worker exists there."""
    assert [f"{module}.{name}" for module, name in taken(ROOT / script) if not exists(module, name)] == []


def test_enough_is_looked_at() -> None:
    """The benches import by the dozen; a walk that found none would prove nothing."""
    assert sum(1 for script in SCRIPTS for _ in taken(ROOT / script)) > 100
