"""From any Python value to JSON: the rules. Where no rule applies, the error names the place in the event.

| a value | as JSON |
| --- | --- |
| None, bool, int of at most 4,300 digits, float, str, list, tuple, dict | itself; NaN and infinities as null |
| datetime, date, time | ISO 8601; a datetime in UTC keeps its `Z`, a naive one is UTC |
| timedelta | an ISO 8601 duration |
| Decimal, UUID | text, with all digits |
| bytes, bytearray, memoryview | base64 |
| set, frozenset | an array |
| Enum | its value |
| dataclass; msgspec, attrs or pydantic object; any other Mapping | an object |
| any other Sequence | an array |
| numpy scalar or array, torch tensor, anything else with `tolist` | its Python value; an array as nested arrays |
| pandas Series | an object if its labels are text, such as a row; else an array |
| pandas DataFrame | an array of its rows, each an object |
| pandas.Timestamp | as datetime; NaT and NA as null |
| a key of a dict that is not text | as text: dates in ISO 8601, an Enum's value, else as `str` writes it |
| a lone surrogate in text | U+FFFD, because UTF-8 cannot hold it |

Anything else is unencodable. So is a value that contains itself, and one nested too deep (`joinback.nesting`). numpy,
pandas and the others are never imported: their objects are recognised by their attributes.
"""

import re
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import msgspec

DEPTH_MAX = 200
"""Levels of nesting where `plain` must walk a value: far beyond any features, well below Python's recursion limit."""
ITEMS_MAX = 1 << 20
"""Items of a sequence that makes them on demand, such as a range. An event of 1 MiB holds no more."""
PATH_LENGTH_MAX = 200
"""A path must fit into a log line."""

INT_SURE = 1 << 1_000
"""Below it no limit of Python's applies: the smallest that it takes is 640 digits."""

_SCALARS = frozenset(
    (type(None), bool, int, float, str, datetime, date, time, timedelta, Decimal, UUID, bytes, bytearray, memoryview)
)


class Unencodable(Exception):
    """No rule applies to this value. The message names its path inside the event."""


def plain(value: object, path: str = "$", inside: tuple[int, ...] = ()) -> Any:
    """Return a copy of the value in dicts, lists and scalars that `encode` writes by the rules above.

    It is far slower than `encode`, but knows the path of each value. Raises Unencodable.
    """
    if type(value) in _SCALARS:
        return _scalar(value, path)
    if id(value) in inside:
        raise Unencodable(f"{path[:PATH_LENGTH_MAX]}: {_a(value)} that contains itself")
    if len(inside) == DEPTH_MAX:
        raise Unencodable(f"{path[:PATH_LENGTH_MAX]}: nested more than {DEPTH_MAX} levels deep")
    inside += (id(value),)
    if isinstance(value, dict):
        return {(name := _key(key, path)): plain(item, f"{path}.{name}", inside) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item, f"{path}[{n}]", inside) for n, item in enumerate(value)]
    try:
        fields = _fields(value)
        nearer = simpler(value) if fields is None else fields
    except Exception as error:
        what = f"{_a(value)} cannot be written as JSON; convert it first"
        cause = "" if isinstance(error, TypeError) else f" ({type(error).__name__})"
        raise Unencodable(f"{path[:PATH_LENGTH_MAX]}: {what}{cause}") from None
    return plain(nearer, path, inside)


def _scalar(value: Any, path: str) -> Any:
    """Return what `encode` can write for a value of one of these types. Raises Unencodable."""
    if type(value) is str:
        return text(value)
    if type(value) is datetime:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value
    if type(value) is memoryview:
        # A view may leave bytes out, which msgspec cannot read.
        return value.tobytes()
    if type(value) is int and not -INT_SURE < value < INT_SURE:
        try:
            str(value)
        except ValueError:
            digits_max = sys.get_int_max_str_digits()
            what = f"an int of more than {digits_max:,} digits, Python's limit; log it as text, such as hex(x)"
            raise Unencodable(f"{path[:PATH_LENGTH_MAX]}: {what}") from None
    return value


def _a(value: Any) -> str:
    """Return the name of the value's type, with its article."""
    name = type(value).__name__
    return f"{'an' if name[:1] in 'aeioAEIO' else 'a'} {name}"


def simpler(value: Any) -> Any:  # noqa: C901 - a table, one rule per line
    """Return a simpler value for an object that msgspec cannot encode. Raises TypeError if no rule applies."""
    kind = type(value)
    if isinstance(value, datetime):
        # Before the rest: pandas.NaT is an instance of datetime too.
        if kind.__name__ == "NaTType":
            return None
        # Not to_pydatetime(), which warns of the nanoseconds of a pandas.Timestamp.
        aware = value.replace(tzinfo=UTC) if value.tzinfo is None else value
        return aware.isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Enum):
        return value.value
    if kind.__name__ == "NAType":
        return None
    if kind.__name__ == "DataFrame":
        return value.to_dict("records")
    if kind.__name__ == "Series" and all(isinstance(label, str) for label in value.index):
        return value.to_dict()
    if getattr(getattr(value, "dtype", None), "kind", "") in ("M", "m"):
        # Nanoseconds would come out as numbers.
        return getattr(value, "to_numpy", lambda: value)().astype(f"{value.dtype.kind}8[us]").tolist()
    for name in ("model_dump", "tolist"):
        convert = getattr(value, name, None)
        if callable(convert):
            return convert()
    if isinstance(value, timedelta):
        return timedelta(value.days, value.seconds, value.microseconds)
    if isinstance(value, Mapping):
        return dict(value)
    # A subclass, which msgspec does not encode as its base.
    if isinstance(value, str):
        return str(value)
    if isinstance(value, float | int):
        return float(value) if isinstance(value, float) else int(value)
    if isinstance(value, bytes):
        return bytes(value)
    if isinstance(value, Sequence) and len(value) <= ITEMS_MAX:
        return list(value)
    raise TypeError


def _fields(value: Any) -> dict[str, Any] | None:
    """Return the fields of an object whose class msgspec can encode, so that `plain` looks into them; else None."""
    kind = type(value)
    names = getattr(kind, "__struct_fields__", None) or getattr(kind, "__dataclass_fields__", None)
    if names is None and (attributes := getattr(kind, "__attrs_attrs__", None)) is not None:
        names = [attribute.name for attribute in attributes]
    return None if names is None else {name: getattr(value, name) for name in names}


def _key(key: object, path: str) -> str:
    """Return a key of the dict at `path` as text. Raises Unencodable, as its class may be the caller's."""
    if isinstance(key, Enum):
        return _key(key.value, path)
    try:
        return key.isoformat().replace("+00:00", "Z") if isinstance(key, date) else text(str(key))
    except Exception as error:
        what = f"a key of type {type(key).__name__} has no text ({type(error).__name__})"
        raise Unencodable(f"{path[:PATH_LENGTH_MAX]}: {what}; convert it first") from None


def text(value: str) -> str:
    """Return the text without lone surrogates: U+FFFD stands for each."""
    return value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


encode = msgspec.json.Encoder(enc_hook=simpler).encode
"""Encode by the rules above, but odd keys, naive datetimes and lone surrogates need `plain` first. Raises anything."""

_NAIVE_END = re.compile(rb'T\d\d:\d\d:\d\d(?:\.\d{1,6})?"').match


def has_naive(payload: bytes, start: int = 0) -> bool:
    """Return whether this JSON, from `start` on, may hold a datetime without a time zone, as `encode` writes it.

    A text that looks like one counts too; `plain` then leaves the text as it is.
    """
    # By `find`: a search by a regular expression takes as long as the encoding.
    at = payload.find(b"T", start)
    while at >= 0:
        if payload[at + 3 : at + 4] == b":" and _NAIVE_END(payload, at):
            return True
        at = payload.find(b"T", at + 1)
    return False
