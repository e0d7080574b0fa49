"""One form for one value: 3 and 3.0 are the same number, and it is chance which of them a cell becomes.

A column of integers becomes one of floats as soon as a single row has a fraction, or when a spreadsheet is saved again.
"""

from typing import Any

import msgspec

_EXACT_MAX = 2**53
"""Up to here each integer has a double of its own."""
_encode = msgspec.json.Encoder(order="sorted").encode


def canonical(value: Any) -> Any:
    """Return the value with each whole float as an int, also within lists and objects."""
    if type(value) is float:
        return int(value) if value.is_integer() and abs(value) <= _EXACT_MAX else value
    if type(value) is list:
        return [canonical(item) for item in value]
    if type(value) is dict:
        return {name: canonical(item) for name, item in value.items()}
    return value


def canonical_json(value: Any) -> bytes:
    """Return the value's canonical form as JSON. Raises TypeError and ValueError for what JSON cannot hold."""
    return _encode(canonical(value))


def canonical_text(text: Any) -> bytes:
    """Return the canonical form of a value that is JSON already."""
    return canonical_json(msgspec.json.decode(text))
