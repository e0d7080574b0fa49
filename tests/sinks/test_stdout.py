"""The sink that is a pipe: rows as lines, nothing else between them, and a reader that went away."""

import json
import os
import subprocess
import sys
from pathlib import Path

from conftest import PATIENCE_S, Cli, Stack, process_environment
from msgspec import structs


def lines_of(done: "subprocess.CompletedProcess[str]") -> list[dict[str, object]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_row_a_line(stack: Stack, cli: Cli) -> None:
    """`joinback drain` writes each row that changed as one JSON object, joined by what Redis holds, and no more."""
    stack.client.log_record("loans", inputs={"amount": 900}, outputs={"default": 0.07}, join_key="loan_17")
    stack.client.flush(PATIENCE_S)
    done = cli("drain", JOINBACK_SINK_URL="stdout:")
    (row,) = lines_of(done)
    assert (row["join_key"], row["status"], row["inputs"]) == ("loan_17", "predicted", {"amount": 900})
    assert done.stderr.startswith("drained claimed=1 rows=1")
    stack.client.log_record("loans", feedback={"repaid": True}, join_key="loan_17")
    stack.client.flush(PATIENCE_S)
    (row,) = lines_of(cli("drain", JOINBACK_SINK_URL="stdout:"))
    assert (row["status"], row["outputs"], row["feedback"]) == ("joined", {"default": 0.07}, {"repaid": True})
    assert list(row)[:3] == ["application", "join_key", "status"]
    assert lines_of(cli("drain", JOINBACK_SINK_URL="stdout:")) == []


def test_a_reader_that_went_away(stack: Stack, cli: Cli, tmp_path: Path) -> None:
    """A closed pipe acknowledges nothing; the next drain, into the sink then adopted, writes the row again."""
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="loan_17")
    stack.client.flush(PATIENCE_S)
    reading, writing = os.pipe()
    os.close(reading)
    environment = process_environment(structs.replace(stack.settings, sink_url="stdout:"))
    command = [sys.executable, "-m", "joinback_worker", "drain"]
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=PATIENCE_S
    )
    os.close(writing)
    assert done.returncode == 2
    assert "nobody reads standard output" in done.stderr
    assert "Traceback" not in done.stderr
    assert stack.books().pending == 1
    assert "rows go to stdout:" in str(stack.drain().error)
    assert cli("sink", "adopt").returncode == 0
    assert stack.drain().rows == 1
