"""Ids of events, and join keys as text: what a caller gave, or a new one."""

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
"""How each event id of this process begins."""
numbers = itertools.count()
"""How it ends. Both are another one's in a forked child."""


def _begin_ids() -> None:
    """At first, and in a forked child, which would repeat its parent's ids."""
    global process, numbers
    _random.seed()
    process = f"{_random.getrandbits(48):012x}-"
    numbers = itertools.count()


_begin_ids()
forks.renewed_in_children(_begin_ids)
_here = forks.here


def new_id() -> str:
    """A new event id: twelve hex digits of this process and the event's number in it."""
    if not _here[0]:
        forks.begin()
    # Unique within one record is all it must be. As many random digits each time would cost thrice the time.
    return f"{process}{next(numbers)}"


FLOAT_KEY_MAX = 2**53
"""From here on a float no longer tells one integer from the next, so two keys may have become one."""


def key_of(join_key: object, whole_floats: bool = False) -> str:
    """Return the join key as text; for None a new one, 32 hex digits. Never raises.

    What is no key is for `check_names` to refuse; its text, or "" where it has none, can be told to a person,
    and is never one that looks like a key of ours.
    """
    if join_key is None:
        if not _here[0]:
            forks.begin()
        # uuid4 gives as many, for eight times the time.
        return "%032x" % _random.getrandbits(128)  # noqa: UP031
    try:
        # An int as it is, since nearly all keys that are no text are one.
        return str(join_key) if type(join_key) is int else key_text(join_key, whole_floats)
    except (NotLogged, ValueError):
        pass
    try:
        return str.__str__(str(join_key))
    except Exception:
        return ""


def key_text(join_key: object, whole_floats: bool = False) -> str:
    """Return a join key as text: a str, a UUID, or whatever is an integer (numpy's too, and a whole Decimal).

    `whole_floats` takes 17.0 for 17 as well, as a column of ids with a gap becomes floats. Raises NotLogged.
    """
    # As it is, whatever __str__ its class has: an Enum of texts is its value.
    if isinstance(join_key, str):
        return str.__str__(join_key)
    try:
        if isinstance(join_key, UUID):
            return UUID.__str__(join_key)
        if (number := _integer(join_key, whole_floats)) is not None:
            return str(number)
    except (ValueError, OverflowError):
        raise NotLogged("invalid", f"join_key is a number too long; at most {wire.JOIN_KEY_BYTES_MAX} digits") from None
    except Exception as error:
        kind = type(error).__name__
        raise NotLogged("invalid", f"join_key of type {type(join_key).__name__} raised {kind} as text") from None
    fix = "; a float is no id: write int(x)" if isinstance(join_key, float) else "; convert it first"
    raise NotLogged("invalid", f"join_key must be a str, an integer or a UUID, not {type(join_key).__name__}{fix}")


def _integer(value: Any, whole_floats: bool) -> int | None:
    """The integer that this is, exactly; None if it is none."""
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
