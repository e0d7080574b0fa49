"""When feedback came, in seconds of Redis's clock: by its entries, as a drain may come long after it."""

from collections.abc import Iterable
from itertools import chain, pairwise

from .group import Entry

SECONDS_MAX = 1_000
"""The most seconds that one note of a drain names: Lua's stack holds some thousand values."""


def seconds_of(entries: Iterable[Entry]) -> set[bytes]:
    """Return the seconds in which feedback came, of entries of any kind."""
    return {entry.id.partition(b"-")[0][:-3] for entry in entries if entry.kind == b"feedback"}


def thinned(heard: Iterable[bytes]) -> list[int]:
    """Return these seconds in order. Of very many, the ends of the longest silences between them are kept."""
    seconds = sorted(int(second or 0) for second in heard)
    if len(seconds) <= SECONDS_MAX:
        return seconds
    silences = sorted(pairwise(seconds), key=lambda ends: ends[0] - ends[1])[: SECONDS_MAX // 2 - 1]
    return sorted({seconds[0], seconds[-1], *chain.from_iterable(silences)})
