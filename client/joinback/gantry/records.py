"""From the arguments of Gantry's calls to records: their sides, tags, times and keys."""

import math
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from msgspec import Struct

from joinback import batch, cells, values
from joinback.drops import NotLogged
from joinback.times import utc

from .keys import join_key_of

SERIES_FIELD = "0"
"""The name that Gantry's frames gave the column of a Series without a name."""

_LAST = datetime.max.replace(tzinfo=UTC)


class Record(Struct):
    """One row of a call. `join_key` and `timestamp` are None if the caller gave none.

    `trouble` is why it cannot be logged, or None as long as nothing is wrong.
    """

    inputs: Any
    outputs: Any
    feedback: Any
    join_key: Any
    timestamp: datetime | None
    tags: dict[str, Any]
    event_id: str | None = None
    trouble: Exception | None = None

    @property
    def says_nothing(self) -> bool:
        return self.inputs is None and self.outputs is None and self.feedback is None

    @property
    def own_key(self) -> str:
        """The join key as text; "" if there is none, or it cannot be a key."""
        try:
            return cells.key(self.join_key) or ""
        except NotLogged:
            return ""


def not_logged(trouble: Exception, join_key: Any = None) -> Record:
    """Return a record without sides, for one that cannot be logged."""
    return Record(None, None, None, join_key, None, {}, trouble=trouble)


def record_of(
    inputs: Any,
    outputs: Any,
    feedback: Any,
    join_key: Any,
    timestamp: datetime | None,
    tags: Mapping[str, Any],
    ignore_inputs: Collection[str] | None,
) -> Record:
    """Return one record with the sides that were given.

    If inputs and outputs are both empty, they count as not given; so does empty feedback. Outputs that are 0, False or
    "" are outputs. Raises NotLogged.
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
) -> list[Record]:
    """Return the records of columns, in order. A wrong cell is the `trouble` of its record.

    `payloads` has inputs, outputs and feedbacks; `scalars` has join_keys, timestamps and feedback_ids. Tags of the row
    win over global tags, and those over `tags`. Raises NotLogged if the columns do not fit together, or if all cells of
    one are wrong.
    """
    if all(column is None for column in payloads.values()):
        raise NotLogged("invalid", "nothing to log; give inputs and outputs, or feedbacks")
    given = {**payloads, **scalars, "row_tags": row_tags, "tags": None if isinstance(tags, Mapping) else tags}
    table = batch.read(_filled(given), SERIES_FIELD)
    batch.refuse_wrong(table, if_all=True)
    if ("inputs" in table) != ("outputs" in table):
        raise NotLogged("invalid", "a prediction needs both inputs and outputs")
    if table.keys() & {"inputs", "feedbacks", "join_keys", "feedback_ids"} == {"feedbacks"}:
        raise NotLogged("invalid", "feedback needs the join_keys of its predictions")
    everywhere = dict(tags) if isinstance(tags, Mapping) else {}
    found: list[Record] = []
    for values_of_row in zip(*table.values(), strict=True):
        row = dict(zip(table, values_of_row, strict=True))
        try:
            if trouble := next((cell for cell in values_of_row if type(cell) is NotLogged), None):
                raise trouble
            named = {**everywhere, **(row.get("tags") or {}), **(global_tags or {}), **(row.get("row_tags") or {})}
            inputs = row.get("inputs")
            own = _key_fields(inputs, feedback_keys) if feedback_keys else inputs
            key = join_key_of(own, row.get("feedback_ids"), feedback_keys, row.get("join_keys"))
            sides = (inputs, row.get("outputs"), row.get("feedbacks"))
            found.append(record_of(*sides, key, row.get("timestamps"), named, ignore_inputs))
        except NotLogged as refusal:
            found.append(not_logged(refusal, row.get("join_keys")))
        except Exception as error:
            found.append(not_logged(NotLogged("invalid", f"{type(error).__name__}: {error}"), row.get("join_keys")))
    return found


def mapping(tags: Any) -> Mapping[str, Any]:
    """Return the tags of one record. Raises NotLogged unless they are a dict or empty."""
    if isinstance(tags, Mapping):
        return tags
    if not _is_empty(tags):
        raise NotLogged("invalid", f"the tags of one record must be a dict, not {type(tags).__name__}")
    return {}


def in_time_order(records: list[Record]) -> list[int]:
    """Return the indices of the records, the earliest first; records without a time last."""
    return sorted(range(len(records)), key=lambda n: _when(records[n]))


def _when(record: Record) -> datetime:
    try:
        return _LAST if record.timestamp is None else utc(record.timestamp)
    except NotLogged:
        return _LAST


def _filled(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns with None for an empty one: Gantry took it for not given."""
    return {name: None if _is_empty(column) else column for name, column in given.items()}


def _is_empty(value: Any) -> bool:
    """Return whether this is None or an empty container. An empty text is a value."""
    if value is None or isinstance(value, str | bytes):
        return value is None
    try:
        return len(value) == 0
    # A number, or an array without dimensions.
    except TypeError:
        return False


def _without(inputs: Any, names: Collection[str]) -> dict[str, Any]:
    """Return the inputs without these fields. Raises NotLogged for inputs without names: they may hold these fields."""
    fields = inputs if isinstance(inputs, Mapping) else values.plain(inputs, "inputs")
    if not isinstance(fields, Mapping):
        raise NotLogged("invalid", f"ignore_inputs needs inputs with names, not a {type(inputs).__name__}")
    return {name: value for name, value in fields.items() if name not in names}


def _key_fields(inputs: Any, names: Collection[str]) -> Any:
    """Return the inputs that make a key, converted as in Gantry's batches."""
    if not isinstance(inputs, Mapping):
        return inputs
    return {name: _converted(inputs[name]) for name in names if name in inputs}


def _converted(value: Any) -> Any:
    if isinstance(value, Decimal):
        value = float(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value
