"""Finds another form of the keys under which unmatched keys would match, and counts for how many: it tries them."""

import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from joinback_worker.key_forms import Form, Looks, dict_forms, forms, learn, with_prefix

from .lookup import Lookup

KEYS_TRIED = 200
"""Drawn evenly from all keys that did not match. A mistake of a whole file shows in far fewer."""
KEYS_LEARNED_FROM = 1_000
"""Keys with a prediction, which show what keys look like: their prefix, their length."""
HINTS_MAX = 3


class Stray(Struct, frozen=True):
    """A key that did not match, and the cells from which JoinKey.from_dict may have made the right key."""

    key: str
    fields: Mapping[str, Any]


class Hint(Struct, frozen=True, kw_only=True):
    """A form under which keys that did not match would match."""

    how: str
    matches: int
    tried: int
    example: tuple[str, str]
    """A key as it is in the file, and the key that would match."""

    @property
    def prefix(self) -> str | None:
        """The prefix that the keys lack, if nothing else is wrong with them; else None."""
        ours, theirs = self.example
        prefix = theirs.removesuffix(ours)
        return prefix if self.how == with_prefix(prefix) else None


class Strays:
    """A sample of the keys that did not match, in bounded memory. Each key is in it with the same probability."""

    def __init__(self) -> None:
        self.sample: list[Stray] = []
        self._seen = 0
        # A fixed seed: the same file gives the same hints.
        self._random = random.Random(0)  # noqa: S311

    def place(self) -> int | None:
        """Return where in the sample the next stray goes; None if it is not drawn."""
        self._seen += 1
        if len(self.sample) < KEYS_TRIED:
            return len(self.sample)
        place = self._random.randrange(self._seen)
        return place if place < KEYS_TRIED else None

    def put(self, place: int, stray: Stray) -> None:
        self.sample[place : place + 1] = [stray]


async def hints(lookup: Lookup, strays: list[Stray]) -> list[Hint]:
    """Return the HINTS_MAX forms under which the most keys would match. Raises what the look-up raises."""
    looks = learn(await lookup.some_keys(KEYS_LEARNED_FROM))
    others = [_others(stray, looks) for stray in strays]
    predicted = await predicted_of(lookup, others)
    found: dict[str, list[tuple[str, str]]] = {}
    for stray, candidates in zip(strays, others, strict=True):
        if (form := next((form for form in candidates if form.key in predicted), None)) is not None:
            found.setdefault(form.how, []).append((stray.key, form.key))
    ordered = sorted(found.items(), key=lambda item: -len(item[1]))[:HINTS_MAX]
    return [Hint(how=how, matches=len(pairs), tried=len(strays), example=pairs[0]) for how, pairs in ordered]


def _others(stray: Stray, looks: Looks) -> list[Form]:
    made = dict_forms(stray.fields) if stray.fields and looks.are_digests else []
    return [form for form in [*made, *forms(stray.key, looks)] if form.key != stray.key]


async def predicted_of(lookup: Lookup, others: Iterable[Sequence[Form]]) -> set[str]:
    """Return the keys of all these forms that have a prediction. Raises what the look-up raises."""
    keys = list(dict.fromkeys(form.key for candidates in others for form in candidates))
    predicted: set[str] = set()
    for start in range(0, len(keys), lookup.at_once):
        known = await lookup.known(keys[start : start + lookup.at_once])
        predicted |= {key for key, what in known.items() if what.is_predicted}
    return predicted
