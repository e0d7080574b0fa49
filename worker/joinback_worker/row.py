"""The row: a record as SQL people read it. Pure, like the fold; a row holds its record, so a sink can merge.

Predictions: the first by (time, event id) wins, the others are conflicts. Feedback: each field's last value by
(time, event id) that no retraction took back.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec import Raw, Struct

from joinback import wire

from .fold import Record, fold

CLOCK_SKEW_MAX = timedelta(minutes=5)
"""An event further ahead of its client's clock is ordered by that clock. NTP holds clocks far closer."""

E = TypeVar("E", bound=wire.Event)


class Policy(Struct, frozen=True, kw_only=True):
    """What the projection of a record depends on, besides the record."""

    join_window_s: float


class Late(NamedTuple):
    """A feedback event beyond the join window."""

    application: str
    join_key: str
    field: str
    payload: bytes
    lateness_s: float


class Row(Struct, kw_only=True):
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
    feedback_at: datetime | None
    first_feedback_at: datetime | None
    feedback_delay_s: float | None
    feedback_events: bytes | None
    conflicts: bytes | None
    sample_rate: float | None
    clock_skew: bool
    logged_at: datetime | None
    prediction_event_id: str | None


def project(record: Record, policy: Policy) -> tuple[Row, list[Late]]:
    """The row of a record, and the feedback that came too late to have a say in it.

    Late feedback stays in the row's `feedback_events`: a record never shrinks, or the union were no law.
    """
    predictions = _in_order(record.predictions)
    winner_id, winner = predictions[0] if predictions else (None, None)
    feedback = _in_order(record.feedback)
    on_time, late = _within_window(record, feedback, winner, policy)
    values, counted = _last_of_each_field(on_time, record.retractions.values())
    times = [_effective_at(event) for event in counted]
    status = ("joined" if counted else "predicted") if winner else "orphan"
    # Who sends a label rarely knows the version; an orphan still shows what its feedback said.
    described: wire.Event | None = winner or (feedback[-1][1] if feedback else None)
    history: list[tuple[str, wire.Event]] = [(f"feedback:{id_}", event) for id_, event in feedback]
    history += [(f"retraction:{id_}", event) for id_, event in _in_order(record.retractions)]
    skewed = any(_effective_at(event) != event.at for _, event in [*predictions, *history])
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
        feedback_at=max(times, default=None),
        first_feedback_at=min(times, default=None),
        feedback_delay_s=(min(times) - _effective_at(winner)).total_seconds() if winner and times else None,
        feedback_events=wire.encode(dict(history)) if history else None,
        conflicts=wire.encode({f"prediction:{id_}": event for id_, event in predictions[1:]})
        if len(predictions) > 1
        else None,
        sample_rate=winner.sample_rate if winner else None,
        clock_skew=skewed,
        logged_at=winner.logged_at if winner else None,
        prediction_event_id=winner_id,
    ), late


def late_news(incoming: Record, late: Iterable[Late]) -> list[Late]:
    """Of a merged record's late feedback, what the incoming events brought or made late: not told before."""
    return [
        event for event in late if incoming.predictions or event.field.removeprefix("feedback:") in incoming.feedback
    ]


def unfold(row: Row) -> Record:
    """The record a row was projected from: what a sink merges new events into."""
    fields: dict[str, Raw] = {}
    for column in (row.feedback_events, row.conflicts):
        if column is not None:
            fields.update(msgspec.json.decode(column, type=dict[str, Raw]))
    record = fold(row.application, row.join_key, ((field, bytes(raw)) for field, raw in fields.items())).record
    if row.prediction_event_id is not None:
        assert row.predicted_at is not None
        assert row.logged_at is not None
        assert row.inputs is not None
        assert row.outputs is not None
        record.predictions[row.prediction_event_id] = wire.Prediction(
            v=wire.WIRE_VERSION,
            at=row.predicted_at,
            logged_at=row.logged_at,
            version=row.version,
            environment=row.environment,
            tags={} if row.tags is None else msgspec.json.decode(row.tags, type=dict[str, Raw]),
            inputs=Raw(row.inputs),
            outputs=Raw(row.outputs),
            sample_rate=wire.UNSAMPLED if row.sample_rate is None else row.sample_rate,
        )
    return record


def _effective_at(event: wire.Event) -> datetime:
    """The time that orders the event. One clock set to 2030 moves nothing but its own events."""
    # A difference of times cannot overflow, as a sum near the year 9999 would.
    return event.logged_at if event.at - event.logged_at > CLOCK_SKEW_MAX else event.at


def _in_order(events: Mapping[str, E]) -> list[tuple[str, E]]:
    """By time, then event id: a total order, the same for everybody."""
    return sorted(events.items(), key=lambda item: (_effective_at(item[1]), item[0]))


def _within_window(
    record: Record,
    in_order: list[tuple[str, wire.Feedback]],
    winner: wire.Prediction | None,
    policy: Policy,
) -> tuple[list[tuple[str, wire.Feedback]], list[Late]]:
    if winner is None:
        return in_order, []
    window = timedelta(seconds=policy.join_window_s)
    on_time: list[tuple[str, wire.Feedback]] = []
    late: list[Late] = []
    for event_id, event in in_order:
        lateness = _effective_at(event) - _effective_at(winner) - window
        if lateness > timedelta(0):
            field, payload = f"feedback:{event_id}", wire.encode(event)
            late.append(Late(record.application, record.join_key, field, payload, lateness.total_seconds()))
        else:
            on_time.append((event_id, event))
    return on_time, late


def _last_of_each_field(
    in_order: Iterable[tuple[str, wire.Feedback]], retractions: Iterable[wire.Retraction]
) -> tuple[dict[str, Any], list[wire.Feedback]]:
    """Each field's last value that was not taken back, and the events that have a say in some field."""
    retracted_at: dict[str | None, datetime] = {}
    for retraction in retractions:
        for name in retraction.fields if retraction.fields is not None else [None]:
            at = _effective_at(retraction)
            retracted_at[name] = max(at, retracted_at.get(name, at))
    values: dict[str, Any] = {}
    counted: list[wire.Feedback] = []
    for _, event in in_order:
        at = _effective_at(event)
        if None in retracted_at and at <= retracted_at[None]:
            continue
        standing = {
            name: value for name, value in event.feedback.items() if name not in retracted_at or at > retracted_at[name]
        }
        if standing:
            values.update(standing)
            counted.append(event)
    return dict(sorted(values.items())), counted
