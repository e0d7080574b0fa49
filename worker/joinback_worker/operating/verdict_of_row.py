"""The verdict on a join key that has a row: what its prediction and its feedback are. Pure."""

from collections.abc import Collection, Iterator
from datetime import datetime

import msgspec

from joinback_worker.errors import AlteredRow
from joinback_worker.flat.known import age_s
from joinback_worker.law.record import effective_at
from joinback_worker.law.row import Row, unfold

from .explanation import Explanation, Verdict
from .spans import several, span, verb


def of_row(found: Explanation, row: Row, labels: Collection[str]) -> Verdict:
    """Return the name of the verdict, and its sentence. `labels`: the declared ones; empty: every field is one."""
    if row.status == "joined":
        return "joined", f"joined: {_label(row)}"
    if (taken := _taken_back(row)) is not None:
        return "taken_back", f"taken back: all of its feedback was taken back, on {taken:%Y-%m-%d %H:%M} UTC"
    if row.status == "orphan":
        return "waits_for_prediction", _waits_for_prediction(found, row)
    came = _not_a_label(row, labels)
    if row.status == "unlabelled":
        says = "unlabelled: no label came before its maturity; a label that still comes is joined"
        return "unlabelled", f"{says}; {came}" if came else says
    return ("no_label", came) if came else ("waits_for_feedback", _waits_for_feedback(found, row))


def conflicting(row: Row | None) -> str:
    """Return what to add to a verdict if the key has more than one prediction; else nothing."""
    try:
        others = len(msgspec.json.decode(row.conflicts)) if row is not None and row.conflicts else 0
    except msgspec.DecodeError:
        return ""  # somebody edited the cell, which the sink's own error reports
    if not others:
        return ""
    return f"; {several(others, 'other prediction')} came under this key and {verb(others, 'does', 'do')} not count"


def _not_a_label(row: Row, labels: Collection[str]) -> str | None:
    """Return that feedback counts which is no label, for a row without a label; None if no feedback counts."""
    fields = sorted(msgspec.json.decode(row.field_times)) if row.field_times else []
    if not fields:
        return None
    says = f"feedback came, but none of its fields is a label: {', '.join(fields)}"
    if labels and not set(labels) & set(fields):
        return f"{says}; declared {verb(len(labels), 'is', 'are')} {', '.join(labels)}"
    # The rules of this process call one of them a label.
    return f"{says}, by the rules of the worker that wrote the row"


def _label(row: Row) -> str:
    delay = f" {span(row.feedback_delay_s)} after the prediction" if row.feedback_delay_s is not None else ""
    fields = sorted(msgspec.json.decode(row.feedback)) if row.feedback else []
    return f"the label{'' if len(fields) == 1 else 's'} {', '.join(fields)} came{delay}"


def _taken_back(row: Row) -> datetime | None:
    """Return when the last retraction was made, if there is feedback and no value of it counts; else None."""
    try:
        record = unfold(row)
    except AlteredRow:
        return None
    if not record.feedback or not record.retractions or row.field_times is not None:
        return None
    return max(effective_at(event) for event in record.retractions.values())


def _waits_for_prediction(found: Explanation, row: Row) -> str:
    so_far = ""
    if row.first_feedback_at is not None:
        so_far = f", for {span((found.at - row.first_feedback_at).total_seconds())} so far"
    kept = "; the sink keeps its feedback, so the prediction may still come"
    if found.expires_in_s is not None and found.row is None:
        kept = f"; Redis keeps it for {span(found.expires_in_s)}"
    near = "".join(f"; was {one.join_key} meant? ({one.how})" for one in found.near[:1])
    return f"waits for its prediction{so_far}{kept}{near}"


def _waits_for_feedback(found: Explanation, row: Row) -> str:
    age = age_s(row, found.at)
    so_far = "" if age is None else f", for {span(age)} so far"
    return f"waits for feedback{so_far}{''.join(_covered(found))}"


def _covered(found: Explanation) -> Iterator[str]:
    covered = found.coverage
    if covered is None or covered.share is None:
        return
    yield f"; {covered.share:.0%} of the predictions of this age have a label"
    if covered.p90_s is not None:
        yield f", and 90 % have it after {span(covered.p90_s)}"
