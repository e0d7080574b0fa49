"""Real processes, killed for good at the worst moment."""

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import PATIENCE_S, Cli, Stack

from joinback import wire

PENDING = wire.pending_key("loans")
LOANS = 250


def log_loans(stack: Stack) -> None:
    for n in range(LOANS):
        stack.client.log_record("loans", inputs={"n": n}, outputs=n / 2, join_key=f"loan_{n:03}")
        stack.client.log_record("loans", feedback={"repaid": n % 2 == 0}, join_key=f"loan_{n:03}")
    assert stack.client.flush(PATIENCE_S)


def end_lease(stack: Stack) -> None:
    """As if the dead worker's lease had run out: a minute passes in no time."""
    claimed = stack.server.xpending_range(PENDING, wire.GROUP, "-", "+", 10_000)
    by_worker: dict[bytes, list[Any]] = {}
    for entry in claimed:
        by_worker.setdefault(entry["consumer"], []).append(entry["message_id"])
    for worker, ids in by_worker.items():
        stack.server.xclaim(PENDING, wire.GROUP, worker, 0, ids, idle=3_600_000, justid=True)


def columns(stack: Stack) -> list[dict[str, Any]]:
    """Every row but for when and how often it was written."""
    return [
        {name: value for name, value in row.items() if name not in ("updated_at", "row_version")}
        for row in stack.rows()
    ]


def test_killed_between_commit_and_ack(stack: Stack, spawn: Callable[..., "subprocess.Popen[str]"], cli: Cli) -> None:
    """SIGKILL after the sink's commit and before the ack: a second worker repeats it; no row missing, none doubled."""
    log_loans(stack)
    killed = spawn(str(Path(__file__).parent / "worker_killed_before_settle.py"), JOINBACK_INTERVAL_S="1")
    assert killed.wait(PATIENCE_S) == -signal.SIGKILL
    committed = columns(stack)
    assert len(committed) == LOANS
    assert stack.books().pending == 2 * LOANS

    end_lease(stack)
    second = cli("drain")
    assert second.returncode == 0, second.stderr
    assert f"claimed={2 * LOANS} rows={LOANS} joined={LOANS}" in second.stdout
    assert columns(stack) == committed
    assert [row["row_version"] for row in stack.rows()] == [1] * LOANS
    books = stack.books()
    assert (books.in_rows, books.pending, books.dead, books.duplicates) == (2 * LOANS, 0, 0, 0)


@pytest.mark.parametrize("again", range(3))
def test_killed_anywhere(
    stack: Stack, spawn: Callable[..., "subprocess.Popen[str]"], cli: Cli, wait_until: Callable[..., None], again: int
) -> None:
    """SIGKILL as soon as the worker has begun: whatever it had done, the next drains end with every row."""
    log_loans(stack)
    worker = spawn("-m", "joinback_worker", "worker", JOINBACK_INTERVAL_S="1")
    wait_until(lambda: stack.server.xinfo_groups(PENDING)[0]["pending"] or not stack.server.xlen(PENDING))
    worker.kill()
    worker.wait()
    end_lease(stack)
    assert cli("drain").returncode == 0
    rows = stack.rows()
    assert [row["join_key"] for row in rows] == [f"loan_{n:03}" for n in range(LOANS)]
    assert {row["status"] for row in rows} == {"joined"}
    assert stack.books().in_rows == 2 * LOANS
