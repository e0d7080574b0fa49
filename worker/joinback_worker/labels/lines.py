"""What every source of labels gives: its columns, and its lines in batches."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from joinback.errors import JoinbackError
from joinback_worker.nearest import nearest

BATCH_LINES = 5_000
"""A few megabytes of cells, and few enough batches that their own cost does not show."""


class Line(NamedTuple):
    """One line of a source: its cells in the order asked for, or why it has none."""

    row: int
    """1 is the first row of data: a header is not counted."""
    cells: Sequence[Any]
    trouble: str | None = None


class Source(Protocol):
    """A table of labels, read in one direction in bounded memory, as often as one likes."""

    name: str
    """As the report shows it; holds no secret."""
    is_typed: bool
    """Whether its cells have types of their own. If not, each is text or None, and types are guessed."""

    def columns(self) -> Sequence[str]:
        """Return the names of its columns, as far as they are known without reading all. Raises JoinbackError."""

    def batches(self, wanted: Sequence[str]) -> Iterator[list[Line]]:
        """Return all lines with the cells of these columns. Raises JoinbackError for what cannot be read at all."""

    def doubts(self) -> Sequence[str]:
        """Return what a person should look at, after all lines were read once."""

    def close(self) -> None: ...


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
    """Return another library's words on one line, cut where they go on and on."""
    return " ".join(str(error).split())[:200] or type(error).__name__
