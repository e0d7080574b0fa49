"""Counts that add up: one rule for how the counts of parts become those of the whole."""

from typing import Any, ClassVar, Self

from msgspec import Struct, structs


class Totals(Struct):
    """A struct that can be added field by field.

    Numbers are added, lists are joined, dicts of counts are added by name. Of flags, texts and None, the first that
    is set stays.
    """

    largest_of: ClassVar[frozenset[str]] = frozenset()
    """Fields whose largest value becomes the whole's, such as an age."""

    def __add__(self, other: Self) -> Self:
        total = structs.replace(self)
        total.include(other)
        return total

    def include(self, other: Self) -> None:
        """Add another part to this one."""
        for name in self.__struct_fields__:
            mine, theirs = getattr(self, name), getattr(other, name)
            setattr(self, name, max(mine, theirs) if name in self.largest_of else _sum(mine, theirs))


def _sum(mine: Any, theirs: Any) -> Any:
    if isinstance(mine, dict):
        return {name: mine.get(name, 0) + theirs.get(name, 0) for name in mine | theirs}
    if mine is None or isinstance(mine, bool | str):
        return mine or theirs
    return mine + theirs
