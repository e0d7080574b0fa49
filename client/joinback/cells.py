"""What one cell of a column means: a key, a time, a version, or nothing.

| a cell | what it means |
| --- | --- |
| missing: None, NaN, NaT, NA | null in inputs and outputs; in feedback and tags the field is left out |
| None in a dict that the caller made | null, as a value; NaN, NaT and NA are missing there too |
| a key: text | itself: `01007` and `1007.0` do not change |
| a key: an integer of any type, a whole float or Decimal, a UUID | its text: `numpy.int64(7)` and 7.0 are `7` |
| a key: missing, or empty text | a new key for a prediction; refused for feedback |
| a time: a datetime, also of pandas and numpy; a date; ISO 8601 text | that time; UTC if it has no zone |
| a time: missing | the time of the call |
| a version: text or a number | its text; no version if missing |

Any other cell is wrong. A wrong cell makes the whole call a drop: nothing of it is logged.
"""

import re
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

from . import events, ids, wire
from .drops import NotLogged
from .times import utc

_PRESENT = frozenset({str, int, bool, dict, list, datetime, date})
_ISO = re.compile(r"\d{4}(?:-\d\d-\d\d|\d{4}|-?W\d\d(?:-?\d)?)(?:[Tt ].+)?", re.DOTALL).fullmatch
"""A date, then perhaps a separator and a time. `fromisoformat` alone reads milliseconds since 1970 as a day in 1612."""


def is_missing(value: Any) -> bool:
    """Return whether this cell has no value: None, or a missing value of any library."""
    return value is None or is_gap(value)


def is_gap(value: Any) -> bool:
    """Return whether this is NaN, NaT or NA of any library: a missing value other than None."""
    kind = type(value)
    if kind in _PRESENT or value is None:
        return False
    if isinstance(value, float | Decimal):
        return value.is_nan() if isinstance(value, Decimal) else value != value
    if kind.__name__ in ("NaTType", "NAType"):
        return True
    # A scalar of numpy: most of its types are not subclasses of float.
    return getattr(getattr(value, "dtype", None), "kind", "") in ("f", "M", "m") and bool(
        getattr(value, "shape", None) == () and value != value
    )


def key(value: Any) -> str | None:
    """Return a join key as text; None for a missing or empty one. Raises NotLogged."""
    return _name(value, wire.JOIN_KEY_BYTES_MAX)


def event_id(value: Any) -> str | None:
    """Return an event id as text; None for a missing or empty one. Raises NotLogged."""
    return _name(value, wire.EVENT_ID_BYTES_MAX)


def _name(value: Any, bytes_max: int) -> str | None:
    if type(value) is not str:
        if is_missing(value):
            return None
        value = _text(value)
    if value == "":
        return None
    if not events.is_name(value, bytes_max):
        raise NotLogged("invalid", f"it must be printable text of 1 to {bytes_max} bytes")
    return str(value)


def _text(value: Any) -> str:
    """Return the text of a key, also of one that became a whole float or Decimal. Raises NotLogged."""
    try:
        return ids.key_text(value, whole_floats=True)
    except NotLogged:
        if not isinstance(value, float | Decimal):
            raise NotLogged("invalid", f"it is of type {type(value).__name__}; use integers, text or UUIDs") from None
    # Not int(value): for Decimal("1E+1000000") that takes for ever.
    is_broken = Decimal(value).is_finite() and Decimal(value) != Decimal(value).to_integral_value()
    what = "with a fraction" if is_broken else "that has lost digits"
    raise NotLogged("invalid", f"a {type(value).__name__} {what}; read the column as Int64 or text")


def when(value: Any) -> datetime | None:
    """Return an event time in UTC; None for a missing one. Raises NotLogged."""
    if type(value) is not datetime:
        if is_missing(value):
            return None
        if isinstance(value, str):
            value = _parsed(value.strip())
        elif getattr(getattr(value, "dtype", None), "kind", "") == "M":
            value = value.astype("M8[us]").tolist()
        elif isinstance(value, date) and not isinstance(value, datetime):
            value = datetime.combine(value, time(), UTC)
        elif not isinstance(value, datetime):
            raise NotLogged("invalid", f"it is of type {type(value).__name__}; use datetimes or ISO 8601 text")
    return utc(value)


def _parsed(text: str) -> datetime:
    try:
        if _ISO(text):
            return datetime.fromisoformat(text)
    except ValueError:
        pass
    raise NotLogged("invalid", "the text is not ISO 8601; use datetimes, or text such as 2026-11-23T11:00:00Z")


def version(value: Any) -> str | None:
    """Return a version as text; None for a missing one. Raises NotLogged."""
    if is_missing(value):
        return None
    if isinstance(value, str | float | Decimal):
        return str(value)
    return _text(value)


def each(read: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """Return what `read` makes of each item. Where it raises NotLogged, that exception stands in the list."""
    found: list[Any] = []
    for item in items:
        try:
            found.append(read(item))
        except NotLogged as refusal:
            found.append(refusal)
    return found
