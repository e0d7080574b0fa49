"""What most records are: one prediction, one feedback event, or both, and no more. Pure.

Of such a record the status follows from a few comparisons. An append store asks for nothing else, as it leaves the row
to who reads. It is the law of `verdict.py`, where there is nothing to order and nothing to choose.
"""

from datetime import timedelta

from .record import Record, effective_at
from .rules import Policy
from .verdict import Status, is_mature


class PlainStatus:
    """Make one for a batch: what the policy says is then looked up once."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._join_window = timedelta(seconds=policy.rules.join_window_s)
        self._labels = frozenset(policy.rules.labels)
        self._maturity_s = policy.rules.row_maturity_s

    def of(self, record: Record) -> Status | None:
        """Return the status that `verdict.judge` gives, with no conflict and nothing late. None: ask `judge`."""
        predictions, feedback = record.predictions, record.feedback
        if len(predictions) > 1 or len(feedback) > 1 or record.retractions:
            return None
        if not predictions:
            return "orphan"
        (winner,) = predictions.values()
        if feedback:
            (told,) = feedback.values()
            if effective_at(told) - effective_at(winner) > self._join_window:
                return None
            if told.feedback and not (self._labels and self._labels.isdisjoint(told.feedback)):
                return "joined"
        if self._maturity_s is None:
            return "predicted"
        return "unlabelled" if is_mature(effective_at(winner), self._maturity_s, self._policy) else "predicted"
