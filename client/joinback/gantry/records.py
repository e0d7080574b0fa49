"""From the arguments of Gantry's calls to records: which side is there, which inputs, tags and key."""

import math
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from msgspec import Struct

from joinback import columns, events, values
from joinback.events import Refused

from .keys import join_key_of

SERIES_FIELD = "0"
"""What Gantry's frames called the one column of a Series without a name."""

_LAST = datetime.max.replace(tzinfo=UTC)


class Record(Struct):
    """What one row of a call says. `join_key` is None if the caller has none; so is `timestamp`."""

    inputs: Any
    outputs: Any
    feedback: Any
    join_key: Any
    timestamp: datetime | None
    tags: dict[str, Any]
    event_id: str | None = None


def record_of(
    inputs: Any,
    outputs: Any,
    feedback: Any,
    join_key: Any,
    timestamp: datetime | None,
    tags: Mapping[str, Any],
    ignore_inputs: Collection[str] | None,
) -> Record:
    """One record, with the sides that were given.

    Empty inputs and outputs together are none at all, and so is empty feedback; outputs that are 0, False or
    "" are outputs. Raises Refused.
    """
    if _is_empty(inputs) and _is_empty(outputs):
        inputs = outputs = None
    if ignore_inputs and inputs is not None:
        inputs = _without(inputs, ignore_inputs)
    return Record(inputs, outputs, None if _is_empty(feedback) else feedback, join_key, timestamp, dict(tags))


def batch_of(
    payloads: Mapping[str, Any],
    scalars: Mapping[str, Any],
    tags: Mapping[str, Any] | Collection[Mapping[str, Any]] | None,
    row_tags: Any,
    global_tags: Mapping[str, Any] | None,
    feedback_keys: Collection[str] | None,
    ignore_inputs: Collection[str] | None,
) -> list[Record | Refused]:
    """The records of columns, in their order; in the place of one that is none, the reason.

    `payloads` holds inputs, outputs and feedback, `scalars` join_key, timestamp and feedback_id. Of the tags,
    those of the row win, then the global ones. Raises Refused if the columns do not fit together.
    """
    if all(column is None for column in payloads.values()):
        raise Refused("invalid", "nothing to log; give inputs and outputs, or feedbacks")
    given = dict(payloads)
    given |= {"row_tags": row_tags, "tags": None if isinstance(tags, Mapping) else tags}
    everywhere = dict(tags) if isinstance(tags, Mapping) else {}
    found: list[Record | Refused] = []
    for row in columns.records(_filled(given), _filled(scalars), SERIES_FIELD):
        try:
            named = {**everywhere, **(row.get("tags") or {}), **(global_tags or {}), **(row.get("row_tags") or {})}
            inputs = row.get("inputs")
            own = _key_fields(inputs, feedback_keys) if feedback_keys else inputs
            key = join_key_of(own, row.get("feedback_id"), feedback_keys, row.get("join_key"))
            sides = (inputs, row.get("outputs"), row.get("feedback"))
            found.append(record_of(*sides, key, row.get("timestamp"), named, ignore_inputs))
        except Refused as refusal:
            found.append(refusal)
        except Exception as error:
            found.append(Refused("invalid", f"{type(error).__name__}: {error}"))
    return found


def mapping(tags: Any) -> Mapping[str, Any]:
    """The tags of one record. Raises Refused."""
    if isinstance(tags, Mapping):
        return tags
    if not _is_empty(tags):
        raise Refused("invalid", f"the tags of one record must be a dict, not {type(tags).__name__}")
    return {}


def in_time_order(records: list[Record | Refused]) -> list[int]:
    """The indices of the records, the earliest first; those without a time of their own last."""
    return sorted(range(len(records)), key=lambda n: _when(records[n]))


def _when(record: Record | Refused) -> datetime:
    try:
        return _LAST if isinstance(record, Refused) or record.timestamp is None else events.utc(record.timestamp)
    except Refused:
        return _LAST


def _filled(given: Mapping[str, Any]) -> dict[str, Any]:
    """Without the empty columns: to Gantry they were not given."""
    return {name: None if _is_empty(column) else column for name, column in given.items()}


def _is_empty(value: Any) -> bool:
    """Nothing, or a container of nothing. An empty text is an answer."""
    if value is None or isinstance(value, str | bytes):
        return value is None
    try:
        return len(value) == 0
    # A number, or an array without dimensions.
    except TypeError:
        return False


def _without(inputs: Any, names: Collection[str]) -> dict[str, Any]:
    """The inputs less these. Whatever has no fields by name is refused: it may hold what must not be logged."""
    fields = inputs if isinstance(inputs, Mapping) else values.plain(inputs, "inputs")
    if not isinstance(fields, Mapping):
        raise Refused("invalid", f"ignore_inputs needs inputs with names, not a {type(inputs).__name__}")
    return {name: value for name, value in fields.items() if name not in names}


def _key_fields(inputs: Any, names: Collection[str]) -> Any:
    """The inputs that make a key, as Gantry's batches converted them before."""
    if not isinstance(inputs, Mapping):
        return inputs
    return {name: _converted(inputs[name]) for name in names if name in inputs}


def _converted(value: Any) -> Any:
    if isinstance(value, Decimal):
        value = float(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value
