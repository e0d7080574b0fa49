"""The row: a record as SQL shows it. Pure. A row holds all events of its record, so a sink can merge new ones into it.

Predictions: the first by (time, event id) wins, the others are conflicts. Feedback: each field's values that
count (`counting.py`), in the order of (time, event id), are reduced to one value.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec import Raw, Struct

from joinback import wire
from joinback_worker.errors import AlteredRow

from .counting import ValidValue, valid_values, within_window
from .record import E, Record, Rejected, effective_at, in_order
from .record_hash import read_hash
from .reduce import reduce
from .rules import Policy
from .times import text_of
from .verdict import Status, by_the_clock, judge


class Row(Struct, gc=False):
    """What one (application, join key) says. JSON columns are bytes of JSON; times are in UTC."""

    application: str
    join_key: str
    status: str
    environment: str | None
    version: str | None
    predicted_at: datetime | None
    inputs: bytes | None
    outputs: bytes | None
    tags: bytes | None
    feedback: bytes | None
    """An object: field -> value, sorted by name."""
    default_fields: bytes | None
    """An array: the names of the fields whose value is the default, as no feedback gave one in time."""
    field_times: bytes | None
    """An object: field -> `{"first": …, "last": …}`, the times of its first and last value that counts."""
    feedback_at: datetime | None
    first_feedback_at: datetime | None
    feedback_delay_s: float | None
    """From the prediction to its first label, which is any field if no labels are declared."""
    feedback_events: bytes | None
    """An object: `feedback:<event_id>` and `retraction:<event_id>` -> event. Late feedback is in it too."""
    conflicts: bytes | None
    """An object: `prediction:<event_id>` -> event, of the predictions that lost."""
    sample_rate: float | None
    clock_skew: bool
    logged_at: datetime | None
    prediction_event_id: str | None
    matures_at: datetime | None
    """When the clock alone may next change the row. For the worker; the views of append stores have no such column."""


def project(record: Record, policy: Policy) -> tuple[Row, list[Rejected]]:
    """Return the row of a record, and the feedback that came too late to count, as dead letters.

    Late feedback stays in the row's `feedback_events`, because a record never loses an event: else the result would
    depend on the order in which events come.
    """
    if len(record.predictions) < 2 and len(record.feedback) < 2 and not record.retractions:
        return project_plain(record, policy)
    return project_any(record, policy)


def project_plain(record: Record, policy: Policy) -> tuple[Row, list[Rejected]]:
    """Return what `project_any` returns, for a record of at most one prediction, one feedback event, no retraction.

    Nearly all records are like that. Nothing has to be ordered, reduced or taken back, so it is cheaper.
    """
    rules = policy.rules
    winner_id, winner, predicted_at = _only(record.predictions)
    event_id, event, at = _only(record.feedback)
    late: list[Rejected] = []
    names: list[str] = []
    if event is not None and at is not None:
        if predicted_at is not None and at - predicted_at > timedelta(seconds=rules.join_window_s):
            _, late = within_window(record, [*record.feedback.items()], winner, rules.join_window_s)
        else:
            names = sorted(event.feedback)
    feedback_at = at if names else None
    first_label_at = feedback_at if not rules.labels or not set(rules.labels).isdisjoint(names) else None
    default_fields: list[str] = []
    matures_at = None
    status: Status = "orphan"
    if predicted_at is not None:
        status = "predicted" if first_label_at is None else "joined"
        if rules.mature:
            status, default_fields, matures_at = by_the_clock(status, names, predicted_at, policy)
        elif first_label_at is None:
            matures_at = predicted_at
    values: Mapping[str, Any] = {}
    if default_fields or rules.feedback:
        valid = valid_values([*record.feedback.items()], {}, rules) if names else {}
        values = _values(valid, default_fields, policy)
    elif names and event is not None:
        values = {name: event.feedback[name] for name in names}
    described: wire.Event | None = winner or event
    return Row(
        application=record.application,
        join_key=record.join_key,
        status=status,
        environment=described.environment if described else None,
        version=described.version if described else None,
        predicted_at=winner.at if winner else None,
        inputs=bytes(winner.inputs) if winner else None,
        outputs=bytes(winner.outputs) if winner else None,
        tags=wire.encode(winner.tags) if winner and winner.tags else None,
        feedback=wire.encode(values) if values else None,
        default_fields=wire.encode(default_fields) if default_fields else None,
        field_times=_field_times((name, feedback_at, feedback_at) for name in names) if feedback_at else None,
        feedback_at=feedback_at,
        first_feedback_at=feedback_at,
        feedback_delay_s=(first_label_at - predicted_at).total_seconds() if predicted_at and first_label_at else None,
        feedback_events=wire.encode({f"feedback:{event_id}": event}) if event else None,
        conflicts=None,
        sample_rate=winner.sample_rate if winner else None,
        clock_skew=(winner is not None and predicted_at != winner.at) or (event is not None and at != event.at),
        logged_at=winner.logged_at if winner else None,
        prediction_event_id=winner_id,
        matures_at=matures_at,
    ), late


def _only(events: Mapping[str, E]) -> tuple[str | None, E | None, datetime | None]:
    """Return id, event and effective time of the only event; three times None if there is none."""
    for event_id, event in events.items():
        return event_id, event, effective_at(event)
    return None, None, None


def project_any(record: Record, policy: Policy) -> tuple[Row, list[Rejected]]:
    """Return what `project` returns, for any record: the law in full."""
    verdict = judge(record, policy)
    winner, valid = verdict.winner, verdict.valid
    # Feedback rarely carries version and environment. An orphan shows those of its last feedback event, if any.
    described: wire.Event | None = winner or (verdict.feedback[-1][1] if verdict.feedback else None)
    history: dict[str, wire.Event] = {f"feedback:{id_}": event for id_, event in verdict.feedback}
    for id_, event in in_order(record.retractions):
        history[f"retraction:{id_}"] = event
    conflicts = {f"prediction:{id_}": event for id_, event in verdict.others}
    values = _values(valid, verdict.default_fields, policy) if valid or verdict.default_fields else None
    first = verdict.first_label_at
    return Row(
        application=record.application,
        join_key=record.join_key,
        status=verdict.status,
        environment=described.environment if described else None,
        version=described.version if described else None,
        predicted_at=winner.at if winner else None,
        inputs=bytes(winner.inputs) if winner else None,
        outputs=bytes(winner.outputs) if winner else None,
        tags=wire.encode(winner.tags) if winner and winner.tags else None,
        feedback=wire.encode(values) if values else None,
        default_fields=wire.encode(verdict.default_fields) if verdict.default_fields else None,
        field_times=_field_times((name, of[0].at, of[-1].at) for name, of in sorted(valid.items())) if valid else None,
        feedback_at=max(values[-1].at for values in valid.values()) if valid else None,
        first_feedback_at=min(values[0].at for values in valid.values()) if valid else None,
        feedback_delay_s=(first - effective_at(winner)).total_seconds() if winner and first else None,
        feedback_events=wire.encode(history) if history else None,
        conflicts=wire.encode(conflicts) if conflicts else None,
        sample_rate=winner.sample_rate if winner else None,
        clock_skew=any(map(_is_skewed, [*record.predictions.values(), *history.values()])),
        logged_at=winner.logged_at if winner else None,
        prediction_event_id=verdict.winner_id,
        matures_at=verdict.matures_at,
    ), verdict.late


def _values(valid: Mapping[str, Sequence[ValidValue]], default_fields: Sequence[str], policy: Policy) -> dict[str, Any]:
    """Return the one value of each field, by name: its valid values reduced, or the default."""
    fields = policy.rules.feedback
    values: dict[str, Any] = {}
    for name in sorted([*valid, *default_fields]) if default_fields else sorted(valid):
        if name not in valid:
            values[name] = fields[name].default
        elif name in fields and (reducer := fields[name].reducer) != "last":
            values[name] = reduce(reducer, [value for _, value in valid[name]])
        else:
            values[name] = valid[name][-1].value
    return values


def _field_times(fields: Iterable[tuple[str, datetime, datetime]]) -> bytes:
    # JSON by hand: to encode dicts would cost as much as the rest of the row.
    times = []
    text = of = None
    for name, first_at, last_at in fields:
        # Fields of one event share its time, so it is written as text once.
        if first_at is not of:
            text, of = text_of(first_at), first_at
        last = text if last_at is first_at else text_of(last_at)
        times.append(f'{wire.encode(name).decode()}:{{"first":"{text}","last":"{last}"}}')
    return f"{{{','.join(times)}}}".encode()


def unfold(row: Row) -> Record:
    """Return the record that a row was projected from: a sink merges new events into it.

    Raises AlteredRow, which names the column, if somebody edited the row so that an event cannot be read. To go on
    without that event would lose it.
    """
    record = Record(application=row.application, join_key=row.join_key)
    if row.feedback_events is not None or row.conflicts is not None:
        record = _history_in(row)
    if row.prediction_event_id is not None:
        record.predictions[row.prediction_event_id] = _prediction_in(row)
    elif not (row.predicted_at is None and row.inputs is None and row.outputs is None):
        raise AlteredRow("prediction_event_id", "is empty")
    return record


def _history_in(row: Row) -> Record:
    """Return the record of a row without its winning prediction."""
    fields: dict[str, Raw] = {}
    for column, cell in (("feedback_events", row.feedback_events), ("conflicts", row.conflicts)):
        if cell is not None:
            fields |= _json_in(column, cell, dict[str, Raw])
    found = read_hash(row.application, row.join_key, [(field, bytes(raw)) for field, raw in fields.items()])
    for field in [*found.bad, *found.newer]:
        column = "conflicts" if field.startswith("prediction:") else "feedback_events"
        raise AlteredRow(column, f"holds what this worker cannot read as an event, {field!r}")
    return found.record


def _prediction_in(row: Row) -> wire.Prediction:
    if row.predicted_at is None or row.logged_at is None:
        raise AlteredRow("predicted_at" if row.predicted_at is None else "logged_at", "is empty")
    return wire.Prediction(
        v=wire.PLAIN_VERSION,
        at=row.predicted_at,
        logged_at=row.logged_at,
        version=row.version,
        environment=row.environment,
        tags={} if row.tags is None else _json_in("tags", row.tags, dict[str, Raw]),
        inputs=_json_in("inputs", row.inputs, Raw),
        outputs=_json_in("outputs", row.outputs, Raw),
        sample_rate=wire.sample_rate_of(wire.UNSAMPLED if row.sample_rate is None else row.sample_rate),
    )


def _json_in(column: str, cell: bytes | None, kind: Any) -> Any:
    if cell is None:
        raise AlteredRow(column, "is empty")
    try:
        return msgspec.json.decode(cell, type=kind)
    except (ValueError, RecursionError):
        raise AlteredRow(column, f"is not {'JSON' if kind is Raw else 'a JSON object'}") from None


def _is_skewed(event: wire.Event) -> bool:
    return event.at > event.logged_at and effective_at(event) != event.at
