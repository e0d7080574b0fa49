"""The table `events` of sinks that store events: one row per event, as it was logged; and back to records. Pure.

Rows are only added, and one row may be stored several times. (application, join_key, kind, event_id) names an event. If
a producer logged different events under one name, the row with the smallest `digest` counts.
"""

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from hashlib import sha256
from operator import itemgetter
from typing import NamedTuple, TypeAlias

import msgspec

from joinback import wire
from joinback.errors import NewerWireVersion, UndecodableEvent
from joinback_worker.errors import SinkUnavailable
from joinback_worker.law.record import Record
from joinback_worker.law.record_hash import read_hash

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


COLUMNS = (
    "application",
    "join_key",
    "kind",
    "event_id",
    "digest",
    "ordered_at_us",
    "event_at",
    "logged_at",
    "version",
    "environment",
    "tags",
    "event",
    "inputs",
    "outputs",
    "sample_rate",
    "fields",
    "field_values",
    "all_fields",
    "written_at",
)
"""`event_columns.EventColumns` has one attribute per column, which says what it holds."""


def microseconds(time: datetime) -> int:
    """Return the microseconds since 1970, exactly."""
    since = time - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


class Stored(NamedTuple):
    """The columns of a row that are read back: they are enough to make its event again."""

    join_key: str
    kind: str
    event_id: str
    digest: int
    event: str
    inputs: str | None
    outputs: str | None
    sample_rate: float | None


Header: TypeAlias = tuple[str, str, str, int, str]
"""The first columns of `Stored`. Without `inputs` and `outputs` they still tell what becomes of a record."""
HEADER = Stored._fields[:5]


def records_of_headers(application: str, headers: Iterable[Header]) -> dict[str, Record]:
    """As `records_from`, from rows whose `inputs` and `outputs` were not read: of a prediction they become `null`."""
    chosen: dict[tuple[str, str, str], Header] = {}
    for header in headers:
        name = header[:3]
        if header[3] < chosen.setdefault(name, header)[3]:
            chosen[name] = header
    records: dict[str, Record] = {}
    for join_key, kind, event_id, _, event in chosen.values():
        if (record := records.get(join_key)) is None:
            record = records[join_key] = Record(application=application, join_key=join_key)
        # `read_hash` would do the same, but it takes a dozen objects per key, and a look-up has ten thousand keys.
        text = event[:-1] + _NO_CONTENT if kind == "prediction" else event
        try:
            getattr(record, _EVENTS[kind])[event_id] = wire.decode_event(kind, text.encode())
        except (UndecodableEvent, NewerWireVersion):
            continue
    return records


_NO_CONTENT = ',"inputs":null,"outputs":null}'
_EVENTS = {"prediction": "predictions", "feedback": "feedback", "retraction": "retractions"}


def records_from(application: str, rows: Iterable[Stored]) -> dict[str, Record]:
    """Return join key -> record, from rows of one application. A row may come several times."""
    chosen: defaultdict[str, dict[str, Stored]] = defaultdict(dict)
    for row in rows:
        fields = chosen[row.join_key]
        field = f"{row.kind}:{row.event_id}"
        if field not in fields or row.digest < fields[field].digest:
            fields[field] = row
    return {
        key: read_hash(application, key, ((field, _payload(row)) for field, row in fields.items())).record
        for key, fields in chosen.items()
    }


def whole_records(application: str, rows: Iterable[Stored]) -> list[Record]:
    """As `records_from`, for a copy: raises SinkUnavailable for an event that it cannot read, and so would lose."""
    records = records_from(application, rows := list(rows))
    held = sum(len(r.predictions) + len(r.feedback) + len(r.retractions) for r in records.values())
    if held < len({(row.join_key, row.kind, row.event_id) for row in rows}):
        keys = sorted({row.join_key for row in rows})
        raise SinkUnavailable(
            f"this version cannot read an event of {application!r} between {keys[0]!r} and {keys[-1]!r};"
            " upgrade, or delete the event"
        )
    return list(records.values())


def _payload(row: Stored) -> bytes:
    """Return the event as its record's hash in Redis holds it."""
    if row.inputs is None:
        return row.event.encode()
    rest = f',"inputs":{row.inputs},"outputs":{row.outputs},"sample_rate":{row.sample_rate!r}}}'
    return (row.event.removesuffix("}") + rest).encode()


Identity: TypeAlias = tuple[str, str, str, str, int]
"""application, join_key, kind, event_id, digest of a row. Two rows that share them are the same row, stored twice."""


def content_id(identities: Iterable[Identity]) -> str:
    """Return a name for a batch, 32 hex digits. The same events have the same name, whoever writes them and when."""
    # Sort by join key alone first: that compares one text per row, and the second sort finds them nearly in order.
    ordered = sorted(sorted(identities, key=itemgetter(1)))
    return sha256(msgspec.msgpack.encode(ordered)).hexdigest()[:32]
