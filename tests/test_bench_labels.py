"""The bench of the import runs, and its labels are accounted for as it made them. No timing is judged."""

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PATIENCE_S

BENCH = Path(__file__).parents[1] / "bench" / "labels.py"

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(not BENCH.exists(), reason="an installed package has no bench"),
]


def test_the_bench_runs() -> None:
    """One in a hundred matches nothing and is told its form, one in a thousand is refused, and all others are told."""
    command = [sys.executable, str(BENCH), "--labels", "3000"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert {"2,967  matched, written", "30  unmatched, not written; --orphans writes them", "3  refused"} <= set(lines)
    assert any("30 of 30 tried would match with the prefix 'loan_', not 'loan_x'" in line for line in lines)
    assert lines[-1].startswith("| 3,000 | ")
    assert lines[-1].count("|") == lines[-3].count("|")
