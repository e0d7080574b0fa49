"""What a label counts for in training while others of its kind are still to come: 1 / F(age), by its value.

F is the share of labels of this value that had come when predictions were so old, as `answers/estimate.py` has it, told
by the rows old enough. Labels of a value that comes late count for those that are missing, so the classes keep their
shares; without weights a training set has too little of what comes late.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime

import msgspec

from joinback_worker.answers.estimate import CAP_D, SHARE_MIN, Delays, delays_of
from joinback_worker.answers.questions import REFERENCE_BINS

from .cells import Kept, first_told
from .survey import cells_of

_DAY_S = 86_400


class Weights:
    """Of one feedback field, as known at a moment."""

    def __init__(self, field: str, moment: datetime) -> None:
        self._field, self._moment = field, moment
        self._delays: Delays | None = None
        self.rows = 0
        """Labels that were given a weight."""
        self.unknown = 0
        """Labels whose weight is not known: fewer than 30 of their value are old enough, or a tenth has not come."""

    def learn(self, rows: Iterable[Kept], oldest_s: float) -> None:
        """Learn the delays from rows of 45 days and more, or from the oldest quarter of the history."""
        reference_s = max(1.0, min(CAP_D * _DAY_S, oldest_s * 0.75))
        counts: dict[tuple[bytes, int], list[float]] = {}
        for row in rows:
            label = self._label(row)
            if label is None or row.age_s is None or row.age_s < reference_s:
                continue
            value, delay_s = label
            if delay_s <= reference_s:
                place = int(delay_s / reference_s * REFERENCE_BINS)
                count = counts.setdefault((value, place), [0.0, 0])
                count[0] += 1.0 if row.sample_rate is None else 1.0 / row.sample_rate
                count[1] += 1
        told = ((value, place, w, n) for (value, place), (w, n) in counts.items())
        self._delays = delays_of(told, reference_s / _DAY_S, REFERENCE_BINS)

    def given(self, rows: Iterable[Kept]) -> Iterator[Kept]:
        """Yield the rows with their weights; a row without a label has none."""
        for row in rows:
            label = self._label(row)
            if label is not None and row.age_s is not None:
                share = None if self._delays is None else self._delays.share(label[0], row.age_s / _DAY_S)
                if share is None or share < SHARE_MIN:
                    self.unknown += 1
                else:
                    self.rows += 1
                    row.label_weight = 1.0 / share
            yield row

    def _label(self, row: Kept) -> tuple[bytes, float] | None:
        """Return the field's value and how old the prediction was when it was first told; None: nobody told it."""
        if row.age_s is None or row.feedback is None:
            return None
        first = first_told(row, self._field)
        if first is None:
            return None
        value = cells_of(row.feedback).get(self._field)
        if value is None:
            return None
        # Of JSON that is told in several forms, one.
        same = msgspec.json.encode(msgspec.json.decode(value))
        return same, max(0.0, row.age_s - (self._moment - first).total_seconds())
