"""What counts as a counter: a number as Redis writes it, which it can count on from."""

import re

_NUMBER = re.compile(rb"-?[1-9][0-9]{0,18}|0")
_MOST = 1 << 63
"""Redis counts in 64 bits with a sign."""


def counter(value: bytes) -> int | None:
    """Return the number of a counter; None for text, or for a number that Redis cannot count on from."""
    number = int(value) if _NUMBER.fullmatch(value) else None
    return number if number is not None and -_MOST <= number < _MOST else None
