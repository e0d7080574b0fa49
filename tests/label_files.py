"""What the tests of `joinback import` share: predictions to match, a file of labels, and what its columns are."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from conftest import PATIENCE_S, Stack, process_environment

from joinback.settings import Settings

ROLES = ("--key", "loan_{id}", "--at", "day", "--field", "repaid")

Labels = Callable[[str], str]


class Ended(NamedTuple):
    """What one command came to."""

    code: int
    stdout: str
    stderr: str


Imports = Callable[..., list[Ended]]


def predict(stack: Stack, *keys: str, drained: bool = True) -> None:
    for key in keys:
        stack.client.log_record("loans", inputs=1, outputs=0.07, join_key=key, timestamp="2026-01-01T00:00:00Z")
    assert stack.client.flush(PATIENCE_S)
    if drained:
        stack.drain()


@pytest.fixture
def labels(tmp_path: Path) -> Callable[[str], str]:
    """Write a CSV file of labels; its name."""

    def write(text: str, name: str = "labels.csv") -> str:
        (tmp_path / name).write_text(text)
        return name

    return write


ONE_AFTER_THE_OTHER = """
import contextlib, io, json, sys
from joinback_worker.cli import main

for arguments in json.load(sys.stdin):
    out, err, code = io.StringIO(), io.StringIO(), None
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            sys.argv = ["joinback", "import", *arguments]
            main()
        except SystemExit as ended:
            code = ended.code or 0
    print(json.dumps([code, out.getvalue(), err.getvalue()]))
"""


@pytest.fixture
def imports(settings: Settings, tmp_path: Path) -> Imports:
    """Run imports by the command's own entry, one after the other in one process: to start each takes far longer."""

    def run(*commands: Sequence[str]) -> list[Ended]:
        done = subprocess.run(
            [sys.executable, "-c", ONE_AFTER_THE_OTHER],
            input=json.dumps(commands),
            env=process_environment(settings),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        assert done.returncode == 0, done.stderr
        return [Ended(*json.loads(line)) for line in done.stdout.splitlines()]

    return run
