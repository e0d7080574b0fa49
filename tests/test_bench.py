"""The bench of the client runs, and what it says of the client's behaviour is what we promise. No timing is judged."""

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PATIENCE_S

ROOT = Path(__file__).parents[1]
BENCH = ROOT / "bench" / "client.py"

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(not BENCH.exists(), reason="an installed package has no bench"),
]


@pytest.fixture(scope="module")
def table() -> dict[str, dict[str, str]]:
    """What a quick run prints: by row and column."""
    command = [sys.executable, str(BENCH), "--quick", "--ours"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    lines = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")]
    # The corner is empty.
    header, _, *rows = lines
    assert all(len(row) == len(header) + 1 for row in rows), lines
    return {row[0]: dict(zip(header, row[1:], strict=True)) for row in rows}


def test_every_figure_is_there(table: dict[str, dict[str, str]]) -> None:
    """The client and its floors have a row each, and the client a figure in each column."""
    assert list(table) == ["the harness alone", "floor: msgspec + deque", "floor: + one EVALSHA a batch", "joinback"]
    assert all(any(letter.isdigit() for letter in cell) for name, cell in table["joinback"].items() if name != "leaks")


def test_the_floors_are_the_measure(table: dict[str, dict[str, str]]) -> None:
    """Each floor is once itself, so the ratios are over it."""
    assert table["floor: msgspec + deque"]["x deque"] == "1.00x"
    assert table["floor: + one EVALSHA a batch"]["x EVALSHA"] == "1.00x"


def test_the_behaviour_is_as_promised(table: dict[str, dict[str, str]]) -> None:
    """Exit is bounded while Redis hangs; a forked child and good events lose nothing; no later change is sent."""
    ours = table["joinback"]
    assert not ours["exit, hung"].startswith(">")
    assert (ours["fork"], ours["bad objects"], ours["leaks"]) == ("500 of 500", "50 of 50", "no")


def test_the_memory_of_each_kind_of_service() -> None:
    """A row each, with a figure for each step, and what they come to."""
    command = [sys.executable, str(BENCH.with_name("client_memory.py")), "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    header, _, *rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")]
    assert [row[0] for row in rows] == ["nothing but asyncio and ssl", "Flask", "asyncio, ssl and redis-py"]
    for row in rows:
        *steps, together = (float(cell.partition(" ")[0]) for cell in row[2:])
        assert len(row) == len(header)
        # Of one round the steps are what they come to, but for their rounding.
        assert abs(sum(steps) - together) < 0.3


def test_the_document_has_a_place_for_the_table() -> None:
    """The real run writes between two markers; without them it would lose its minutes."""
    text = (ROOT / "docs" / "explanation" / "client-cost.md").read_text()
    assert text.index("<!-- bench/client.py writes from here -->") < text.index("<!-- to here -->")


def test_the_stages_of_a_call() -> None:
    """A line for each stage, with its figures, and no sender at work beside it."""
    command = [sys.executable, str(BENCH.with_name("client_stages.py"))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert (done.returncode, done.stderr) == (0, "")
    _, *lines = done.stdout.splitlines()
    assert lines[0].startswith("floor")
    assert lines[0].endswith("1.00x")
    assert any(line.startswith("log_record ") for line in lines)
    assert all(line.split()[-1].endswith("x") for line in lines)
