"""The protocol of a source of labels: it gives its columns, and its lines in batches."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from joinback.errors import JoinbackError
from joinback_worker.nearest import nearest

BATCH_LINES = 5_000
"""A few megabytes of cells per batch, and so few batches that their own cost does not show."""


class Line(NamedTuple):
    """One line of a source: its cells in the order of the wanted columns, or why it cannot be read."""

    row: int
    """1 is the first row of data: a header is not counted."""
    cells: Sequence[Any]
    trouble: str | None = None
    """Why the line cannot be read; it has no cells then."""


class Source(Protocol):
    """A table of labels, which can be read several times, each time from the start and in bounded memory."""

    name: str
    """The name that the report shows; it holds no secret."""
    is_typed: bool
    """Whether the source gives its cells types. If not, each cell is text or None, and the survey guesses the types."""

    def columns(self) -> Sequence[str]:
        """Return the names of the columns that are known without reading all lines. Raises JoinbackError."""

    def batches(self, wanted: Sequence[str]) -> Iterator[list[Line]]:
        """Yield all lines in batches, with the cells of these columns. Raises JoinbackError if it cannot read on."""

    def doubts(self) -> Sequence[str]:
        """Return what a person should look at. Call it when all lines have been read once."""

    def close(self) -> None:
        """Close the file, or what holds the rows."""


def check_columns(wanted: Iterable[str], columns: Sequence[str]) -> None:
    """Raise JoinbackError, in one line with the nearest name, for a column that is not there or is there twice."""
    for name in wanted:
        if name not in columns:
            near = nearest(name.strip(), columns, 0.5)
            hint = f"did you mean {near!r}? " if near else ""
            shown = ", ".join(map(repr, columns[:20])) + (" …" if len(columns) > 20 else "")
            raise JoinbackError(f"no column {name!r}; {hint}there are {shown or 'none'}")
        if columns.count(name) > 1:
            raise JoinbackError(f"{columns.count(name)} columns are named {name!r}; give each its own name")


def one_line(error: BaseException) -> str:
    """Return the text of another library's error on one line, cut at 200 characters."""
    return " ".join(str(error).split())[:200] or type(error).__name__
