"""From the arguments of a call to its events: checks, times, ids, encoding. No I/O."""

import itertools
import random
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias
from uuid import UUID

from . import forks, values, wire
from .buffer import DropReason

APPLICATIONS_REMEMBERED_MAX = 1_000
"""More is somebody's mistake, such as a name made from an id."""


class Refused(Exception):
    """An event that will not be logged: counted under `reason`, explained in the log."""

    def __init__(self, reason: DropReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


# --- checks ---------------------------------------------------------------------------------------------


def check_sides(inputs: object, outputs: object, feedback: object, join_key: object) -> None:
    """Raise Refused unless this is a prediction, feedback, or both."""
    if (inputs is None) != (outputs is None):
        raise Refused("invalid", "a prediction needs both inputs and outputs")
    if inputs is None:
        if feedback is None:
            raise Refused("invalid", "nothing to log; give inputs and outputs, or feedback")
        if join_key is None:
            raise Refused("invalid", "feedback needs the join_key of its prediction")
    if feedback is not None and not (isinstance(feedback, Mapping) and feedback):
        raise Refused("invalid", "feedback must be a dict with at least one field")


# Names that were checked before; most calls bring one of a few.
_applications: set[object] = set()


def check_names(application: object, key: str, join_key: object, event_id: object) -> None:
    """Raise Refused unless these can be parts of a Redis key. `key` is the join key as text."""
    if application not in _applications:
        if not _is_name(application, wire.APPLICATION_BYTES_MAX):
            raise Refused("invalid", f"application must be text of 1 to {wire.APPLICATION_BYTES_MAX} bytes")
        if len(_applications) < APPLICATIONS_REMEMBERED_MAX:
            _applications.add(application)
    # The usual case in one look.
    if key is join_key and event_id is None and key.isprintable() and 0 < len(key) <= _KEY_LENGTH_SURE:
        return
    if key is not join_key and (isinstance(join_key, bool) or not isinstance(join_key, _KEY_TYPES | None)):
        raise Refused("invalid", f"join_key must be a str, an int or a UUID, not {type(join_key).__name__}")
    if not _is_name(key, wire.JOIN_KEY_BYTES_MAX):
        raise Refused("invalid", f"join_key must be printable text of 1 to {wire.JOIN_KEY_BYTES_MAX} bytes")
    if event_id is not None and not _is_name(event_id, wire.EVENT_ID_BYTES_MAX):
        raise Refused("invalid", f"event_id must be printable text of 1 to {wire.EVENT_ID_BYTES_MAX} bytes")


_KEY_LENGTH_SURE = wire.JOIN_KEY_BYTES_MAX // 4
"""A character takes four bytes at most."""


def _is_name(value: object, bytes_max: int) -> bool:
    """Printable text: a control character in a key could forge a log line or drive a terminal."""
    if not isinstance(value, str) or not value.isprintable() or not value or len(value) > bytes_max:
        return False
    # isprintable() refuses lone surrogates too, so the encoding cannot fail.
    return value.isascii() or len(value.encode()) <= bytes_max


# --- ids and times --------------------------------------------------------------------------------------

_KEY_TYPES = str | int | UUID

# Ids need to be unique, not secret.
_random = random.Random()  # noqa: S311
_process = ""
_numbers = itertools.count()


def _begin_ids() -> None:
    """At first, and in a forked child, which would repeat its parent's ids."""
    global _process, _numbers
    _random.seed()
    _process = f"{_random.getrandbits(48):012x}-"
    _numbers = itertools.count()


_begin_ids()
forks.renewed_in_children(_begin_ids)
_here = forks.here


def new_id() -> str:
    """A new event id: twelve hex digits of this process and the event's number in it."""
    if not _here[0]:
        forks.begin()
    # Unique within one record is all it must be. As many random digits each time would cost thrice the time.
    return f"{_process}{next(_numbers)}"


def key_of(join_key: object) -> str:
    """The join key as text; for None a new one, 32 hex digits. Other types are for `check_names` to refuse."""
    if not _here[0]:
        forks.begin()
    # uuid4 gives as many, for eight times the time.
    return str(join_key) if isinstance(join_key, _KEY_TYPES) else "%032x" % _random.getrandbits(128)  # noqa: UP031


def utc(timestamp: object) -> datetime:
    """An event time of the caller's. Raises Refused."""
    if not isinstance(timestamp, datetime):
        raise Refused("invalid", f"timestamp must be a datetime, not {type(timestamp).__name__}")
    try:
        aware = timestamp.replace(tzinfo=UTC) if timestamp.tzinfo is None else timestamp.astimezone(UTC)
        # A subclass, such as pandas.Timestamp, may know nanoseconds, or be no time at all.
        return aware if type(aware) is datetime else datetime.fromisoformat(aware.isoformat())
    except (OverflowError, ValueError):
        raise Refused("invalid", "timestamp must be a time in the years 1 to 9999") from None


# --- events ---------------------------------------------------------------------------------------------

Common: TypeAlias = tuple[datetime, datetime, str | None, str | None, Mapping[str, Any] | None]
"""What every event of one call carries: at, logged_at, version, environment, tags."""


NO_TAGS: dict[str, Any] = {}
"""One for all: nothing changes the tags of an event, it only replaces them."""


def feedback(common: Common, fields: Mapping[str, Any]) -> wire.Feedback:
    at, logged_at, version, environment, tags = common
    return wire.Feedback(
        v=wire.WIRE_VERSION,
        at=at,
        logged_at=logged_at,
        version=version,
        environment=environment,
        tags=NO_TAGS if tags is None else dict(tags),
        feedback=dict(fields),
    )


def retraction(common: Common, fields: Iterable[str] | None) -> wire.Retraction:
    at, logged_at, _, environment, _ = common
    return wire.Retraction(
        v=wire.WIRE_VERSION,
        at=at,
        logged_at=logged_at,
        environment=environment,
        fields=None if fields is None else [str(name) for name in fields],
    )


# --- encoding -------------------------------------------------------------------------------------------

Part = Literal["inputs", "outputs", "feedback", "tags"]
PARTS: tuple[Part, ...] = ("inputs", "outputs", "feedback", "tags")
"""What of an event is the caller's own, of any type and depth."""


def text_of(version: object) -> str | None:
    return None if version is None else str(version)


_HEADER_BYTES = len('{"v":1,"at":"2026-11-23T11:00:00Z","logged_at":"2026-11-23T11:00:00Z')
"""Our own times are in UTC; what a caller gave comes later."""


def encode(event: wire.Event) -> bytes:
    """The event's JSON, by the rules of `values`. Raises Refused: `unencodable` or `too_large`."""
    payload: bytes | None
    try:
        payload = values.encode(event)
        # Most payloads hold no T at all, and a call less is worth a line.
        if payload.find(b"T", _HEADER_BYTES) >= 0 and values.has_naive(payload, _HEADER_BYTES):
            payload = None
    # Anything: a caller's object may run code of its own here, and a cycle ends in RecursionError.
    except Exception:
        payload = None
    if payload is None:
        make_plain(event)
        payload = values.encode(event)
    if len(payload) > wire.EVENT_BYTES_MAX:
        raise Refused("too_large", f"an event of {len(payload)} bytes; at most {wire.EVENT_BYTES_MAX} fit")
    return payload


def make_plain(event: wire.Event) -> None:
    """Replace the caller's objects by plain ones of our own. Raises Refused, naming the path."""
    try:
        for part in PARTS:
            if (value := getattr(event, part, None)) is not None:
                setattr(event, part, values.plain(value, part))
    except values.Unencodable as error:
        raise Refused("unencodable", str(error)) from None
