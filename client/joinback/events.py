"""From the arguments of a call to its events: checks, then JSON. No I/O."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Literal, TypeAlias

from . import log, nesting, values, wire
from .drops import NotLogged
from .ids import key_text

APPLICATIONS_REMEMBERED_MAX = 1_000
"""More is somebody's mistake, such as a name made from an id."""


# --- checks ---------------------------------------------------------------------------------------------


def check_sides(inputs: object, outputs: object, feedback: object, join_key: object, source: object = None) -> None:
    """Raise NotLogged unless this is a prediction, feedback, or both."""
    if (inputs is None) != (outputs is None):
        raise NotLogged("invalid", "a prediction needs both inputs and outputs")
    if inputs is None:
        if feedback is None:
            raise NotLogged("invalid", "nothing to log; give inputs and outputs, or feedback")
        if join_key is None:
            raise NotLogged("invalid", "feedback needs the join_key of its prediction")
    if source is not None and feedback is None:
        raise NotLogged("invalid", "source says who gave the feedback, and there is no feedback")
    if feedback is not None and not (isinstance(feedback, Mapping) and len(feedback)):
        raise NotLogged("invalid", "feedback must be a dict with at least one field")


checked_applications: set[object] = set()
"""Names that passed the check before, each a str. Most calls use one of a few."""


def check_names(application: object, key: str, join_key: object, event_id: object) -> None:
    """Raise NotLogged unless these names are valid. `key` is what `key_of` made of the join key."""
    try:
        is_known = application in checked_applications
    # A list cannot be hashed; a caller's object may raise anything.
    except Exception:
        is_known = False
    if not is_known:
        if not is_name(application, wire.APPLICATION_BYTES_MAX):
            raise NotLogged("invalid", f"application must be printable text of 1 to {wire.APPLICATION_BYTES_MAX} bytes")
        if type(application) is str and len(checked_applications) < APPLICATIONS_REMEMBERED_MAX:
            checked_applications.add(application)
    # The usual case, in one condition.
    if key is join_key and event_id is None and key.isprintable() and 0 < len(key) <= KEY_LENGTH_SURE:
        return
    if key is not join_key and join_key is not None and not (type(join_key) is int and key):
        key_text(join_key)
    if not is_name(key, wire.JOIN_KEY_BYTES_MAX):
        raise NotLogged("invalid", f"join_key must be printable text of 1 to {wire.JOIN_KEY_BYTES_MAX} bytes")
    if event_id is not None and not is_name(event_id, wire.EVENT_ID_BYTES_MAX):
        raise NotLogged("invalid", f"event_id must be printable text of 1 to {wire.EVENT_ID_BYTES_MAX} bytes")


KEY_LENGTH_SURE = wire.JOIN_KEY_BYTES_MAX // 4
"""A key of so many characters fits: a character takes at most four bytes in UTF-8."""


def is_name(value: object, bytes_max: int) -> bool:
    """Return whether this is printable text of 1 to `bytes_max` bytes.

    A control character in a key could forge a log line or drive a terminal.
    """
    if not isinstance(value, str) or not value.isprintable() or not value or len(value) > bytes_max:
        return False
    # isprintable() refuses lone surrogates too, so the encoding cannot fail.
    return value.isascii() or len(value.encode()) <= bytes_max


# --- events ---------------------------------------------------------------------------------------------

Common: TypeAlias = tuple[datetime, datetime, str | None, str | None, Mapping[str, Any] | None]
"""What every event of one call carries: at, logged_at, version, environment, tags."""


NO_TAGS: dict[str, Any] = {}
"""One dict for all events: code replaces the tags of an event, but never changes them in place."""


def feedback(common: Common, fields: Mapping[str, Any], source: str | None = None) -> wire.Feedback:
    """Return the event of these fields. `source` is a result of `source_of`. Raises NotLogged."""
    at, logged_at, version, environment, tags = common
    return wire.Feedback(
        v=wire.PLAIN_VERSION if source is None else wire.WIRE_VERSION,
        at=at,
        logged_at=logged_at,
        version=version,
        environment=environment,
        tags=NO_TAGS if tags is None else tags_of(tags),
        feedback=copied("feedback", fields),
        source=source,
    )


def source_of(source: object) -> str | None:
    """Return a caller's source as a plain str. Raises NotLogged."""
    if source is None:
        return None
    if not is_name(source, wire.SOURCE_BYTES_MAX):
        raise NotLogged(
            "invalid", f"source must be printable text of 1 to {wire.SOURCE_BYTES_MAX} bytes, such as human"
        )
    return str.__str__(source)


def tags_of(tags: object) -> dict[str, Any]:
    """Return a copy of a caller's tags. Raises NotLogged."""
    if type(tags) is dict:
        return tags.copy()
    if not isinstance(tags, Mapping):
        raise NotLogged("invalid", f"tags must be a dict, such as {{'region': 'eu'}}, not {type(tags).__name__}")
    return copied("tags", tags)


def copied(name: str, mapping: Mapping[str, Any]) -> dict[str, Any]:
    """Return a caller's mapping as a dict. Raises NotLogged if the mapping's own code raises."""
    try:
        return dict(mapping)
    except Exception as error:
        raise NotLogged("invalid", f"{name} cannot be read: {type(error).__name__}") from None


def retraction(
    at: datetime,
    logged_at: datetime,
    environment: str | None,
    fields: Iterable[str] | None,
    event_ids: Iterable[str] | None = None,
    retraction_ids: Iterable[str] | None = None,
    own_id: str | None = None,
) -> wire.Retraction:
    """Return the event. Raises NotLogged for what is not a list of ids or names, and for ids that no event can have."""
    named = _ids("event_ids", event_ids, "feedback")
    undone = _ids("retraction_ids", retraction_ids, "retraction")
    if undone is not None and own_id in undone:
        raise NotLogged("invalid", "a retraction cannot take itself back; retraction_ids names earlier ones")
    names_events = event_ids is not None or retraction_ids is not None
    return wire.Retraction(
        v=wire.WIRE_VERSION if names_events else wire.PLAIN_VERSION,
        at=at,
        logged_at=logged_at,
        environment=environment,
        fields=_names("fields", fields, "left out to take all back"),
        event_ids=named,
        retraction_ids=undone,
    )


def _ids(what: str, ids: Iterable[str] | None, kind: str) -> list[str] | None:
    """Return the ids without the prefix `<kind>:`, with which rows show them. Raises NotLogged."""
    if ids is None:
        return None
    try:
        given: list[object] = [] if isinstance(ids, str) else list(ids)
    except TypeError:
        given = []
    listed = [str.__str__(name).removeprefix(f"{kind}:") for name in given if isinstance(name, str)]
    if not listed or len(listed) < len(given) or not all(is_name(name, wire.EVENT_ID_BYTES_MAX) for name in listed):
        raise NotLogged(
            "invalid",
            f"{what} must be a list of event ids, each printable text of 1 to {wire.EVENT_ID_BYTES_MAX} bytes;"
            " to name none, leave it out",
        )
    return listed


def _names(what: str, names: Iterable[str] | None, else_: str) -> list[str] | None:
    if names is None:
        return None
    try:
        listed = None if isinstance(names, str) else [text_of(name) or "" for name in names]
    except TypeError:
        listed = None
    if listed is None:
        raise NotLogged("invalid", f"{what} must be a list of names, or {else_}")
    return listed


# --- encoding -------------------------------------------------------------------------------------------

Part = Literal["inputs", "outputs", "feedback", "tags"]
PARTS: tuple[Part, ...] = ("inputs", "outputs", "feedback", "tags")
"""The parts of an event that hold the caller's own values, of any type and depth."""


def text_of(name: object) -> str | None:
    """Return a version, a name or an environment as a plain str, without lone surrogates; None stays None.

    Raises NotLogged.
    """
    if name is None:
        return None
    try:
        return values.text(str.__str__(name) if isinstance(name, str) else str(name))
    except Exception as error:
        raise NotLogged("invalid", f"a {type(name).__name__} cannot be a name: {type(error).__name__}") from None


HEADER_BYTES = len('{"v":1,"at":"2026-11-23T11:00:00Z","logged_at":"2026-11-23T11:00:00Z')
"""The first bytes of an event hold our own times, which are in UTC. The caller's values come later."""


def payload_of(event: wire.Event) -> bytes:
    """Return the event's JSON, by the rules of `values`. Raises NotLogged: `unencodable` or `too_large`.

    May replace the caller's objects in the event by plain ones.
    """
    payload: bytes | None
    try:
        payload = values.encode(event)
        # Most payloads hold no T, and `find` alone is faster than the call.
        if payload.find(b"T", HEADER_BYTES) >= 0 and values.has_naive(payload, HEADER_BYTES):
            payload = None
    # Anything: a caller's object may run code of its own here, and a cycle raises RecursionError.
    except Exception:
        payload = None
    if payload is None:
        make_plain(event)
        try:
            payload = values.encode(event)
        # All are scalars, lists and dicts now, so it is a limit of the encoder.
        except (ValueError, TypeError, OverflowError, RecursionError, BufferError) as error:
            raise NotLogged("unencodable", f"a value cannot be written as JSON: {log.words_of(error)}") from None
    try:
        nesting.check(payload)
    except ValueError as error:
        raise NotLogged("unencodable", str(error)) from None
    if len(payload) > wire.EVENT_BYTES_MAX:
        raise NotLogged("too_large", f"an event of {len(payload)} bytes; at most {wire.EVENT_BYTES_MAX} fit")
    return payload


def make_plain(event: wire.Event) -> None:
    """Replace the caller's objects in the event by dicts, lists and scalars. Raises NotLogged, which names the path.

    Its version is the caller's too, and may have lone surrogates.
    """
    if isinstance(event, wire.Prediction | wire.Feedback) and event.version is not None:
        event.version = values.text(event.version)
    try:
        for part in PARTS:
            if (value := getattr(event, part, None)) is not None:
                setattr(event, part, values.plain(value, part))
    except values.Unencodable as error:
        raise NotLogged("unencodable", str(error)) from None
