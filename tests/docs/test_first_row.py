"""docs/tutorial/first-row.md does not lie: its blocks, run one after the other, give the rows that it shows."""

import re
import shlex
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path

import pytest
import redis
from conftest import PATIENCE_S, Cli, Stack, process_environment, wait_for
from documents import ROOT, blocks

PAGE = ROOT / "docs" / "tutorial" / "first-row.md"
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def test_the_tutorial(stack: Stack, cli: Cli, tmp_path: Path) -> None:
    """Python runs, commands end well, and the query, whenever rows are shown, answers so."""
    own = {"JOINBACK_SINK_URL": "", "XDG_DATA_HOME": str(tmp_path)}
    (query,) = [block for language, block in BLOCKS if language == "sql"]
    shown = 0
    for language, block in BLOCKS:
        if language == "python":
            environment = process_environment(stack.settings, **own)
            subprocess.run([sys.executable, "-c", block], env=environment, check=True)
        elif language == "sh":
            for line in block.splitlines():
                done = cli(*shlex.split(line)[1:], **own)
                assert done.returncode == 0, (line, done.stdout, done.stderr)
        elif language == "text" and "|" in block and "joinback" not in block:
            with closing(sqlite3.connect(tmp_path / "joinback" / "joinback.db")) as database:
                (row,) = database.execute(query)
            assert "|".join(cell or "" for cell in row) + "\n" == block
            shown += 1
    assert shown == 2


def ended_by(process: subprocess.Popen[str], number: signal.Signals) -> bool:
    """Send the signal, and give the process two seconds to end.

    A signal that comes just before Python begins to read the terminal is handled only after that read.
    """
    process.send_signal(number)
    with suppress(subprocess.TimeoutExpired):
        process.wait(2)
    return process.returncode is not None


@pytest.mark.parametrize("way", ["Enter", "SIGHUP", "SIGTERM"])
def test_its_redis_ends(way: str) -> None:
    """The Redis of the page ends with Enter, with its terminal (SIGHUP), and when its Python is told to (SIGTERM)."""
    (program,) = [
        re.findall(r'"\n(.*?)"\n', block, re.DOTALL)[0] for block in blocks(PAGE, "text") if "$ python" in block
    ]
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        url = process.stdout.readline().partition("=")[2].split()[0]
        with redis.Redis.from_url(url) as server:
            assert server.ping()
            if way == "Enter":
                process.stdin.write("\n")
                process.stdin.flush()
            else:
                wait_for(lambda: ended_by(process, signal.Signals[way]))
            assert process.wait(PATIENCE_S) == 0
            with pytest.raises(redis.ConnectionError):
                server.ping()
