"""Numbers as people write them. A whole column settles which mark is the decimal one; a cell alone never does.

`1,234` alone may be 1234 or 1.234. In a column with `0,5` it is 1.234, in one with `1,234,567` it is 1234.
"""

import re
from functools import cache
from typing import Literal

Decimal = Literal[".", ","]
POINT: Decimal = "."
COMMA: Decimal = ","

_GROUPS = {POINT: r"[, '\u2019\u00a0\u202f]", COMMA: r"[. '\u2019\u00a0\u202f]"}
"""Decimal mark -> what may separate thousands: the other mark, an apostrophe, or a space of any kind."""
INT_DIGITS_MAX = 18
"""A longer number is one of a card or an account, and does not fit into the 64 bits of its readers."""


@cache
def _pattern(decimal: Decimal) -> re.Pattern[str]:
    mark = re.escape(decimal)
    grouped = rf"[1-9]\d{{0,2}}(?P<group>{_GROUPS[decimal]})\d{{3}}(?:(?P=group)\d{{3}})*"
    whole = rf"(?P<whole>{grouped}|\d+|(?={mark}\d))"
    return re.compile(rf"(?P<sign>[+-]?){whole}(?:{mark}(?P<part>\d+))?(?P<power>[eE][+-]?\d{{1,3}})?", re.ASCII)


def parsed(text: str, decimal: Decimal) -> int | float | None:
    """Return the number, an int if it is written as one; None if the text is not a number."""
    if len(text) <= INT_DIGITS_MAX and text.isdigit() and text.isascii():
        return int(text)
    found = _pattern(decimal).fullmatch(text)
    if found is None:
        return None
    sign, whole, part, power = found.group("sign", "whole", "part", "power")
    digits = whole.replace(found["group"], "") if found["group"] else whole
    if part is None and power is None:
        return int(sign + digits) if len(digits) <= INT_DIGITS_MAX else None
    number = float(f"{sign}{digits}.{part or 0}{power or ''}")
    return number if abs(number) != float("inf") else None


def has_leading_zero(text: str) -> bool:
    """Return whether the text is digits with a leading zero, which a number would lose: an id, not an amount."""
    return len(text) > 1 and text[0] == "0" and text.isdigit()
