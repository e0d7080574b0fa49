"""docs/tutorial/from-notebook-to-service.md does not lie: its steps, in their order, end in a joined row."""

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

from conftest import PATIENCE_S, Cli, Stack, free_port
from documents import ROOT, blocks

PAGE = ROOT / "docs" / "tutorial" / "from-notebook-to-service.md"
FIRST_ROW = PAGE.parent / "first-row.md"


def save(folder: Path) -> None:
    """Write the files that the page asks its reader to save."""
    (rules,) = blocks(PAGE, "toml")
    *_, service, test = blocks(PAGE, "python")
    for name, text in (("joinback.toml", rules), ("service.py", service), ("test_service.py", test)):
        (folder / name).write_text(text)


def test_its_folder_is_outside_the_clone(tmp_path: Path) -> None:
    """The first step leads into a folder whose pytest reads none of our settings, and finds the clone beside it."""
    (tmp_path / "joinback").symlink_to(ROOT)
    (step,) = [block for block in blocks(PAGE, "text") if "pip install" in block]
    enter, install = step.splitlines()
    done = subprocess.run(["sh", "-ec", f"{enter}; pwd -P"], cwd=tmp_path, capture_output=True, text=True, check=True)
    folder = Path(done.stdout.strip())
    assert not any((parent / "pyproject.toml").exists() for parent in (folder, *folder.parents))
    (clone,) = re.findall(r"'(\S+)\[testing,embedded\]'", install)
    assert (folder / clone).resolve() == ROOT.resolve()


def test_each_terminal_has_the_environment() -> None:
    """Whoever opens a terminal is told to activate the environment there, in both tutorials."""
    for page in (PAGE, FIRST_ROW):
        paragraphs = [part for part in page.read_text().split("\n\n") if re.search(r"\bOpen .* terminal", part)]
        assert paragraphs
        assert all("`. .venv/bin/activate`" in paragraph for paragraph in paragraphs), page.name


def test_no_row_of_the_other_tutorial() -> None:
    """The two tutorials share a sink, so they log for different applications: no key gets two predictions."""
    ours, first = (set(re.findall(r'log_record\(\s*"(\w+)"', page.read_text())) for page in (PAGE, FIRST_ROW))
    assert ours
    assert first
    assert not ours & first


def test_the_notebook() -> None:
    """The cells of the notebook, run in one process, print what the page shows."""
    # A process of its own: fakeredis loses connections in one that has 1,024 files open.
    cells = "\n".join(blocks(PAGE, "python")[:2])
    done = subprocess.run([sys.executable, "-c", cells], capture_output=True, text=True, timeout=PATIENCE_S)
    (shown,) = [block for block in blocks(PAGE, "text") if block.startswith("Counter")]
    assert (done.stderr, done.stdout) == ("", shown)


def test_its_test_passes(tmp_path: Path) -> None:
    """The test that the page shows passes on the service that it shows."""
    save(tmp_path)
    (command,) = [block for block in blocks(PAGE, "sh") if block.startswith("pytest")]
    command_line = [sys.executable, "-m", *shlex.split(command), "-p", "no:cacheprovider"]
    done = subprocess.run(command_line, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_S)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "1 passed" in done.stdout


def test_the_service_runs(
    stack: Stack, cli: Cli, spawn: Any, wait_until: Callable[[Callable[[], object]], None], tmp_path: Path
) -> None:
    """The service, started and called as the page says, leads to a row that `explain` calls joined."""
    save(tmp_path)
    (start,) = re.findall(r"^flask (.*) --port 5000$", PAGE.read_text(), re.MULTILINE)
    port = free_port()
    spawn("-m", "flask", *shlex.split(start), "--port", str(port), JOINBACK_CONFIG="joinback.toml")
    calls = re.findall(r"^curl -X POST localhost:5000(\S+) .* -d '(.*)'$", PAGE.read_text(), re.MULTILINE)
    assert len(calls) == 2
    for path, body in calls:
        wait_until(lambda path=path, body=body: answered(f"http://127.0.0.1:{port}{path}", body))
    wait_until(lambda: stack.server.hlen(stack.record("mortgage_17", "mortgages")) == 2)
    commands = [line for block in blocks(PAGE, "sh") for line in block.splitlines() if line.startswith("joinback ")]
    assert len(commands) == 4
    for command in commands:
        done = cli(*shlex.split(command)[1:], JOINBACK_CONFIG="joinback.toml")
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        if " explain " in command:
            assert done.stdout.startswith("joined:")


def answered(url: str, body: str) -> bool:
    """Post JSON, and return whether the service took it. False while it is not up yet."""
    request = Request(url, body.encode(), {"Content-Type": "application/json"})
    try:
        with urlopen(request, timeout=PATIENCE_S) as response:
            return bool(200 <= response.status < 300)
    except URLError:
        return False
