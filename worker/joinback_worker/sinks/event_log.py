"""The table `events` of append stores: one row an event, as it was logged, and the way back to records. Pure.

Rows are only ever added, and may stand there several times: an event's place is (application, join_key, kind,
event_id), and of different rows at one place (a producer's fault) the smallest `digest` counts.
"""

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from operator import itemgetter
from typing import NamedTuple, TypeAlias

import msgspec

from joinback import wire
from joinback_worker.errors import SinkUnavailable
from joinback_worker.law.record import Record
from joinback_worker.law.record_hash import read_hash

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


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
"""What each of them holds: `event_columns.EventColumns`."""


def microseconds(time: datetime) -> int:
    """Since 1970, exactly."""
    return (time - _EPOCH) // _MICROSECOND


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


HEADER = ("join_key", "kind", "event_id", "digest", "event")


def header_of(join_key: str, kind: str, event_id: str, digest: int, event: str) -> Stored:
    """Return a row of which `inputs` and `outputs` were not read: a prediction that says nothing but its time."""
    if kind != "prediction":
        return Stored(join_key, kind, event_id, digest, event, None, None, None)
    return Stored(join_key, kind, event_id, digest, event, "null", "null", wire.UNSAMPLED)


def records_from(application: str, rows: Iterable[Stored]) -> dict[str, Record]:
    """Each join key's record, from the rows of one application, which may repeat."""
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


def content_id(identities: Iterable[Identity]) -> str:
    """A batch's name: the same events, the same name, whoever writes them and when. 32 hex digits."""
    # By join key first: what is compared then is mostly a text alone, and what is sorted twice is sorted once.
    ordered = sorted(sorted(identities, key=itemgetter(1)))
    return sha256(msgspec.msgpack.encode(ordered)).hexdigest()[:32]
