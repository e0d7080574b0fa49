"""What a policy makes of a record, before it is written down as a row. Pure."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from msgspec import Struct

from joinback import wire

from .counting import Ordered, Told, counted, within_window
from .fold import Record, Rejected, effective_at, in_order
from .rules import Policy


class Verdict(Struct, gc=False):
    """Who won, what counts, what is a default, and what came too late."""

    status: str
    winner_id: str | None
    winner: wire.Prediction | None
    others: list[tuple[str, wire.Prediction]]
    """The predictions that lost."""
    feedback: Ordered
    """All of it, in order."""
    told: Mapping[str, list[Told]]
    """Each field's values that count, in order."""
    first_label_at: datetime | None
    default_fields: list[str]
    """Those that were not told and are mature."""
    matures_at: datetime | None
    """When the clock alone may next change the row. Where nothing is declared, a row without a label is due at once: so
    that it is found as soon as a maturity is."""
    late: list[Rejected]
    """Feedback that came too late to have a say."""


def judge(record: Record, policy: Policy) -> Verdict:
    """Return what becomes of a record under a policy."""
    rules = policy.rules
    predictions = in_order(record.predictions)
    winner_id, winner = predictions[0] if predictions else (None, None)
    feedback = in_order(record.feedback)
    on_time, late = within_window(record, feedback, winner, rules.join_window_s)
    told = counted(on_time, record.retractions, rules)
    labels = [values for name, values in told.items() if not rules.labels or name in rules.labels]
    default_fields: list[str] = []
    matures_at = None
    status = "orphan"
    if winner is not None:
        predicted_at = effective_at(winner)
        waits = {name: maturity for name, maturity in rules.defaults.items() if name not in told}
        default_fields = [name for name, maturity in waits.items() if _is_mature(predicted_at, maturity, policy)]
        status = "joined" if labels else "predicted"
        if not labels and _is_mature(predicted_at, rules.row_maturity_s, policy):
            status = "unlabelled"
        open_maturities = [maturity for name, maturity in waits.items() if name not in default_fields]
        if status == "predicted" and rules.row_maturity_s is not None:
            open_maturities.append(rules.row_maturity_s)
        elif status == "predicted" and not rules.mature:
            open_maturities.append(0)
        matures_at = _after(predicted_at, open_maturities)
    return Verdict(
        status=status,
        winner_id=winner_id,
        winner=winner,
        others=predictions[1:],
        feedback=feedback,
        told=told,
        first_label_at=min((value.at for values in labels for value in values), default=None),
        default_fields=default_fields,
        matures_at=matures_at,
        late=late,
    )


def _is_mature(predicted_at: datetime, maturity_s: int | None, policy: Policy) -> bool:
    """Whether more than so many seconds have passed; by a difference, which cannot overflow near the year 9999."""
    if maturity_s is None or policy.now is None:
        return False
    return policy.now - predicted_at > timedelta(seconds=maturity_s)


def _after(moment: datetime, waits_s: Iterable[int]) -> datetime | None:
    """Return the moment after the shortest of these; None if there is none, or it is beyond what a datetime holds."""
    try:
        return min((moment + timedelta(seconds=wait) for wait in waits_s), default=None)
    except OverflowError:
        return None
