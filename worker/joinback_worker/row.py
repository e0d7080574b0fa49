"""The row: a record as SQL people read it. Pure, like the fold; a row holds its record, so a sink can merge.

Predictions: the first by (time, event id) wins, the others are conflicts. Feedback: each field's values that
no retraction took back, in the order of (time, event id), reduced to one.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec import Raw, Struct

from joinback import wire
from joinback.settings import Reducer

from .errors import AlteredRow
from .fold import Record, Rejected, effective_at, fold, in_order
from .reduce import reduce


class Policy(Struct, frozen=True, kw_only=True):
    """What the projection of a record depends on, besides the record. The clock is in it, as a bound."""

    join_window_s: float
    reducers: Mapping[str, Reducer] = {}
    """By feedback field; `last` where none is named."""
    matured_before: datetime | None = None
    """A prediction from before, without feedback, is unlabelled. None: it may wait for ever."""
    default_feedback: Mapping[str, Any] | None = None
    """What an unlabelled row says instead."""


class Row(Struct, kw_only=True, gc=False):
    """A record folded, one per (application, join key). JSON columns are bytes of JSON."""

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
    feedback_is_default: bool
    feedback_at: datetime | None
    first_feedback_at: datetime | None
    feedback_delay_s: float | None
    feedback_events: bytes | None
    conflicts: bytes | None
    sample_rate: float | None
    clock_skew: bool
    logged_at: datetime | None
    prediction_event_id: str | None


class Judged(Struct, gc=False):
    """What a policy makes of a record, before it is written down."""

    status: str
    winner_id: str | None
    winner: wire.Prediction | None
    others: list[tuple[str, wire.Prediction]]
    """The predictions that lost."""
    feedback: list[tuple[str, wire.Feedback]]
    """All of it, in order."""
    told: Mapping[str, list[Raw]]
    """Each field's values that count, in order."""
    times: list[datetime]
    """Of the feedback that counts, in order."""
    late: list[Rejected]
    """Feedback that came too late to have a say."""


def judge(record: Record, policy: Policy) -> Judged:
    """Who won, what counts, and what came too late."""
    predictions = in_order(record.predictions)
    winner_id, winner = predictions[0] if predictions else (None, None)
    feedback = in_order(record.feedback)
    on_time, late = _within_window(record, feedback, winner, policy)
    told, counted = _told(on_time, record.retractions.values())
    unlabelled = winner is not None and not counted and _is_mature(winner, policy)
    return Judged(
        status=_status(winner, counted, unlabelled),
        winner_id=winner_id,
        winner=winner,
        others=predictions[1:],
        feedback=feedback,
        told=told,
        times=[effective_at(event) for event in counted],
        late=late,
    )


def project(record: Record, policy: Policy) -> tuple[Row, list[Rejected]]:
    """The row of a record, and the feedback that came too late to have a say in it.

    Late feedback stays in the row's `feedback_events`: a record never shrinks, or the union were no law.
    """
    judged = judge(record, policy)
    winner, told, times = judged.winner, judged.told, judged.times
    values: Mapping[str, Any] = {name: reduce(policy.reducers.get(name, "last"), told[name]) for name in sorted(told)}
    unlabelled = judged.status == "unlabelled"
    if unlabelled and policy.default_feedback:
        values = policy.default_feedback
    # Who sends a label rarely knows the version; an orphan still shows what its feedback said.
    described: wire.Event | None = winner or (judged.feedback[-1][1] if judged.feedback else None)
    history: dict[str, wire.Event] = {f"feedback:{id_}": event for id_, event in judged.feedback}
    for id_, event in in_order(record.retractions):
        history[f"retraction:{id_}"] = event
    conflicts = {f"prediction:{id_}": event for id_, event in judged.others}
    return Row(
        application=record.application,
        join_key=record.join_key,
        status=judged.status,
        environment=described.environment if described else None,
        version=described.version if described else None,
        predicted_at=winner.at if winner else None,
        inputs=bytes(winner.inputs) if winner else None,
        outputs=bytes(winner.outputs) if winner else None,
        tags=wire.encode(winner.tags) if winner and winner.tags else None,
        feedback=wire.encode(values) if values else None,
        feedback_is_default=bool(unlabelled and values),
        feedback_at=times[-1] if times else None,
        first_feedback_at=times[0] if times else None,
        feedback_delay_s=(times[0] - effective_at(winner)).total_seconds() if winner and times else None,
        feedback_events=wire.encode(history) if history else None,
        conflicts=wire.encode(conflicts) if conflicts else None,
        sample_rate=winner.sample_rate if winner else None,
        clock_skew=any(map(_is_skewed, [*record.predictions.values(), *history.values()])),
        logged_at=winner.logged_at if winner else None,
        prediction_event_id=judged.winner_id,
    ), judged.late


def late_news(incoming: Record, late: Iterable[Rejected]) -> list[Rejected]:
    """Of a merged record's late feedback, what the incoming events brought or may have made late."""
    return [
        event for event in late if incoming.predictions or event.field.removeprefix("feedback:") in incoming.feedback
    ]


def overflowed(incoming: Record, fields: Iterable[str]) -> list[Rejected]:
    """The incoming events that a full record did not admit."""
    rejected = []
    for field in sorted(fields):
        kind, _, event_id = field.partition(":")
        event = incoming.feedback[event_id] if kind == "feedback" else incoming.retractions[event_id]
        detail = f"the row holds {wire.RECORD_EVENTS_MAX} events already"
        rejected.append(Rejected(incoming.join_key, field, f"{kind}_overflow", detail, wire.encode(event)))
    return rejected


def unfold(row: Row) -> Record:
    """The record a row was projected from: what a sink merges new events into.

    Raises AlteredRow, naming the column, for a row that does not hold its events any more: to go on without them
    would lose what the row was made of.
    """
    fields: dict[str, Raw] = {}
    for column, cell in (("feedback_events", row.feedback_events), ("conflicts", row.conflicts)):
        if cell is not None:
            fields |= _json_in(column, cell, dict[str, Raw])
    found = fold(row.application, row.join_key, [(field, bytes(raw)) for field, raw in fields.items()])
    for field in [*found.bad, *found.newer]:
        column = "conflicts" if field.startswith("prediction:") else "feedback_events"
        raise AlteredRow(column, f"holds what this worker cannot read as an event, {field!r}")
    record = found.record
    if row.prediction_event_id is not None:
        record.predictions[row.prediction_event_id] = _prediction_in(row)
    elif not (row.predicted_at is None and row.inputs is None and row.outputs is None):
        raise AlteredRow("prediction_event_id", "is empty")
    return record


def _prediction_in(row: Row) -> wire.Prediction:
    if row.predicted_at is None or row.logged_at is None:
        raise AlteredRow("predicted_at" if row.predicted_at is None else "logged_at", "is empty")
    return wire.Prediction(
        v=wire.WIRE_VERSION,
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
        raise AlteredRow(column, f"is no JSON{'' if kind is Raw else ' object'}") from None


def _status(winner: wire.Prediction | None, counted: Sequence[wire.Feedback], unlabelled: bool) -> str:
    if winner is None:
        return "orphan"
    return "joined" if counted else "unlabelled" if unlabelled else "predicted"


def _is_skewed(event: wire.Event) -> bool:
    return event.at > event.logged_at and effective_at(event) != event.at


def _is_mature(winner: wire.Prediction, policy: Policy) -> bool:
    return policy.matured_before is not None and effective_at(winner) < policy.matured_before


def _within_window(
    record: Record,
    ordered: list[tuple[str, wire.Feedback]],
    winner: wire.Prediction | None,
    policy: Policy,
) -> tuple[list[tuple[str, wire.Feedback]], list[Rejected]]:
    if winner is None or not ordered:
        return ordered, []
    window = timedelta(seconds=policy.join_window_s)
    predicted_at = effective_at(winner)
    on_time: list[tuple[str, wire.Feedback]] = []
    late: list[Rejected] = []
    for event_id, event in ordered:
        delay = effective_at(event) - predicted_at
        if delay <= window:
            on_time.append((event_id, event))
            continue
        detail = f"{(delay - window).total_seconds():.0f} s after the join window"
        field, mark = f"feedback:{event_id}", f"{wire.LATE}:{event_id}"
        late.append(Rejected(record.join_key, field, "after_window", detail, wire.encode(event), mark))
    return on_time, late


def _told(
    ordered: Iterable[tuple[str, wire.Feedback]], retractions: Iterable[wire.Retraction]
) -> tuple[dict[str, list[Raw]], list[wire.Feedback]]:
    """Each field's values that were not taken back, and the events that have a say in some field."""
    retracted_at: dict[str | None, datetime] = {}
    for retraction in retractions:
        for name in retraction.fields if retraction.fields is not None else [None]:
            at = effective_at(retraction)
            retracted_at[name] = max(at, retracted_at.get(name, at))
    told: defaultdict[str, list[Raw]] = defaultdict(list)
    counted: list[wire.Feedback] = []
    for _, event in ordered:
        standing: Collection[str] = event.feedback
        if retracted_at:
            at = effective_at(event)
            if None in retracted_at and at <= retracted_at[None]:
                continue
            standing = [name for name in event.feedback if name not in retracted_at or at > retracted_at[name]]
        for name in standing:
            told[name].append(event.feedback[name])
        if standing:
            counted.append(event)
    return told, counted
