"""What was known of a record on a day. Pure.

An event is known from `logged_at` on: the client's clock at the call, when it was told. Its own time, `at`, is when it
happened, which may be long before; so a cut by `at` would let in labels that nobody had yet.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import TypeVar

from joinback import wire
from joinback_worker.law.record import CLOCK_SKEW_MAX, Record
from joinback_worker.law.row import Row

E = TypeVar("E", bound=wire.Event)


def known(record: Record, moment: datetime) -> Record:
    """Return the record of the events that were told up to this moment."""
    return Record(
        application=record.application,
        join_key=record.join_key,
        predictions=_until(record.predictions, moment),
        feedback=_until(record.feedback, moment),
        retractions=_until(record.retractions, moment),
    )


def _until(events: Mapping[str, E], moment: datetime) -> dict[str, E]:
    return {event_id: event for event_id, event in events.items() if event.logged_at <= moment}


def age_s(row: Row, moment: datetime) -> float | None:
    """Return how old the row's prediction is, by the time that orders it; None of an orphan."""
    at, logged_at = row.predicted_at, row.logged_at
    if at is None or logged_at is None:
        return None
    return (moment - (logged_at if at - logged_at > CLOCK_SKEW_MAX else at)).total_seconds()
