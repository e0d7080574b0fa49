"""The status of a plain record: at most one prediction, and feedback that nothing takes back. Most are plain. Pure.

The status of such a record follows from a few comparisons. An append store needs only the status, because its view
makes the row. The law is that of `verdict.py`; here nothing has to be ordered or chosen.
"""

from datetime import timedelta

from joinback import wire

from .record import Record, effective_at
from .rules import Policy
from .verdict import Status, is_mature


class PlainStatus:
    """Finds the status of plain records. Make one per batch, so that the policy is read once per batch."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._join_window = timedelta(seconds=policy.rules.join_window_s)
        self._labels = frozenset(policy.rules.labels)
        self._maturity_s = policy.rules.row_maturity_s

    def of(self, record: Record) -> Status | None:
        """Return the status that `verdict.judge` would give. None: the record is not plain, has late feedback, or
        more events than a record takes.

        A record with a status here has no conflict and no late feedback.
        """
        if len(record.predictions) > 1 or record.retractions or len(record.feedback) > wire.RECORD_EVENTS_MAX:
            return None
        if not record.predictions:
            return "orphan"
        (winner,) = record.predictions.values()
        predicted_at, has_label = effective_at(winner), False
        for event in record.feedback.values():
            if effective_at(event) - predicted_at > self._join_window:
                return None
            if event.feedback and not (self._labels and self._labels.isdisjoint(event.feedback)):
                has_label = True
        if has_label:
            return "joined"
        if self._maturity_s is None:
            return "predicted"
        return "unlabelled" if is_mature(predicted_at, self._maturity_s, self._policy) else "predicted"
