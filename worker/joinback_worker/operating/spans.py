"""Durations and counts as people say them: `3 min`, `1 h 3 min`, `7 d`, `1 event`, `857 events`."""

from itertools import pairwise

_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def span(seconds: float) -> str:
    """Return a duration in its two largest units at most: `1 h 3 min`; of ten and more of the first in that one."""
    for (unit, size), (smaller, step) in pairwise(_UNITS):
        rounded = max(0, round(seconds / step)) * step
        if rounded < size:
            continue
        number, rest = divmod(rounded, size)
        if number >= 10 or not rest:
            return f"{round(rounded / size)} {unit}"
        return f"{number} {unit} {rest // step} {smaller}"
    return f"{max(0, round(seconds))} s"


def brief(seconds: float) -> str:
    """Return a duration in one unit, for a table: `90 s`, `61 min`, `26 h`, `7 d`."""
    for unit, size in _UNITS:
        if seconds >= 2 * size or size == 1:
            return f"{max(0, round(seconds / size))} {unit}"
    raise AssertionError


def in_words(detail: str) -> str:
    """Return the detail of a dead letter that begins with its seconds as people say them."""
    seconds, unit, rest = detail.partition(" s ")
    return f"{span(int(seconds))} {rest}" if unit and seconds.isdecimal() else detail


def several(number: int, thing: str) -> str:
    """Return a count with its noun."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
