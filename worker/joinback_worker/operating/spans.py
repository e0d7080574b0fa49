"""Durations and counts as people say them: `3 min`, `1 h 3 min`, `7 d`, `1 event`, `857 events`."""

from itertools import pairwise

_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def span(seconds: float) -> str:
    """Return a duration in its two largest units, `1 h 3 min`; from ten of the larger one on, only in that: `12 h`."""
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


def waited(seconds: float) -> str:
    """Return how long somebody waited for an answer, to follow a place: `, after 3 s`; "" if not noticeably long."""
    return f", after {span(seconds)}" if seconds >= 1 else ""


def in_words(detail: str) -> str:
    """Return the detail of a dead letter. If it begins with seconds, they become a duration."""
    seconds, unit, rest = detail.partition(" s ")
    return f"{span(int(seconds))} {rest}" if unit and seconds.isdecimal() else detail


def several(number: int, thing: str) -> str:
    """Return a count with its noun."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def verb(number: int, one: str, more: str) -> str:
    """Return the form of a verb that agrees with a count: `verb(n, "waits", "wait")`."""
    return one if number == 1 else more
