"""What was told of the columns, and what they are settled to be."""

from collections.abc import Callable, Mapping
from datetime import tzinfo
from typing import Any

from msgspec import Struct

from .cell_values import shown
from .numbers import Decimal


class Told(Struct, frozen=True, kw_only=True):
    """What somebody said of the cells, so that it is not guessed."""

    types: Mapping[str, str] = {}
    """Column -> kind."""
    declared: Mapping[str, str] = {}
    """Column -> kind, by the rules; `types` come first."""
    declared_in: str = ""
    """The name of the rules' file."""
    nulls: frozenset[str] = frozenset()
    decimal: Decimal | None = None
    day_first: bool | None = None
    zone: tzinfo | None = None


class Settled(Struct, frozen=True, kw_only=True):
    """A column as it is read: `says` is for a person, `read` raises Unreadable."""

    name: str
    kind: str
    says: str
    read: Callable[[Any], Any]


class Seen(Struct):
    """The first cell of some kind in a column."""

    row: int
    cell: Any

    def __str__(self) -> str:
        return f"row {self.row} has {shown(self.cell)}"
