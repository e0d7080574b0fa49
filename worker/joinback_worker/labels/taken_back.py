"""Labels that somebody took back: told once more, they would change nothing, which must be said."""

from datetime import UTC, datetime

from msgspec import Raw

from joinback import wire
from joinback_worker.law.counting import is_taken_back
from joinback_worker.law.record import Record

from .plan import IMPORTED, Label

_NULL = Raw(b"null")


def is_covered(record: Record, label: Label, event_id: str) -> bool:
    """Return whether a retraction that stands takes back all that this label says, told or not yet, under this id.

    Those of corrections do not count: what they take back is told in another way.
    """
    told = record.feedback.get(event_id) or wire.Feedback(
        v=wire.PLAIN_VERSION,
        at=label.at,
        logged_at=datetime.now(UTC),
        feedback=dict.fromkeys(label.fields, _NULL),
    )
    retractions = {id_: event for id_, event in record.retractions.items() if not id_.startswith(IMPORTED)}
    probe = Record(
        application=record.application,
        join_key=record.join_key,
        feedback={event_id: told},
        retractions=retractions,
    )
    return is_taken_back(probe, event_id, ())
