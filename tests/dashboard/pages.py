"""What a browser would make of a page: its elements, its words, the rows of its tables, and its weight."""

from html.parser import HTMLParser
from typing import Any

_EMPTY = {"meta", "link", "input", "br", "path", "circle"}


class Page(HTMLParser):
    """One page. A cell ends where the next begins, as HTML has it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.elements: list[tuple[str, dict[str, Any]]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.words: list[str] = []
        self._cell: list[str] | None = None
        self._table = ""
        self._rows: list[list[str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        attributes = dict(attrs)
        self.elements.append((tag, attributes))
        if tag == "table":
            self._rows = []
        elif tag == "caption":
            self._table = attributes["id"]
            self.tables[self._table] = self._rows
        elif tag == "tr":
            self._end_cell()
            self._rows.append([])
        elif tag in ("td", "th"):
            self._end_cell()
            self._cell = []

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag in ("tr", "table", "thead"):
            self._end_cell()

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if self._cell is not None:
            self._cell.append(data)

    def _end_cell(self) -> None:
        if self._cell is not None:
            self._rows[-1].append(" ".join(" ".join(self._cell).split()))
            self._cell = None

    def all(self, tag: str) -> list[dict[str, Any]]:
        return [attributes for found, attributes in self.elements if found == tag]

    @property
    def said(self) -> str:
        return " ".join(" ".join(self.words).split())
