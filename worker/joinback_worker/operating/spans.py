"""Durations and counts as people say them: `3 min`, `1 h 3 min`, `7 d`, `1 event`, `857 events`."""

_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def span(seconds: float) -> str:
    """Return a duration in its two largest units at most; of ten and more of the first that one alone."""
    left = max(0, round(seconds))
    for place, (unit, size) in enumerate(_UNITS):
        if left >= size:
            number, left = divmod(left, size)
            smaller, smaller_size = _UNITS[place + 1] if place + 1 < len(_UNITS) else ("", 1)
            rest = left // smaller_size if smaller and number < 10 and unit != "min" else 0
            return f"{number} {unit}" + (f" {rest} {smaller}" if rest else "")
    return "0 s"


def several(number: int, thing: str) -> str:
    """Return a count with its noun."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
