"""docs/how-to/analysis.md does not lie: its examples are run, in their order, and give what follows them."""

import re
import shlex
import sqlite3
from contextlib import closing, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
from conftest import PATIENCE_S, Cli, Stack

import joinback
from joinback_worker.flat.columns import FIXED, OF_EXPORTS, PREFIXES
from joinback_worker.sinks.on_thread import SAMPLE_ROWS

DOC = (Path(__file__).parents[2] / "docs" / "how-to" / "analysis.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", DOC, re.MULTILINE | re.DOTALL)


def timeless(text: str) -> str:
    """But for the moment of the run."""
    return re.sub(r"known on \S+,", "known on <now>,", text)


def test_the_examples(stack: Stack, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """The events of the document give its view, its query, its table and its export."""
    log, read = blocks("python")
    view, export = blocks("console")
    (query,) = blocks("sql")
    answer, frame = blocks("text")
    monkeypatch.setattr(joinback, "log_record", stack.client.log_record)
    exec(log, {})
    stack.drain()
    for transcript in (view, export):
        command, _, expected = transcript.removeprefix("$ joinback ").partition("\n")
        done = cli(*shlex.split(command))
        said = done.stdout.replace(stack.settings.sink_url, "sqlite:////var/lib/joinback.db")
        assert timeless(said) == timeless(expected)
        assert (done.returncode, done.stderr) == (0, "")
    with closing(sqlite3.connect(stack.settings.sink_url.removeprefix("sqlite:///"))) as database:
        rows = ["|".join("" if cell is None else str(cell) for cell in row) for row in database.execute(query)]
    assert "\n".join(rows) + "\n" == answer
    monkeypatch.setenv("JOINBACK_SINK_URL", stack.settings.sink_url)
    with redirect_stdout(StringIO()) as printed:
        exec(read, {})
    assert printed.getvalue() == frame
    assert stack.client.flush(PATIENCE_S)


def test_its_names_and_limits() -> None:
    """Fixed columns, prefixes and the size of the sample are the code's."""
    table = DOC.partition("- **Types**")[0]
    named = {name for name in re.findall(r"`(\w+)`", table) if name != "records"}
    assert set(FIXED) == named
    assert all(f"`{name}`" in DOC for name in (*OF_EXPORTS, *PREFIXES.values()))
    assert f"the {SAMPLE_ROWS:,} newest predictions" in DOC
    assert f"the first {2 * SAMPLE_ROWS:,} events" in DOC
