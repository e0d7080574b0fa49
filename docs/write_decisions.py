"""Write the index of the decisions, and the links between them, anew: `python docs/write_decisions.py`.

A record is a heading `## 57. Title`, what was decided and why, and a last line: its date, and what would reopen it or
which record superseded it. Another record is named as a link with its number, `[57]()`; the target is written here.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

INDEX = Path(__file__).parent / "explanation" / "decisions.md"
FOLDER = INDEX.with_suffix("")
"""A page per theme."""

_TITLE = re.compile(r"# Decisions: (.*)")
_HEADING = re.compile(r"^## ((\d+)\. (.*))$", re.MULTILINE)
_LINK = re.compile(r"\[(\d+)\]\([^)]*\)")
_SUPERSEDED = re.compile(r"\d{4}-\d\d-\d\d\. Superseded by \[(\d+)\]\([^)]*\)\.")
_TABLE = re.compile(r"(?<=<!-- docs/write_decisions.py writes from here -->\n).*(?=<!-- to here -->)", re.DOTALL)


class Record(NamedTuple):
    """One decision as its page has it."""

    number: int
    title: str
    body: str
    """What stands between its heading and the next one."""
    page: Path
    anchor: str
    """Of its heading, as forges and Sphinx make it."""

    @property
    def last_line(self) -> str:
        """Return the line with its date."""
        return self.body.strip().rpartition("\n")[2]

    @property
    def superseded_by(self) -> int | None:
        """Return the number of the decision that took its place; None if it stands."""
        found = _SUPERSEDED.fullmatch(self.body.strip())
        return int(found[1]) if found else None


def pages() -> list[Path]:
    """Return the pages of the themes, by name."""
    return sorted(FOLDER.glob("*.md"))


def records() -> list[Record]:
    """Return all records, in the order of their numbers."""
    return sorted(record for page in pages() for record in _records_of(page))


def _records_of(page: Path) -> Iterator[Record]:
    text = page.read_text()
    headings = list(_HEADING.finditer(text))
    ends = [heading.start() for heading in headings[1:]] + [len(text)]
    for heading, end in zip(headings, ends, strict=False):
        anchor = re.sub(r"[^\w\- ]", "", heading[1].lower()).replace(" ", "-")
        yield Record(int(heading[2]), heading[3], text[heading.end() : end], page, anchor)


def written() -> dict[Path, str]:
    """Return each page, and the index, as it should be. Raises KeyError for a link to a number that no record has."""
    known = {record.number: record for record in records()}
    index = _TABLE.sub(lambda _: "\n".join(["", *_rows(known), "", ""]), INDEX.read_text())
    return {page: _linked(page, known) for page in pages()} | {INDEX: index}


def _linked(page: Path, known: Mapping[int, Record]) -> str:
    def link(found: re.Match[str]) -> str:
        record = known[int(found[1])]
        place = "" if record.page == page else record.page.name
        return f"[{record.number}]({place}#{record.anchor})"

    return _LINK.sub(link, page.read_text())


def _rows(known: Mapping[int, Record]) -> Iterator[str]:
    yield "| | decision | theme |"
    yield "| ---: | --- | --- |"
    themes = {page: _TITLE.match(page.read_text()) for page in pages()}
    for number, record in known.items():
        theme = themes[record.page]
        assert theme is not None, f"{record.page.name} does not begin with `# Decisions: …`"
        place = f"{FOLDER.name}/{record.page.name}"
        fate = f"; superseded by {record.superseded_by}" if record.superseded_by else ""
        yield f"| {number} | [{record.title}]({place}#{record.anchor}){fate} | [{theme[1]}]({place}) |"


if __name__ == "__main__":
    for path, content in written().items():
        path.write_text(content)
