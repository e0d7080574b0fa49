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


@pytest.fixture(scope="module")
def alternatives() -> list[dict[str, dict[str, str]]]:
    """What a quick run prints: the table of rows and the table of costs, each by contender and column."""
    command = [sys.executable, str(BENCH.with_name("alternatives.py")), "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, dict[str, str]]] = []
    for block in done.stdout.split("\n\n")[1:]:
        # The corner is empty.
        header, _, *rows = [line.strip("| ").split(" | ") for line in block.strip().splitlines()]
        found.append({row[0]: dict(zip(header, row[1:], strict=True)) for row in rows})
    return found


LOST_BY = {
    "redis-py, pandas, to_sql": {"never labelled": "lost", "late": "lost", "corrected late": "wrong"},
    "Bytewax, a window of a week": {"late": "wrong", "corrected late": "wrong"},
}
"""As docs/explanation/alternatives.md says. Who is not named loses nothing."""
LABELS_COME = ("on time", "never labelled", "late", "early", "repeated", "corrected", "corrected late")


def test_what_each_alternative_loses(alternatives: list[dict[str, dict[str, str]]]) -> None:
    """Of each kind of key all rows are right, or what the page says; a killed job loses and doubles none."""
    rows, _ = alternatives
    assert {"redis-py, pandas, to_sql", "PostgreSQL and a view", "Joinback into SQLite"} < set(rows)
    for name, cells in rows.items():
        assert {kind: cells[kind] for kind in LABELS_COME} == dict.fromkeys(LABELS_COME, "right") | LOST_BY.get(
            name, {}
        )
        assert cells["job killed: lost / doubled"] in ("-", "0 / 0")


def test_what_each_alternative_costs(alternatives: list[dict[str, dict[str, str]]]) -> None:
    """Each has a figure in each column, but for a view, which has no job; Joinback is once itself."""
    rows, costs = alternatives
    assert list(costs) == list(rows)
    for name, cells in costs.items():
        without = {column for column, cell in cells.items() if cell == "-"}
        assert without in (set(), {"joined, events/s", "a start", "job, MB"}), name
    assert costs["Joinback into PostgreSQL"]["x Joinback"] == "1.00x"


def test_the_alternatives_have_a_place_for_their_tables() -> None:
    """The real run writes between two markers; without them it would lose its minutes."""
    text = (ROOT / "docs" / "explanation" / "alternatives.md").read_text()
    assert text.index("<!-- bench/alternatives.py writes from here -->") < text.index("<!-- to here -->")
