"""What a policy makes of a record, before it becomes a row. Pure."""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Literal

from msgspec import Struct

from joinback import wire

from .counting import Ordered, ValidValue, valid_values, within_window
from .record import Record, Rejected, effective_at, in_order
from .rules import Policy

Status = Literal["orphan", "predicted", "joined", "unlabelled"]


class Verdict(Struct, gc=False):
    """Which prediction won, which values count, which fields have their default, and which feedback came too late."""

    status: Status
    winner_id: str | None
    winner: wire.Prediction | None
    others: list[tuple[str, wire.Prediction]]
    """The predictions that lost."""
    feedback: Ordered
    """All feedback of the record, in order, including late feedback."""
    valid: Mapping[str, list[ValidValue]]
    """Each field's values that count, in order."""
    first_label_at: datetime | None
    default_fields: list[str]
    """The fields that are mature and have no value, so the default is their value."""
    matures_at: datetime | None
    """When the clock alone may next change the row. Without a declared maturity a row without a label is due at its
    prediction's time: so it is found as soon as somebody declares one."""
    late: list[Rejected]
    """Feedback that came too late to count."""


def judge(record: Record, policy: Policy) -> Verdict:
    """Return what a policy makes of a record. A record without a prediction is an `orphan`."""
    rules = policy.rules
    predictions = in_order(record.predictions)
    winner_id, winner = predictions[0] if predictions else (None, None)
    feedback = in_order(record.feedback)
    on_time, late = within_window(record, feedback, winner, rules.join_window_s)
    valid = valid_values(on_time, record.retractions, rules) if on_time else {}
    labels = [values for name, values in valid.items() if not rules.labels or name in rules.labels]
    status: Status = "orphan"
    default_fields, matures_at = _NONE, None
    if winner is not None:
        status = "joined" if labels else "predicted"
        if rules.mature:
            status, default_fields, matures_at = by_the_clock(status, valid, effective_at(winner), policy)
        elif not labels:
            matures_at = effective_at(winner)
    return Verdict(
        status=status,
        winner_id=winner_id,
        winner=winner,
        others=predictions[1:],
        feedback=feedback,
        valid=valid,
        first_label_at=min(values[0].at for values in labels) if labels else None,
        default_fields=default_fields,
        matures_at=matures_at,
        late=late,
    )


_NONE: list[str] = []
"""One empty list for all rows, because most have no default. Never changed."""


def by_the_clock(
    status: Status, valid: Collection[str], predicted_at: datetime, policy: Policy
) -> tuple[Status, list[str], datetime | None]:
    """Return status, default fields, and when the clock alone may next change them; None: never.

    `status` is `predicted` or `joined`, as it is without the clock. `valid` are the fields that have a value that
    counts.
    """
    rules = policy.rules
    waits = {name: maturity for name, maturity in rules.defaults.items() if name not in valid}
    default_fields = [name for name, maturity in waits.items() if is_mature(predicted_at, maturity, policy)]
    still = [maturity for name, maturity in waits.items() if name not in default_fields]
    if status == "predicted" and rules.row_maturity_s is not None:
        if is_mature(predicted_at, rules.row_maturity_s, policy):
            status = "unlabelled"
        else:
            still.append(rules.row_maturity_s)
    return status, default_fields, _after(predicted_at, still)


def is_mature(predicted_at: datetime, maturity_s: int | None, policy: Policy) -> bool:
    """Return whether more than `maturity_s` seconds have passed since the prediction.

    It compares a difference of times, which cannot overflow near the year 9999.
    """
    if maturity_s is None or policy.now is None:
        return False
    return policy.now - predicted_at > timedelta(seconds=maturity_s)


def _after(moment: datetime, waits_s: Iterable[int]) -> datetime | None:
    """Return the moment plus the shortest of these waits; None without waits, or if a datetime cannot hold it."""
    try:
        return min((moment + timedelta(seconds=wait) for wait in waits_s), default=None)
    except OverflowError:
        return None
