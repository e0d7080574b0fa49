"""Labels that somebody took back. Sent again they would change nothing, so the import reports them instead."""

from datetime import UTC, datetime

from msgspec import Raw

from joinback import wire
from joinback_worker.law.counting import is_taken_back
from joinback_worker.law.record import Record

from .plan import IMPORTED, Label

_NULL = Raw(b"null")


def is_covered(record: Record, label: Label, event_id: str) -> bool:
    """Return whether valid retractions take back all fields of this label, whether it was sent under this id or not.

    Retractions of corrections do not count: the import reports those labels as corrected.
    """
    event = record.feedback.get(event_id) or wire.Feedback(
        v=wire.PLAIN_VERSION,
        at=label.at,
        logged_at=datetime.now(UTC),
        feedback=dict.fromkeys(label.fields, _NULL),
    )
    retractions = {id_: other for id_, other in record.retractions.items() if not id_.startswith(IMPORTED)}
    probe = Record(
        application=record.application,
        join_key=record.join_key,
        feedback={event_id: event},
        retractions=retractions,
    )
    return is_taken_back(probe, event_id, ())
