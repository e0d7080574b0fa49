"""docs/how-to/labels.md does not lie: its transcript is what comes out, its tables and commands are the code's."""

import re
import shlex
from pathlib import Path

import pytest
from conftest import PATIENCE_S, Cli, Stack

import joinback
from joinback_worker.labels.cell_values import FALSE, TRUE, stripped
from joinback_worker.labels.lookup import LABELS_AT_ONCE_OF_FILES
from joinback_worker.labels.near import KEYS_TRIED
from joinback_worker.labels.times import EARLIEST, UNITS_S

DOC = (Path(__file__).parents[2] / "docs" / "how-to" / "labels.md").read_text()


def block(language: str) -> str:
    (text,) = re.findall(rf"^```{language}\n(.*?)^```$", DOC, re.MULTILINE | re.DOTALL)
    return str(text)


@pytest.fixture
def predicted(stack: Stack, default_client: joinback.Client) -> Stack:
    exec(block("python"), {"joinback": joinback})
    assert joinback.flush(PATIENCE_S)
    return stack


def test_the_transcript(predicted: Stack, cli: Cli, tmp_path: Path) -> None:
    """The file of the document, imported by its command, gives the lines that follow it."""
    (tmp_path / "labels.csv").write_text(block("csv"))
    command, _, expected = block("console").removeprefix("$ joinback ").partition("\n")
    done = cli(*shlex.split(command))
    assert done.stdout == expected
    assert (done.returncode, done.stderr) == (1, "")


def test_the_line_that_was_corrected(predicted: Stack, cli: Cli, tmp_path: Path) -> None:
    """The rows of the document are refused where it says so, and the correction holds."""
    (line,) = [line for line in DOC.splitlines() if line.startswith("- **The line that was corrected**")]
    yes, no = re.findall(r"`(31;[^`]+)`", line)
    refusals = []
    for rows in ([yes], [no], [yes], [no, yes], [yes, no]):
        (tmp_path / "labels.csv").write_text("\n".join(["id;day;repaid", *rows]))
        done = cli("import", "loans", "labels.csv", "--key", "loan_{id}", "--at", "day", "--field", "repaid")
        refusals.append((done.returncode, "it was corrected since" in done.stdout))
    assert refusals == [(0, False), (0, False), (1, True), (1, True), (0, False)]
    predicted.drain()
    assert predicted.row("loan_31")["feedback"] == '{"repaid":false}'


def test_the_other_commands(predicted: Stack, cli: Cli) -> None:
    """Every other command of the document is one: what stops it is the file or variable that is not there."""
    for line in block("sh").splitlines():
        done = cli(*shlex.split(line)[1:])
        assert "there is no file labels." in done.stderr or "WAREHOUSE_URL is not set" in done.stderr, line


def test_the_words() -> None:
    """The words and limits that the document names are the code's."""
    missing = re.search(r"^\| empty, (.*?) \|", DOC, re.MULTILINE)
    assert missing is not None
    words = re.findall(r"`(.*?)`", missing.group(1))
    assert words
    assert all(stripped(word, frozenset()) is None for word in words)
    assert "| " + " ".join(f"`{word}`" for word in ("true", "yes", "y", "t")) + ", `false` `no` `n` `f` |" in DOC
    assert {"true", "yes", "y", "t"} == TRUE
    assert {"false", "no", "n", "f"} == FALSE
    assert all(f"`{unit}`" in DOC or f"={unit}`" in DOC for unit in UNITS_S)
    assert f"before {EARLIEST.year}" in DOC
    assert f"other forms of {KEYS_TRIED} of" in DOC
    assert f"every {LABELS_AT_ONCE_OF_FILES:,} labels" in DOC
