"""The decisions can be found and can be judged: numbers, dates, what reopens them, and the links between them."""

import re
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from documents import ROOT

sys.path.append(str(ROOT / "docs"))
import write_decisions

RECORDS = write_decisions.records()
LINES_MAX = 250
"""A page is read in one go, as a file of code is."""
TEXTS = frozenset({".md", ".py", ".lua", ".sql", ".toml", ".sh", ".yml", ".yaml", ".ipynb", ".html"})
FOLDERS = ("bench", "client", "deploy", "docs", "examples", "findings", "tests", "worker")


def named() -> Iterator[tuple[Path, int]]:
    """Yield each decision that a file of the tree names by its number, as `decision 57` or `decisions 57 and 58`."""
    own = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.suffix in TEXTS]
    for path in [*ROOT.glob("*.md"), *own]:
        for numbers in re.findall(r"\bdecisions? (\d+(?:(?:,| and) \d+)*)", path.read_text()):
            yield from ((path, int(number)) for number in re.findall(r"\d+", numbers))


def test_numbers_are_complete() -> None:
    """Every number from 1 on is one decision, so none is lost and none is used twice."""
    assert len(RECORDS) > 100
    assert [record.number for record in RECORDS] == [*range(1, len(RECORDS) + 1)]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: str(record.number))
def test_a_record_says_when_and_until_when(record: write_decisions.Record) -> None:
    """A record says why, its date, and what would reopen it; or, in one line, which that stands superseded it."""
    day, _, rest = record.last_line.partition(". ")
    assert date.fromisoformat(day).isoformat() == day
    if record.superseded_by is not None:
        (successor,) = [other for other in RECORDS if other.number == record.superseded_by]
        assert successor.superseded_by is None
        return
    assert re.fullmatch(r"Reopen if .{20,}\.", rest), record.last_line
    assert len(record.body.strip().removesuffix(record.last_line).strip()) > 20


def test_the_index_and_the_links_are_up_to_date() -> None:
    """The index has every record with its page, and links lead there; `python docs/write_decisions.py` writes both."""
    for path, content in write_decisions.written().items():
        assert path.read_text() == content, f"run: python docs/write_decisions.py ({path.name})"


def test_no_page_is_forgotten() -> None:
    """The index leads to each page of the folder, and each is short enough to be read in one go."""
    index = write_decisions.INDEX.read_text()
    assert len(write_decisions.pages()) > 5
    for page in write_decisions.pages():
        title = page.read_text().splitlines()[0].removeprefix("# Decisions: ")
        assert f"\n| [{title}]({page.parent.name}/{page.name}) | " in index, page.name
    for path in [write_decisions.INDEX, *write_decisions.pages()]:
        assert len(path.read_text().splitlines()) <= LINES_MAX, path.name


def test_every_decision_that_is_named_exists() -> None:
    """Whatever page, comment or test names a decision by its number, that decision is there."""
    numbers = {record.number for record in RECORDS}
    found = list(named())
    assert found
    assert [(path, number) for path, number in found if number not in numbers] == []
