"""docs/tutorial/first-row.md does not lie: its blocks, run one after the other, give the rows that it shows."""

import re
import shlex
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from conftest import Cli, Stack, process_environment
from documents import ROOT

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
