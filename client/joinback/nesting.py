"""The limit of nesting in an event's JSON, so that every store can read it."""

import re
from array import array
from itertools import accumulate

NESTING_MAX = 900
"""Levels of arrays and objects in an event. The JSON functions of SQLite and ClickHouse stop at 1,000, and a row holds
an event a few levels down. One deeper cell makes every query fail that looks into its column. Python's own encoders
stop near 1,000 up to 3.12, and near ten thousand from 3.13 on."""
BYTES_MIN = 2 * NESTING_MAX
"""A deeper payload has more bytes than this: each level has an opening and a closing bracket."""

_TEXTS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_OTHERS = bytes(byte for byte in range(256) if byte not in b"[{]}")


def is_too_deep(payload: bytes, around: int = 0) -> bool:
    """Return whether this JSON is nested deeper than NESTING_MAX, with so many levels around it, in linear time."""
    if len(payload) < BYTES_MIN or _openings(payload) <= NESTING_MAX - around:
        return False
    # As signed bytes: +1 per opening bracket, -1 per closing one.
    steps = array("b", _TEXTS.sub(b"", payload).translate(_STEPS, _OTHERS))
    return max(accumulate(steps), default=0) > NESTING_MAX - around


def _openings(payload: bytes) -> int:
    # To look for the first bracket takes a tenth of counting them, and a long text has none.
    return sum(payload.count(bracket) for bracket in (b"[", b"{") if bracket[0] in payload)


def check(payload: bytes) -> None:
    """Raise ValueError if this JSON is nested deeper than NESTING_MAX."""
    if is_too_deep(payload):
        raise ValueError(f"nested more than {NESTING_MAX} levels deep")
