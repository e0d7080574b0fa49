"""The weight of a label in training while other labels are still to come: 1 / F(age), by the value of the label.

F is the share of labels of this value that have come at this age, estimated from rows that are old enough, as in
`answers/estimate.py`. So the labels of a value that comes late also count for those that are missing, and the classes
keep their shares. Without weights, a training set has too few labels of values that come late.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime

import msgspec

from joinback_worker.answers.estimate import CAP_D, SHARE_MIN, Delays, delays_of
from joinback_worker.answers.questions import REFERENCE_BINS

from .cells import Kept, first_seen
from .survey import cells_of

_DAY_S = 86_400


class Weights:
    """The weights of the labels of one feedback field, as known at a moment."""

    def __init__(self, field: str, moment: datetime) -> None:
        self._field, self._moment = field, moment
        self._delays: Delays | None = None
        self.rows = 0
        """How many labels have a weight."""
        self.unknown = 0
        """How many labels have none: fewer than 30 of their value are old enough, or less than a tenth have come."""

    def learn(self, rows: Iterable[Kept], oldest_s: float) -> None:
        """Learn the delays from rows that are at least 45 days old; in a short history, from its oldest quarter."""
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
        answer = ((value, place, w, n) for (value, place), (w, n) in counts.items())
        self._delays = delays_of(answer, reference_s / _DAY_S, REFERENCE_BINS)

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
        """Return the value of the field, and how old the prediction was when it first came; None if it has not come."""
        if row.age_s is None or row.feedback is None:
            return None
        first = first_seen(row, self._field)
        if first is None:
            return None
        value = cells_of(row.feedback).get(self._field)
        if value is None:
            return None
        # The same JSON may be written in several ways; this is one of them.
        same = msgspec.json.encode(msgspec.json.decode(value))
        return same, max(0.0, row.age_s - (self._moment - first).total_seconds())
