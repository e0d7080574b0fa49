"""Figures that add up: how those of parts become those of the whole, said once for all of them."""

from typing import Any, ClassVar, Self

from msgspec import Struct, structs


class Totals(Struct):
    """A struct whose `+` goes field by field: numbers and lists are added, counts by name summed, signs or-ed."""

    largest_of: ClassVar[frozenset[str]] = frozenset()
    """Fields of which the whole has the largest, such as an age."""

    def __add__(self, other: Self) -> Self:
        total = structs.replace(self)
        total.include(other)
        return total

    def include(self, other: Self) -> None:
        """Add what another part has."""
        for name in self.__struct_fields__:
            mine, theirs = getattr(self, name), getattr(other, name)
            setattr(self, name, max(mine, theirs) if name in self.largest_of else _sum(mine, theirs))


def _sum(mine: Any, theirs: Any) -> Any:
    if isinstance(mine, dict):
        return {name: mine.get(name, 0) + theirs.get(name, 0) for name in mine | theirs}
    if mine is None or isinstance(mine, bool | str):
        return mine or theirs
    return mine + theirs
