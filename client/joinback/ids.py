"""Event ids, and join keys as text: the caller's or new ones."""

import itertools
import operator
import random
from decimal import Decimal
from typing import Any
from uuid import UUID

from . import forks, wire
from .drops import NotLogged

# Ids need to be unique, not secret.
_random = random.Random()  # noqa: S311
process = ""
"""The beginning of each event id of this process."""
numbers = itertools.count()
"""The end of each event id. A forked child has another beginning, and counts from 0."""
_buffers = itertools.count()


def _begin_ids() -> None:
    """Choose a new beginning: at import, and in a forked child, which would otherwise repeat its parent's ids."""
    global process, numbers
    _random.seed()
    process = f"{_random.getrandbits(48):012x}-"
    numbers = itertools.count()


_begin_ids()
forks.renewed_in_children(_begin_ids)
_here = forks.here


def new_id() -> str:
    """Return a new event id: twelve hex digits of this process, `-`, and the event's number in it."""
    if not _here[0]:
        forks.begin()
    # It need only be unique within one record. Random digits for each id would take three times as long.
    return f"{process}{next(numbers)}"


def new_buffer() -> str:
    """Return a beginning of event ids for one buffer: the digits of this process, `p`, a number and `-`.

    `new_id` and other buffers give no such ids.
    """
    return f"{process[:-1]}p{next(_buffers)}-"


FLOAT_KEY_MAX = 2**53
"""From here on two integers can be the same float, so two keys may have become one."""


def key_of(join_key: object, whole_floats: bool = False) -> str:
    """Return the join key as text; for None a new one, 32 hex digits. Never raises.

    For what cannot be a key it returns its text, or "" if that fails: something a person can recognise, and no new key.
    `check_names` then refuses it.
    """
    if join_key is None:
        if not _here[0]:
            forks.begin()
        # uuid4 gives as many digits, but takes eight times as long.
        return "%032x" % _random.getrandbits(128)  # noqa: UP031
    try:
        # The shortest way for an int: nearly all keys that are not text are ints.
        return str(join_key) if type(join_key) is int else key_text(join_key, whole_floats)
    except (NotLogged, ValueError):
        pass
    try:
        return str.__str__(str(join_key))
    except Exception:
        return ""


def key_text(join_key: object, whole_floats: bool = False) -> str:
    """Return a join key as text: a str, a UUID, or an integer of any type (also of numpy, and a whole Decimal).

    With `whole_floats`, 17.0 is taken for 17: a column of ids with missing cells becomes floats. Raises NotLogged.
    """
    # The text itself, whatever __str__ its class has: a str that is an Enum is its value.
    if isinstance(join_key, str):
        return str.__str__(join_key)
    try:
        if isinstance(join_key, UUID):
            return UUID.__str__(join_key)
        if (number := _integer(join_key, whole_floats)) is not None:
            return str(number)
    except (ValueError, OverflowError):
        digits_max = wire.JOIN_KEY_BYTES_MAX
        raise NotLogged("invalid", f"join_key is a number with too many digits; at most {digits_max} fit") from None
    except Exception as error:
        kind = type(error).__name__
        raise NotLogged("invalid", f"join_key of type {type(join_key).__name__} raised {kind} as text") from None
    fix = "; a float is not an id: write int(x)" if isinstance(join_key, float) else "; convert it first"
    raise NotLogged("invalid", f"join_key must be a str, an integer or a UUID, not {type(join_key).__name__}{fix}")


def _integer(value: Any, whole_floats: bool) -> int | None:
    """Return the exact integer that this is; None if it is not an integer."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return int.__index__(value)
    if isinstance(value, Decimal):
        whole = value.is_finite() and value.adjusted() < wire.JOIN_KEY_BYTES_MAX and value == value.to_integral_value()
        return int(value) if whole else None
    if isinstance(value, float) or getattr(getattr(value, "dtype", None), "kind", "") == "f":
        whole = whole_floats and float(value).is_integer() and abs(value) < FLOAT_KEY_MAX
        return int(value) if whole else None
    return operator.index(value) if hasattr(type(value), "__index__") else None
