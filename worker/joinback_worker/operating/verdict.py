"""The verdict on one join key in one sentence: the first verdict that applies. Pure."""

from collections.abc import Iterator, Sequence
from datetime import datetime

import msgspec
from msgspec import Struct

from joinback_worker.drain.group import LEASE_S, PARKED
from joinback_worker.errors import AlteredRow
from joinback_worker.flat.known import age_s
from joinback_worker.law.record import CLOCK_SKEW_MAX, effective_at
from joinback_worker.law.row import Row, unfold
from joinback_worker.notes.heartbeat import Beat
from joinback_worker.notes.reported_drops import ReportedDrops

from .explanation import Explanation, VerdictName, Waiting
from .judging_drops import service
from .spans import in_words, several, span

Verdict = tuple[VerdictName, str]
"""The name of a verdict, and its sentence."""
DROPS_NAMED = 2


class Around(Struct, frozen=True, kw_only=True):
    """What a verdict depends on besides the evidence."""

    workers: Sequence[Beat] = ()
    """The workers that are alive and take this application."""
    last_drain_at: datetime | None = None
    row: Row | None = None
    """The row of the sink, or the one that the record in Redis would make."""
    has_newer: bool = False
    """Whether Redis holds an event of this key that this release cannot read."""
    is_sampled_out: bool = False
    drops: Sequence[ReportedDrops] = ()
    """What clients of the application dropped within a day."""
    sink_keeps: bool = True
    """False if the sink is a pipe, which cannot be read."""


def verdict(found: Explanation, around: Around) -> Verdict:
    """Return the name of the verdict, and its sentence."""
    if found.unusable:
        return "dead", f"no row can be made of it: {found.unusable}"
    if around.has_newer or any(entry.consumer == PARKED for entry in found.pending):
        return "waits_for_newer_worker", _newer(found)
    if found.pending:
        return _queued(found, around)
    row = around.row
    dead = _of_letters(found)
    if row is None or (dead is not None and row.status != "joined"):
        name, says = dead or _of_nothing(found, around)
        return name, says + _clocks(found, row)
    name, says = _of_row(found, row)
    if dead is not None:
        says += f"; besides, {dead[1]}"
    elif found.row is None:
        says += f"; the sink has no row of it{f': {found.sink_trouble}' if found.sink_trouble else ''}"
    return name, says + _clocks(found, row)


def _clocks(found: Explanation, row: Row | None) -> str:
    """Return a warning if an event is dated in the future: the times of the verdict are not what they seem then."""
    ahead = [one for one in found.timeline if one.at is not None and one.at - found.at > CLOCK_SKEW_MAX]
    if ahead:
        worst = max(ahead, key=lambda one: one.at or found.at)
        by = span(((worst.at or found.at) - found.at).total_seconds())
        return f"; but {worst.what} is dated {by} in the future, so the clock of its client is wrong"
    if row is not None and row.clock_skew:
        return "; an event of it is dated in the future, so the time when it was logged counts"
    return ""


def _newer(found: Explanation) -> str:
    so_far = f", for {span(_age_s(found.pending, found.at))} so far" if found.pending else ""
    return f"waits for a newer worker{so_far}: a newer client wrote an event of it that this release cannot read"


def _queued(found: Explanation, around: Around) -> Verdict:
    claimed = [entry for entry in found.pending if entry.consumer is not None]
    free = [entry for entry in claimed if (entry.claimed_s or 0) >= LEASE_S]
    alive = {worker.name for worker in around.workers}
    if claimed and not free:
        who, held_s = _process(claimed[0]), claimed[0].claimed_s or 0
        return "claimed", f"claimed by {who} {span(held_s)} ago; that worker writes it now"
    gone = {_process(entry) for entry in free} - alive
    held = f", claimed by {', '.join(sorted(gone))}, which is not alive any more" if gone else ""
    return (
        "in_the_queue",
        f"in the queue for {span(_age_s(found.pending, found.at))}{held}; {_next_drain(found, around)}",
    )


def _process(entry: Waiting) -> str:
    return (entry.consumer or "").rpartition(":")[0] or str(entry.consumer)


def _age_s(entries: Sequence[Waiting], now: datetime) -> float:
    return (now - min(entry.at for entry in entries)).total_seconds()


def _next_drain(found: Explanation, around: Around) -> str:
    planned = [worker.next_drain_at for worker in around.workers if worker.next_drain_at is not None]
    if planned:
        left_s = (min(planned) - found.at).total_seconds()
        return f"the next drain is in {span(left_s)}" if left_s >= 1 else "the next drain begins now"
    if around.workers:
        return "a worker drains now"
    if around.last_drain_at is None:
        return "no worker is alive, and none has drained it yet"
    return f"no worker is alive; the last drain ended {span((found.at - around.last_drain_at).total_seconds())} ago"


def _of_letters(found: Explanation) -> Verdict | None:
    if not found.dead:
        return None
    letter = max(found.dead, key=lambda one: one["id"])
    reason, detail = letter.get("reason", ""), letter.get("detail", "")
    until = f"; replayable for {span(found.dead_expire_in_s)}" if found.dead_expire_in_s and letter.get("bytes") else ""
    if reason == "after_window":
        return "came_too_late", f"came too late: {letter.get('event')} came {in_words(detail)}{until}"
    return "dead", f"dead, because {reason}: {detail}{until}"


def _of_nothing(found: Explanation, around: Around) -> Verdict:
    if around.is_sampled_out:
        return "sampled_out", found.sample or "sampled out"
    if found.sink_trouble or found.sink_elsewhere or not around.sink_keeps:
        why = found.sink_elsewhere or found.sink_trouble or "it is a pipe"
        return "sink_unknown", f"Redis holds nothing of it, and the sink cannot be asked: {why}"
    near = ", ".join(f"{one.join_key} ({one.how})" for one in found.near)
    exists = f"; but there is {near}" if near else "; it was never logged, or its client dropped it, or it was deleted"
    return "unknown", f"unknown: neither Redis nor the sink holds anything of it{exists}{_dropped(around.drops)}"


def _dropped(drops: Sequence[ReportedDrops]) -> str:
    """Return what clients of the application dropped: this key may have been among it."""
    if not drops:
        return ""
    named = ", ".join(
        f"{_who(one)} dropped {several(one.count, 'event')} ({one.reason})" for one in drops[:DROPS_NAMED]
    )
    return f"; in the last day {named}"


def _who(one: ReportedDrops) -> str:
    return service(one) if one.service else f"clients on {one.host}"


def _of_row(found: Explanation, row: Row) -> Verdict:
    if row.status == "joined":
        return "joined", f"joined: {_label(row)}"
    if (taken := _taken_back(row)) is not None:
        return "taken_back", f"taken back: all of its feedback was taken back, on {taken:%Y-%m-%d %H:%M} UTC"
    if row.status == "unlabelled":
        return "unlabelled", "unlabelled: no label came before its maturity; a label that still comes is joined"
    if row.status == "orphan":
        return "waits_for_prediction", _waits_for_prediction(found, row)
    return "waits_for_feedback", _waits_for_feedback(found, row)


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
