"""What the user gave of the columns, and what they are settled to be."""

from collections.abc import Callable, Mapping
from datetime import tzinfo
from typing import Any

from msgspec import Struct

from .cell_values import shown
from .numbers import Decimal


class Given(Struct, frozen=True, kw_only=True):
    """What the user or the rules give of the cells, so that the survey need not guess it."""

    types: Mapping[str, str] = {}
    """Column -> kind."""
    declared: Mapping[str, str] = {}
    """Column -> kind by the rules. `types` overrule it."""
    declared_in: str = ""
    """The name of the rules' file."""
    nulls: frozenset[str] = frozenset()
    """Texts that mean a missing cell, in addition to the usual ones."""
    decimal: Decimal | None = None
    day_first: bool | None = None
    zone: tzinfo | None = None
    """Of times that name no zone; None is UTC."""


class Settled(Struct, frozen=True, kw_only=True):
    """How a column is read."""

    name: str
    kind: str
    description: str
    """For a person."""
    read: Callable[[Any], Any]
    """Returns the value of a cell. Raises Unreadable."""


class Seen(Struct):
    """The first cell of some kind in a column."""

    row: int
    cell: Any

    def __str__(self) -> str:
        return f"row {self.row} has {shown(self.cell)}"
