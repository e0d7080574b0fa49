"""The table `events` of append stores: one row an event, as it was logged, and the way back to records. Pure.

Rows are only ever added, and may stand there several times: an event's place is (application, join_key, kind,
event_id), and of different rows at one place (a producer's fault) the smallest `digest` counts.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import NamedTuple, TypeAlias

import msgspec
from msgspec import Struct

from joinback import wire
from joinback_worker.errors import SinkUnavailable
from joinback_worker.fold import Record, digest, effective_at, fold

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class EventRow(Struct, gc=False):
    """One event. JSON stands in text columns as it was logged; NULL is what the event does not have."""

    application: str
    join_key: str
    kind: str
    event_id: str
    digest: int
    ordered_at_us: int
    """What orders events: `event_at`, or `logged_at` if that is skewed; microseconds since 1970, for any year."""
    event_at: datetime
    logged_at: datetime
    version: str | None
    environment: str | None
    tags: str | None
    event: str
    """JSON of the event; of a prediction without `inputs`, `outputs` and `sample_rate`."""
    inputs: str | None
    outputs: str | None
    sample_rate: float | None
    fields: list[str]
    """The fields that feedback tells, or a retraction takes back."""
    field_values: list[str]
    """JSON of each field that feedback tells."""
    all_fields: bool
    """A retraction of all fields; `fields` is empty."""
    written_at: datetime


COLUMNS = EventRow.__struct_fields__


def microseconds(time: datetime) -> int:
    """Since 1970, exactly."""
    return (time - _EPOCH) // _MICROSECOND


def rows_of(record: Record, written_at: datetime) -> Iterator[EventRow]:
    """A record's events, in no order."""
    for kind, events in (
        ("prediction", record.predictions),
        ("feedback", record.feedback),
        ("retraction", record.retractions),
    ):
        for event_id, event in events.items():
            yield _row(record, kind, event_id, event, written_at)


def _row(record: Record, kind: str, event_id: str, event: wire.Event, written_at: datetime) -> EventRow:
    text = encoded = wire.encode(event)
    inputs = outputs = sample_rate = None
    fields: list[str] = []
    values: list[str] = []
    all_fields = False
    if isinstance(event, wire.Prediction):
        text = wire.encode(_header(event))
        inputs, outputs, sample_rate = bytes(event.inputs).decode(), bytes(event.outputs).decode(), event.sample_rate
    elif isinstance(event, wire.Feedback):
        fields, values = list(event.feedback), [bytes(value).decode() for value in event.feedback.values()]
    elif isinstance(event, wire.Retraction):
        fields, all_fields = event.fields or [], event.fields is None
    return EventRow(
        application=record.application,
        join_key=record.join_key,
        kind=kind,
        event_id=event_id,
        digest=digest(encoded),
        ordered_at_us=microseconds(effective_at(event)),
        event_at=event.at,
        logged_at=event.logged_at,
        version=event.version,
        environment=event.environment,
        tags=wire.encode(event.tags).decode() if event.tags else None,
        event=text.decode(),
        inputs=inputs,
        outputs=outputs,
        sample_rate=sample_rate,
        fields=fields,
        field_values=values,
        all_fields=all_fields,
        written_at=written_at,
    )


def _header(event: wire.Event) -> wire.Event:
    return wire.Event(
        v=event.v,
        at=event.at,
        logged_at=event.logged_at,
        version=event.version,
        environment=event.environment,
        tags=event.tags,
    )


class Stored(NamedTuple):
    """What of a row is read back: enough for its event."""

    join_key: str
    kind: str
    event_id: str
    digest: int
    event: str
    inputs: str | None
    outputs: str | None
    sample_rate: float | None


def records_from(application: str, rows: Iterable[Stored]) -> dict[str, Record]:
    """Each join key's record, from the rows of one application, which may repeat."""
    chosen: defaultdict[str, dict[str, Stored]] = defaultdict(dict)
    for row in rows:
        fields = chosen[row.join_key]
        field = f"{row.kind}:{row.event_id}"
        if field not in fields or row.digest < fields[field].digest:
            fields[field] = row
    return {
        key: fold(application, key, ((field, _payload(row)) for field, row in fields.items())).record
        for key, fields in chosen.items()
    }


def whole_records(application: str, rows: Iterable[Stored]) -> list[Record]:
    """As `records_from`, for a copy: raises SinkUnavailable for an event that it would have to leave behind."""
    records = records_from(application, rows := list(rows))
    held = sum(len(r.predictions) + len(r.feedback) + len(r.retractions) for r in records.values())
    if held < len({(row.join_key, row.kind, row.event_id) for row in rows}):
        keys = sorted({row.join_key for row in rows})
        raise SinkUnavailable(
            f"an event of {application!r}, between {keys[0]!r} and {keys[-1]!r}, is none that this version can read;"
            " upgrade, or delete it"
        )
    return list(records.values())


def _payload(row: Stored) -> bytes:
    """The event as its record's hash holds it."""
    if row.inputs is None:
        return row.event.encode()
    rest = f',"inputs":{row.inputs},"outputs":{row.outputs},"sample_rate":{row.sample_rate!r}}}'
    return (row.event.removesuffix("}") + rest).encode()


Identity: TypeAlias = tuple[str, str, str, str, int]
"""Of a row: application, join_key, kind, event_id, digest. Rows that share it are repetitions."""


def identity(row: EventRow) -> Identity:
    return row.application, row.join_key, row.kind, row.event_id, row.digest


def content_id(identities: Iterable[Identity]) -> str:
    """A batch's name: the same events, the same name, whoever writes them and when. 32 hex digits."""
    return sha256(msgspec.msgpack.encode(sorted(identities))).hexdigest()[:32]
