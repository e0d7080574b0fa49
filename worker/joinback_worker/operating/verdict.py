"""The verdict on one join key in one sentence: the first verdict that applies. Pure."""

from collections.abc import Collection, Sequence
from datetime import datetime

from msgspec import Struct

from joinback.command_line import command_line
from joinback_worker.drain.group import LEASE_S, PARKED, process_of
from joinback_worker.law.record import CLOCK_SKEW_MAX
from joinback_worker.law.row import Row
from joinback_worker.notes.heartbeat import Beat
from joinback_worker.notes.reported_drops import ReportedDrops

from .explanation import Explanation, Verdict, Waiting
from .judging_drops import service
from .spans import in_words, several, span
from .verdict_of_row import conflicting, of_row

OVERDUE_S = 1.0
"""From then on a drain that should have begun is said to be late, as `joinback status` does."""
DROPS_NAMED = 2
EVENTS_NAMED = 3
_DROPPED = "or its client dropped it (before_send may have: that is not reported)"
_DIGESTS = (
    "the keys of this application are 32 hex digits, as a client makes new ones, or JoinKey.from_dict (give its JSON"
    " object), or a rule Hash('join_key') (joinback.redaction.preview shows the pseudonym)"
)
_REASONS = {"hook_failed": "hook_failed: a rule of redact, or before_send, raised an exception"}
"""Reason of a drop -> which rule it means."""


class Around(Struct, frozen=True, kw_only=True):
    """What a verdict depends on besides the evidence."""

    workers: Sequence[Beat] = ()
    """The workers that are alive and take this application."""
    last_drain_at: datetime | None = None
    last_drain_error: str | None = None
    """Why the last drain failed, or why no living worker takes the application; None: neither is so."""
    row: Row | None = None
    """The row of the sink, or the one that the record in Redis would make."""
    has_newer: bool = False
    """Whether Redis holds an event of this key that this release cannot read."""
    is_sampled_out: bool = False
    drops: Sequence[ReportedDrops] = ()
    """What clients of the application dropped within a day."""
    sink_keeps: bool = True
    """False if the sink is a pipe, which cannot be read."""
    labels: Sequence[str] = ()
    """The fields that are declared as labels; empty: every field is one."""
    missing: Collection[str] = ()
    """The events, `<kind>:<event_id>`, that Redis has and that a sink which could be read should have, but has not."""


def verdict(found: Explanation, around: Around) -> Verdict:
    """Return the name of the verdict, and its sentence."""
    if found.unusable:
        return "dead", f"no row can be made of it: {found.unusable}"
    if found.erased_until is not None:
        return "erased", _erased(found, found.erased_until)
    if around.has_newer or any(entry.consumer == PARKED for entry in found.pending):
        return "waits_for_newer_worker", _newer(found)
    if found.pending:
        name, says = _queued(found, around)
        return name, says + conflicting(around.row)
    row = around.row
    dead = _of_letters(found)
    if row is None or (dead is not None and row.status != "joined"):
        name, says = dead or _of_nothing(found, around)
        return name, says + _clocks(found, row)
    if dead is None and around.missing:
        name, says = _missing(found, around)
        return name, says + conflicting(row) + _clocks(found, row)
    name, says = of_row(found, row, around.labels)
    if dead is not None:
        says += f"; besides, {dead[1]}"
    elif found.row is None:
        says += f"; the sink has no row of it{f': {found.sink_trouble}' if found.sink_trouble else ''}"
        says += _unseen(found)
    return name, says + conflicting(row) + _clocks(found, row)


def _erased(found: Explanation, until: datetime) -> str:
    says = f"erased: what comes of it is deleted until {until:%Y-%m-%d %H:%M} UTC"
    if found.row is not None:
        return f"{says}; but the sink has a row of it: repeat joinback erase"
    waits = found.pending or found.events
    return f"{says}; an event of it came since, and a drain deletes that" if waits else says


def _missing(found: Explanation, around: Around) -> Verdict:
    """Return what became of events that are in Redis, and neither in the sink nor in what was seen of the queue."""
    events = ", ".join(sorted(around.missing)[:EVENTS_NAMED]) + (" …" if len(around.missing) > EVENTS_NAMED else "")
    lost = f"the sink does not have {events} of it"
    if found.is_queue_whole:
        return "in_no_queue", f"its events are in no queue, and {lost}: {command_line('requeue', found.application)}"
    if found.queue_unread:
        return "maybe_in_the_queue", f"may wait in the queue, which could not be read: {lost}"
    seen = f"which holds {found.queue_entries:,} entries; only {found.queue_looked_at:,} of them were looked at"
    return "maybe_in_the_queue", f"may wait in the queue, {seen}. {lost[0].upper()}{lost[1:]}"


def _unseen(found: Explanation) -> str:
    """Return what to add if an entry of the key may stand in a part of the queue that was not looked at."""
    if found.is_queue_whole or found.queue_unread:
        return ""
    return f"; only {found.queue_looked_at:,} of the {found.queue_entries:,} entries of the queue were looked at"


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
        who, held_s = process_of(claimed[0].consumer or ""), claimed[0].claimed_s or 0
        return "claimed", f"claimed by {who} {span(held_s)} ago; {_writes(who, found, around)}{_failed(around)}"
    gone = {process_of(entry.consumer or "") for entry in free} - alive
    held = f", claimed by {', '.join(sorted(gone))}, which is not alive any more" if gone else ""
    waits = f"in the queue for {span(_age_s(found.pending, found.at))}{held}"
    return "in_the_queue", f"{waits}{_failed(around)}; {_next_drain(found, around)}"


def _writes(who: str, found: Explanation, around: Around) -> str:
    """Return what the holder of a claim does. One that was killed counts as alive until its sign ends."""
    for worker in around.workers:
        if worker.name == who and (quiet_s := worker.quiet_s(found.at)) is not None:
            return f"the last sign of life of that worker came {span(quiet_s)} ago"
    return "that worker writes it now"


def _failed(around: Around) -> str:
    return "" if around.last_drain_error is None else f"; the last drain failed: {around.last_drain_error}"


def _age_s(entries: Sequence[Waiting], now: datetime) -> float:
    return (now - min(entry.at for entry in entries)).total_seconds()


def _next_drain(found: Explanation, around: Around) -> str:
    planned = [worker.next_drain_at for worker in around.workers if worker.next_drain_at is not None]
    if planned:
        lefts_s = [(at - found.at).total_seconds() for at in planned]
        # A worker that hangs, or was killed, is overdue; another one may still come.
        left_s = min((left_s for left_s in lefts_s if left_s > -OVERDUE_S), default=max(lefts_s))
        if left_s <= -OVERDUE_S:
            return f"the next drain was due {span(-left_s)} ago"
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
    # The sample is drawn from keys as they are stored.
    if around.is_sampled_out and not found.are_digests:
        return "sampled_out", found.sample or "sampled out"
    if found.sink_trouble or found.sink_elsewhere or not around.sink_keeps:
        why = found.sink_elsewhere or found.sink_trouble or "it is a pipe"
        return "sink_unknown", f"Redis holds nothing of it, and the sink cannot be asked: {why}"
    near = ", ".join(f"{one.join_key} ({one.how})" for one in found.near)
    exists = f"; but there is {near}" if near else f"; it was never logged, {_DROPPED}, or it was deleted"
    if found.are_digests and not near and not found.join_key.startswith("{"):
        exists = f"; {_DIGESTS}"
    return (
        "unknown",
        f"unknown: neither Redis nor the sink holds anything of it{exists}{_unseen(found)}{_dropped(around.drops)}",
    )


def _dropped(drops: Sequence[ReportedDrops]) -> str:
    """Return what clients of the application dropped: this key may have been among it."""
    if not drops:
        return ""
    named = ", ".join(
        f"{_who(one)} dropped {several(one.count, 'event')} ({_REASONS.get(one.reason, one.reason)})"
        for one in drops[:DROPS_NAMED]
    )
    return f"; in the last day {named}"


def _who(one: ReportedDrops) -> str:
    return service(one) if one.service else f"clients on {one.host}"
