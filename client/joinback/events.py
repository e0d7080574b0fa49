"""From the arguments of a call to the bytes of its events: checks, ids, encoding. No I/O."""

import os
import random
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec

from . import wire
from .buffer import DropReason


class Refused(Exception):
    """An event that will not be logged: counted under `reason`, explained in the log."""

    def __init__(self, reason: DropReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def check_sides(inputs: object, outputs: object, feedback: object, join_key: object) -> None:
    """Raise Refused unless this is a prediction, feedback, or both."""
    if (inputs is None) != (outputs is None):
        raise Refused("invalid", "a prediction needs both inputs and outputs")
    if inputs is None and feedback is None:
        raise Refused("invalid", "nothing to log; give inputs and outputs, or feedback")
    if inputs is None and join_key is None:
        raise Refused("invalid", "feedback needs the join_key of its prediction")
    if feedback is not None and not (isinstance(feedback, Mapping) and feedback):
        raise Refused("invalid", "feedback must be a dict with at least one field")


def check_names(application: object, key: str, join_key: object, event_id: object) -> None:
    """Raise Refused unless these can be parts of a Redis key. `key` is the join key as text."""
    if not _is_name(application, wire.APPLICATION_BYTES_MAX):
        raise Refused("invalid", f"application must be text of 1 to {wire.APPLICATION_BYTES_MAX} bytes")
    if isinstance(join_key, bool) or not isinstance(join_key, str | int | UUID | None):
        raise Refused("invalid", f"join_key must be a str, an int or a UUID, not {type(join_key).__name__}")
    if not _is_name(key, wire.JOIN_KEY_BYTES_MAX):
        raise Refused("invalid", f"join_key must be printable text of 1 to {wire.JOIN_KEY_BYTES_MAX} bytes")
    if event_id is not None and not _is_name(event_id, wire.EVENT_ID_BYTES_MAX):
        raise Refused("invalid", f"event_id must be printable text of 1 to {wire.EVENT_ID_BYTES_MAX} bytes")


def _is_name(value: object, bytes_max: int) -> bool:
    """Printable text: a control character in a key could forge a log line or drive a terminal."""
    if not isinstance(value, str) or not value.isprintable() or not value:
        return False
    # isprintable() refuses lone surrogates too, so this cannot fail.
    return len(value) <= bytes_max and len(value.encode()) <= bytes_max


def _utc(timestamp: object) -> datetime:
    if not isinstance(timestamp, datetime):
        raise Refused("invalid", f"timestamp must be a datetime, not {type(timestamp).__name__}")
    try:
        return timestamp.replace(tzinfo=UTC) if timestamp.tzinfo is None else timestamp.astimezone(UTC)
    except OverflowError:
        raise Refused("invalid", "timestamp is outside the years 1 to 9999") from None


def _plain(value: object) -> object:
    """What msgspec cannot encode by itself: numpy scalars and arrays, and whatever else offers `tolist`."""
    convert = getattr(value, "tolist", None)
    if convert is None:
        raise TypeError(f"a {type(value).__name__} cannot be written as JSON; convert it first")
    return convert()


_encode = msgspec.json.Encoder(enc_hook=_plain).encode


def shared(
    timestamp: datetime | None, version: object, environment: str | None, tags: Mapping[str, Any] | None
) -> dict[str, Any]:
    """What every event of one call carries. Raises Refused."""
    now = datetime.now(UTC)
    return {
        "v": wire.WIRE_VERSION,
        "at": now if timestamp is None else _utc(timestamp),
        "logged_at": now,
        "version": None if version is None else str(version),
        "environment": environment,
        "tags": {} if tags is None else dict(tags),
    }


def encode(event: wire.Event) -> bytes:
    """The event's JSON. Raises Refused: `unencodable` or `too_large`."""
    try:
        payload = _encode(event)
    # Anything: a caller's object may run code of its own here, and a cycle ends in RecursionError.
    except Exception as error:
        raise Refused("unencodable", f"{type(event).__name__.lower()}: {error}") from None
    if len(payload) > wire.EVENT_BYTES_MAX:
        raise Refused("too_large", f"an event of {len(payload)} bytes; at most {wire.EVENT_BYTES_MAX} fit")
    return payload


# Seeded by the system, and again in a forked child, which would repeat its parent's ids.
_random = random.Random()  # noqa: S311 - ids need to be unique, not secret
os.register_at_fork(after_in_child=_random.seed)


def new_id() -> str:
    """A new event id or join key: 16 hex digits."""
    # 64 bits name an event within its record and a record within its application; uuid4 costs 8 times more.
    return f"{_random.getrandbits(64):016x}"
