"""A sink that answers no questions: `explain` and `orphans` go on without, and `report` says in one line what to do."""

import os
from pathlib import Path

import pytest
from conftest import Cli, Stack
from explained import log

OTHER_PACKAGE = Path(__file__).parents[1] / "sinks" / "other_package"


def test_a_pipe(stack: Stack, cli: Cli) -> None:
    """With rows on standard output there is a verdict all the same; a report and orphans cost one line."""
    log(stack, "a")
    pipe = {"JOINBACK_SINK_URL": "stdout:"}
    assert cli("drain", **pipe).returncode == 0
    said = cli("explain", "loans", "a", **pipe)
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout.startswith("waits for feedback, for ")
    for words in (("report", "loans"), ("orphans", "loans")):
        done = cli(*words, **pipe)
        assert (done.returncode, done.stderr) == (
            2,
            "joinback: JOINBACK_SINK_URL is stdout:, which keeps no rows that could answer\n",
        )


def test_a_sink_of_another_package(stack: Stack, cli: Cli, tmp_path: Path) -> None:
    """A sink that speaks no SQL gets a verdict, and its orphans; a report costs one line, which names the fix."""
    path = os.pathsep.join(filter(None, [str(OTHER_PACKAGE), os.environ.get("PYTHONPATH")]))
    ledger = {"JOINBACK_SINK_URL": f"ledger://{tmp_path}/events", "PYTHONPATH": path}
    log(stack, "loan_1", "loan_2")
    log(stack, "loan-1", repaid=True)
    assert cli("drain", **ledger).returncode == 0
    said = cli("explain", "loans", "loan_2", **ledger)
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout.startswith("waits for feedback, for ")
    assert "loan-1 -> loan_1" in cli("orphans", "loans", **ledger).stdout
    report = cli("report", "loans", **ledger)
    assert (report.returncode, report.stderr) == (
        2,
        "joinback: a sink at ledger: cannot answer questions; joinback sink copy puts its rows into one that can,"
        " such as sqlite:////var/lib/joinback.db\n",
    )


@pytest.mark.parametrize("scheme", ["jsonl", "parquet"])
def test_a_lake_without_duckdb(stack: Stack, cli: Cli, tmp_path: Path, scheme: str) -> None:
    """Where DuckDB is not installed, `explain` and `orphans` do without it, and `report` says what to install."""
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "duckdb.py").write_text("raise ModuleNotFoundError(name='duckdb')")
    path = os.pathsep.join([str(hidden), *filter(None, [os.environ.get("PYTHONPATH")])])
    lake = {"JOINBACK_SINK_URL": f"{scheme}:///{tmp_path}/lake", "PYTHONPATH": path}
    log(stack, "loan_1", "loan_2")
    log(stack, "loan-1", repaid=True)
    assert cli("drain", **lake).returncode == 0
    said = cli("explain", "loans", "loan_2", **lake)
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout.startswith("waits for feedback, for ")
    assert "loan-1 -> loan_1" in cli("orphans", "loans", **lake).stdout
    report = cli("report", "loans", **lake)
    assert (report.returncode, report.stderr) == (
        2,
        "joinback: answers from a lake need DuckDB; in Joinback's clone: pip install '.[report]'\n",
    )
