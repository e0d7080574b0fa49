"""`status --watch` outside a hand's reach: without a terminal, and ended by a signal."""

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import PATIENCE_S, process_environment, wait_for

from joinback.settings import Settings

COMMAND = [sys.executable, "-m", "joinback_worker", "status", "--watch"]


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_without_a_terminal(settings: Settings, tmp_path: Path, sign: signal.Signals) -> None:
    """With no input, and its output in a file, screens follow each other at their pace until a signal ends it."""
    shown = tmp_path / "shown"
    with (
        shown.open("wb") as out,
        subprocess.Popen(
            # A shell's background job is started with SIGINT ignored.
            ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *COMMAND],
            env=process_environment(settings),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        ) as process,
    ):
        wait_for(lambda: shown.read_text().count("q ends") >= 1)
        began = time.monotonic()
        wait_for(lambda: shown.read_text().count("q ends") >= 3)
        # The first was seen up to one look late.
        assert time.monotonic() - began > 3
        process.send_signal(sign)
        assert process.wait(PATIENCE_S) == 128 + sign
    assert "Traceback" not in shown.read_text()


def test_a_terminated_watch_leaves_the_terminal_as_it_was(settings: Settings) -> None:
    """SIGTERM ends the other screen of a terminal, and shows the cursor again."""
    ours, theirs = pty.openpty()
    environment = process_environment(settings) | {"TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
    with subprocess.Popen(COMMAND, env=environment, stdin=theirs, stdout=theirs) as process:
        os.close(theirs)
        shown = b""
        while b"q ends" not in shown:
            shown += os.read(ours, 65_536)
        process.send_signal(signal.SIGTERM)
        try:
            while more := os.read(ours, 65_536):
                shown += more
        except OSError:
            pass  # the end of a terminal whose other side is closed
        assert process.wait(PATIENCE_S) == 128 + signal.SIGTERM
    os.close(ours)
    assert shown.rindex(b"\x1b[?1049l") > shown.rindex(b"\x1b[?1049h")
    assert shown.rindex(b"\x1b[?25h") > shown.rindex(b"\x1b[?25l")
