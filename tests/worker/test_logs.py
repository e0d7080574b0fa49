"""The worker's log: one line per event, as text or as JSON."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from conftest import Cli, Stack

LIBRARY = """
import logging
from joinback_worker.logs import configure_logging
configure_logging(as_json=True)
try:
    1 / 0
except ZeroDivisionError:
    logging.getLogger("arq.worker").exception("odd %s", "value")
"""


def test_json(stack: Stack, spawn: Callable[..., Any], wait_until: Callable[..., Any]) -> None:
    """With JOINBACK_LOG_FORMAT=json each line of a worker is one object with its time, level and event."""
    stack.client.log_record("loans", inputs=1, outputs=2)
    assert stack.client.flush()
    process = spawn("-m", "joinback_worker", "worker", JOINBACK_LOG_FORMAT="json")
    # The books are right before the line is written, and a drain that is stopped in between writes none.
    wait_until(lambda: "cycle_finished" in Path(process.log.name).read_text())
    process.terminate()
    process.wait()
    process.log.seek(0)
    lines = [json.loads(line) for line in process.log.read().splitlines()]
    assert all(line.keys() >= {"timestamp", "level", "event"} for line in lines)
    (finished,) = [line for line in lines if line["event"] == "cycle_finished"]
    assert (finished["application"], finished["rows"], finished["level"]) == ("loans", 1, "info")
    assert {"worker_started", "worker_stopped"} <= {line["event"] for line in lines}


def test_a_librarys_line() -> None:
    """A line of another package is an object too, with its traceback inside."""
    done = subprocess.run([sys.executable, "-c", LIBRARY], capture_output=True, text=True, check=True)
    (line,) = map(json.loads, done.stderr.splitlines())
    assert (line["event"], line["level"], line["logger"]) == ("odd value", "error", "arq.worker")
    assert "ZeroDivisionError" in line["exception"]


def test_another_format(cli: Cli) -> None:
    """A format that there is not is told in one line, with those that there are."""
    done = cli("drain", JOINBACK_LOG_FORMAT="xml")
    assert done.returncode == 2
    assert "JOINBACK_LOG_FORMAT" in done.stderr
    assert "Traceback" not in done.stderr
