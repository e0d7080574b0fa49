"""How deep JSON may be nested, so that every store can read it."""

import re
from array import array
from itertools import accumulate

NESTING_MAX = 900
"""Levels of arrays and objects in an event. SQLite's and ClickHouse's functions for JSON end at 1,000, and a row holds
an event a few levels down; one cell that is deeper fails every query that looks into its column. Python's own encoders
end near 1,000 up to 3.12, and at some ten thousand from 3.13 on."""
BYTES_MIN = 2 * NESTING_MAX
"""A payload that is deeper has more bytes: a bracket that opens and one that closes per level."""

_TEXTS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_OTHERS = bytes(byte for byte in range(256) if byte not in b"[{]}")


def is_too_deep(payload: bytes) -> bool:
    """Whether JSON is nested deeper than NESTING_MAX. Linear in its size."""
    if len(payload) < BYTES_MIN or payload.count(b"[") + payload.count(b"{") <= NESTING_MAX:
        return False
    # One step down per bracket that opens, one up per bracket that closes: signed bytes.
    steps = array("b", _TEXTS.sub(b"", payload).translate(_STEPS, _OTHERS))
    return max(accumulate(steps), default=0) > NESTING_MAX


def check(payload: bytes) -> None:
    """Raise ValueError if JSON is nested too deep."""
    if is_too_deep(payload):
        raise ValueError(f"nested more than {NESTING_MAX} levels deep")
