"""From facts to findings: one sentence for each number that is beyond its threshold. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from shlex import quote
from typing import cast

from joinback.command_line import command_line
from joinback.settings import Settings

from .findings import Finding, FindingName, finding
from .judging_books import book_findings
from .judging_fields import field_findings
from .judging_workers import failed_name, no_eviction
from .redis_cli import config_fix
from .spans import several, span, verb
from .states import State
from .thresholds import Thresholds

ROWS_MIN = 20
"""The rows that a share of orphans needs: a share of fewer means nothing."""
OBSERVED_SILENCES = 3
"""A silence counts as longer than ever only after feedback was watched for this many times as long. So the first night
is not an alarm."""


ASK_DOCTOR = "joinback doctor tries Redis and the sink, and says what to do"


def application_findings(
    state: State,
    now: datetime,
    interval_s: int,
    wanted: Thresholds,
    settings: Settings,
    workers: Sequence[FindingName | None],
    *,
    lives: bool,
) -> Iterator[Finding]:
    """Yield the problems of one application.

    `workers`: for each living worker that takes it, the finding that says why that worker does not drain all, or None.
    `lives`: whether any worker is alive.
    """
    name = state.application
    yield from _drain_findings(state, now, interval_s, wanted, workers, lives=lives)
    yield from book_findings(state, settings)
    if state.dead_new > wanted.dead_new:
        number = several(state.dead_new, "new dead letter")
        if state.dead_are_more:
            number = f"{state.dead_new:,} or more new dead letters"
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in sorted(state.dead_by_reason_new.items()))
        says = f"{name}: {number} within {span(wanted.dead_new_s)} ({reasons})"
        yield finding("new_dead_letters", says, command_line("dead list", name), name)
    if state.dead_now and state.dead_expire_in_s is not None and state.dead_expire_in_s < wanted.dead_expire_s:
        expire = verb(state.dead_now, "expires", "expire")
        says = f"{name}: {several(state.dead_now, 'dead letter')} {expire} in {span(state.dead_expire_in_s)}"
        fix = command_line("dead replay", name, options=["--reason", "REASON"])
        yield finding("dead_letters_expire", says, fix, name)
    yield from _label_findings(state, now, interval_s, wanted)
    yield from field_findings(state, now, settings)


def _by_cause(state: State, workers: Sequence[FindingName | None]) -> str | None:
    """Return the fix if another finding says why the application is not drained; None if none does."""
    cause = failed_name(state) if state.drain_error is not None else None
    if workers and None not in workers:
        cause = cause or workers[0]
    return f"do what {cause} says" if cause else None


def _drain_findings(
    state: State,
    now: datetime,
    interval_s: int,
    wanted: Thresholds,
    workers: Sequence[FindingName | None],
    *,
    lives: bool,
) -> Iterator[Finding]:
    name, by_cause = state.application, _by_cause(state, workers)
    only = f"start a worker with --application {quote(name)}: no living worker takes it"
    age_s = state.oldest_claimable_s or 0.0
    if age_s > wanted.age_intervals * interval_s:
        by = f" by {', '.join(state.holders)}" if state.holders else ""
        held = f", {state.claimed:,} of them claimed{by}" if state.claimed else ""
        number = state.books.pending - state.waiting_for_upgrade
        events = f"{several(number, 'event')} {verb(number, 'waits', 'wait')}"
        says = f"{name}: {events}{held}, the oldest for {span(age_s)}"
        more = "joinback drain, or start more workers" if workers else "joinback drain, or start a worker"
        if state.holders:
            more = f"a claim ends within a minute, unless its worker drains; then {more}"
        yield finding("pending_old", says, by_cause or (only if lives and not workers else more), name)
    if state.waiting_for_upgrade:
        since = f", the oldest for {span(state.waiting_for_upgrade_s)}" if state.waiting_for_upgrade_s else ""
        wait = verb(state.waiting_for_upgrade, "waits", "wait")
        events = several(state.waiting_for_upgrade, "event")
        says = f"{name}: {events} of a newer client {wait} for a newer worker{since}"
        yield finding("waiting_for_upgrade", says, "upgrade the workers to the clients' release", name)
    if state.drain_error is not None:
        says = f"{name}: the last drain failed: {state.drain_error}"
        is_of_keys = state.taken and not state.sink_lost
        yield finding(failed_name(state), says, "do what key_taken says" if is_of_keys else ASK_DOCTOR, name)
    elif lives and state.last_drain_at is not None:
        ago_s = (now - state.last_drain_at).total_seconds()
        if ago_s > wanted.drain_intervals * interval_s:
            says = f"{name}: the last good drain ended {span(ago_s)} ago, although a worker is alive"
            yield finding("no_drain", says, by_cause or ("see the worker's log" if workers else only), name)


def _label_findings(state: State, now: datetime, interval_s: int, wanted: Thresholds) -> Iterator[Finding]:
    name = state.application
    if state.last_feedback_at and state.first_feedback_at and state.last_event_at:
        # What came after the begin of the last drain is not seen yet, so it is not known whether it is silent.
        until = state.last_drain_at - timedelta(seconds=state.last_drain_s or 0.0) if state.last_drain_at else now
        silent_s = (until - state.last_feedback_at).total_seconds()
        longest_s = max(state.longest_silence_s or 0.0, interval_s)
        watched_s = (state.last_feedback_at - state.first_feedback_at).total_seconds()
        still_comes = state.last_event_at - state.last_feedback_at > timedelta(seconds=longest_s)
        if still_comes and silent_s > wanted.silence_factor * longest_s and watched_s > OBSERVED_SILENCES * silent_s:
            says = f"{name}: no feedback for {span(silent_s)}; the longest silence before was {span(longest_s)}"
            fix = f"ask the sender of its labels; {command_line('report', name)} shows how late labels come"
            yield finding("no_feedback", says, fix, name)
    labelled = state.joined_of_day + state.orphans_of_day
    fix = command_line("orphans", name)
    is_misspelt = state.nearest is not None and state.feedback_ever > 0 and not state.predictions_ever
    if not state.orphans_of_day or (labelled < ROWS_MIN and not is_misspelt):
        return
    if not state.joined_of_day and not state.predictions_ever:
        whose = f"all {state.orphans_of_day:,} rows are orphans" if state.orphans_of_day > 1 else "its row is an orphan"
        says = f"{name}: only feedback comes, and no prediction: {whose}"
        yield finding("only_orphans", says, _instead(state) or fix, name)
    elif state.orphans_of_day > wanted.orphan_share * labelled:
        share = state.orphans_of_day / labelled
        says = f"{name}: {share:.0%} of the last day's rows with feedback have no prediction ({state.orphans_of_day:,})"
        yield finding("many_orphans", says, fix, name)


def _instead(state: State) -> str:
    return f"did its sender mean {state.nearest}?" if state.nearest else ""


def redis_findings(conditions: Mapping[str, str], settings: Settings) -> Iterator[Finding]:
    """Yield a finding for each condition of `notes.health`, which has the same name."""
    for name, meaning in conditions.items():
        says, _, fix = meaning.partition("; ")
        known = cast(FindingName, name)
        if known in ("eviction_possible", "evictions"):
            fix = f"{fix}: {no_eviction(settings)}"
        elif known == "memory_high":
            fix = f"{fix}: {config_fix(settings, 'maxmemory', 'BYTES')}"
        yield finding(known, says, fix)
