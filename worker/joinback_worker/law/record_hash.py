"""Read a record from its hash in Redis, or from columns that hold the same fields. Pure."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from msgspec import Struct

from joinback import wire
from joinback.errors import NewerWireVersion, UndecodableEvent

from .record import Record


class Bad(NamedTuple):
    """Why a field of a record's hash becomes a dead letter."""

    reason: str
    detail: str


class ReadHash(Struct, gc=False):
    """A record as read from its hash, and the fields of the hash that are not part of it."""

    record: Record
    payloads: dict[str, bytes]
    """The hash without its late marks: field -> bytes."""
    bad: dict[str, Bad]
    """Fields that cannot become part of a row, and why."""
    newer: set[str]
    """Fields that a newer client wrote. They stay in Redis until the worker is upgraded."""


def read_hash(application: str, join_key: str, fields: Iterable[tuple[str, bytes]]) -> ReadHash:
    """Return the record that these (field, bytes) hold: `<kind>:<event_id>` and JSON, in any order.

    Raises nothing for what it cannot read: that goes into `bad` or `newer`.
    """
    record = Record(application=application, join_key=join_key)
    by_kind: dict[str, dict[str, Any]] = {
        "prediction": record.predictions,
        "feedback": record.feedback,
        "retraction": record.retractions,
    }
    payloads: dict[str, bytes] = {}
    bad: dict[str, Bad] = {}
    newer: set[str] = set()
    for field, payload in fields:
        kind, colon, event_id = field.partition(":")
        if kind == wire.LATE and colon:
            continue
        payloads[field] = payload
        try:
            if not event_id:
                raise UndecodableEvent("the field is not <kind>:<event_id>")
            if not event_id.isprintable():
                raise UndecodableEvent("the event id in the field is not printable text")
            event = wire.decode_event(kind, payload)
        except UndecodableEvent as error:
            bad[field] = Bad("undecodable", str(error))
        except NewerWireVersion:
            newer.add(field)
        else:
            by_kind[kind][event_id] = event
    return ReadHash(record, payloads, bad, newer)
