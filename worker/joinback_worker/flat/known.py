"""What was known of a record on a day. Pure.

An event is known from `logged_at` on, the time of the call by the client's clock. Its own time, `at`, is when it
happened. That may be long before, so a cut by `at` would let in labels that nobody knew yet.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import TypeVar

from joinback import wire
from joinback_worker.law.record import CLOCK_SKEW_MAX, Record
from joinback_worker.law.row import Row

E = TypeVar("E", bound=wire.Event)


def known(record: Record, moment: datetime) -> Record:
    """Return the record with only the events that were logged up to this moment."""
    return Record(
        application=record.application,
        join_key=record.join_key,
        predictions=_until(record.predictions, moment),
        feedback=_until(record.feedback, moment),
        retractions=_until(record.retractions, moment),
    )


def _until(events: Mapping[str, E], moment: datetime) -> dict[str, E]:
    return {event_id: event for event_id, event in events.items() if event.logged_at <= moment}


def predicted_at(row: Row) -> datetime | None:
    """Return the time that orders the row's prediction, as `effective_at` has it for the event; None for an orphan."""
    at, logged_at = row.predicted_at, row.logged_at
    if at is None or logged_at is None:
        return None
    return logged_at if at - logged_at > CLOCK_SKEW_MAX else at


def age_s(row: Row, moment: datetime) -> float | None:
    """Return how many seconds old the row's prediction was at a moment; None for an orphan."""
    at = predicted_at(row)
    return None if at is None else (moment - at).total_seconds()
