"""CONTRIBUTING.md does not lie: its table has the parts of the worker, in their order."""

import re

from documents import ROOT
from test_layering import LINES_MAX, ROOMS

TEXT = (ROOT / "CONTRIBUTING.md").read_text()


def test_the_table_has_every_part_of_the_worker() -> None:
    """The lines of the worker's parts name all of ROOMS, each once, the lowest first."""
    cells = re.findall(r"^\| … ([^|]*) \|", TEXT, re.MULTILINE)
    assert tuple(name.rstrip("/") for cell in cells for name in re.findall(r"`(.*?)`", cell)) == ROOMS


def test_every_folder_of_tests_is_named() -> None:
    """The line of tests/ says what each of its folders is for."""
    (line,) = [line for line in TEXT.splitlines() if line.startswith("| `tests/` |")]
    folders = {path.parent.name for path in (ROOT / "tests").glob("*/*.py")}
    assert len(folders) > 5
    assert {f"{name}/" for name in folders} <= set(re.findall(r"`(\w+/)`", line))


def test_the_length_of_a_file() -> None:
    """The limit of the page is the one that the suite enforces."""
    assert f"each file of the client and the worker to {LINES_MAX} lines of code and comments" in TEXT
