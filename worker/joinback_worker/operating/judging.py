"""From facts to findings: which number is beyond which threshold, said in one sentence. Pure."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from shlex import quote
from typing import cast

from joinback_worker.notes.drops_reported import DropsTold
from joinback_worker.notes.heartbeat import Beat

from .findings import Finding, FindingName, finding
from .spans import several, span
from .states import State
from .thresholds import DAY_S, Thresholds

HANGS_INTERVALS = 2
"""A worker that has ended no drain for so many intervals hangs: a tick follows a tick."""
HANGS_S_MIN = 300.0
"""The sink's own time-outs and a large backlog stay well below."""
ROWS_MIN = 20
"""Of a share of orphans: fewer say nothing."""
OBSERVED_SILENCES = 3
"""A silence is longer than ever only where feedback was watched for so many times as long: not in the first night."""


def hangs_for_s(worker: Beat, now: datetime, interval_s: int) -> float | None:
    """Return for how long a worker has ended no drain, if that is too long; None if it is well."""
    moment = worker.progress_at or worker.started_at
    age_s = (now - moment).total_seconds() if moment else 0.0
    return age_s if age_s > max(HANGS_S_MIN, HANGS_INTERVALS * (worker.interval_s or interval_s)) else None


def of_workers(
    workers: Sequence[Beat], states: Sequence[State], now: datetime, interval_s: int, wanted: Thresholds
) -> Iterator[Finding]:
    """Yield what is amiss with those that drain, living ones and the one that is gone."""
    late_s = wanted.drain_intervals * interval_s
    if not workers:
        drained = [state for state in states if state.last_drain_at is not None]
        newest = max(drained, key=lambda state: state.last_drain_at or now, default=None)
        if newest is not None and newest.last_drain_at is not None:
            ago_s = (now - newest.last_drain_at).total_seconds()
            if ago_s > late_s:
                said = f"no worker lives; the last drain ended {span(ago_s)} ago, by {newest.drained_by}"
                yield finding("worker_dead", said, _START)
        elif any((state.oldest_claimable_s or 0) > wanted.age_intervals * interval_s for state in states):
            yield finding("worker_dead", "no worker lives, and none has drained this Redis yet", _START)
    # What is said of an application is not said again of its worker.
    told = {state.drain_error for state in states}
    for worker in workers:
        if (age_s := hangs_for_s(worker, now, interval_s)) is not None:
            said = f"worker {worker.name} hangs: it has ended no drain for {span(age_s)}"
            yield finding("worker_hangs", said, "restart it")
        elif worker.trouble and worker.trouble not in told:
            yield finding("worker_trouble", f"worker {worker.name}: {worker.trouble}", "see its log")
        if worker.evictions_at and now - worker.evictions_at < timedelta(seconds=DAY_S):
            ago = span((now - worker.evictions_at).total_seconds())
            yield finding("evictions", f"Redis evicted keys {ago} ago, as {worker.name} saw", _NO_EVICTION)
    if len({worker.settings for worker in workers}) > 1:
        named = ", ".join(f"{worker.name} ({worker.settings})" for worker in workers)
        said = f"workers run with different settings of what a row says: {named}"
        yield finding(
            "workers_differ", said, "give all the same JOINBACK_CONFIG, JOINBACK_JOIN_WINDOW_S, JOINBACK_EMIT"
        )


_START = "start one: joinback worker; or drain by cron: joinback drain"
_NO_EVICTION = "redis-cli CONFIG SET maxmemory-policy noeviction"


def of_application(
    state: State, now: datetime, interval_s: int, wanted: Thresholds, *, lives: bool
) -> Iterator[Finding]:
    """Yield what is amiss with one application. `lives`: whether any worker gives a sign of life."""
    name = state.application
    yield from _of_its_drains(state, now, interval_s, wanted, lives=lives)
    books = state.books
    if books.difference:
        number = abs(books.difference)
        verb = "is" if number == 1 else "are"
        said = several(number, "event") + (
            f" received {verb} in no account" if books.difference > 0 else f" {verb} accounted for twice"
        )
        fix = (
            "was a key deleted, or Redis restored? joinback requeue "
            + quote(name)
            + " drains what is still there once more"
        )
        yield finding("difference", f"{name}: {said}", fix, name)
    for trouble in books.troubles:
        said, _, fix = trouble.partition("; ")
        yield finding("books_unreadable", f"{name}: {said}", fix, name)
    if state.dead_new > wanted.dead_new:
        reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(state.dead_by_reason_new.items()))
        said = f"{name}: {several(state.dead_new, 'new dead letter')} within {span(wanted.dead_new_s)} ({reasons})"
        yield finding("new_dead_letters", said, f"joinback dead list {quote(name)}", name)
    if state.dead_now and state.dead_expire_in_s is not None and state.dead_expire_in_s < wanted.dead_expire_s:
        said = f"{name}: {several(state.dead_now, 'dead letter')} expire in {span(state.dead_expire_in_s)}"
        yield finding("dead_letters_expire", said, f"joinback dead replay {quote(name)} --reason REASON", name)
    yield from _of_its_labels(state, now, interval_s, wanted)
    for field, seen in state.fields.items():
        if seen.broken:
            said = (
                f"{name}: {several(seen.broken, 'value')} of {field!r} are not what is declared of it; they were kept"
            )
            yield finding("field_broken", said, f"joinback config check, and {name}'s senders", name)


def _of_its_drains(
    state: State, now: datetime, interval_s: int, wanted: Thresholds, *, lives: bool
) -> Iterator[Finding]:
    name = state.application
    age_s = state.oldest_claimable_s or 0.0
    if age_s > wanted.age_intervals * interval_s:
        held = f", {state.claimed:,} of them claimed" if state.claimed else ""
        waiting = several(state.books.pending - state.waiting_for_upgrade, "event")
        said = f"{name}: {waiting} wait{held}, the oldest for {span(age_s)}"
        yield finding(
            "pending_old", said, "joinback drain, or more workers; joinback doctor says what keeps them", name
        )
    if state.waiting_for_upgrade:
        since = f", the oldest for {span(state.waiting_for_upgrade_s)}" if state.waiting_for_upgrade_s else ""
        said = f"{name}: {several(state.waiting_for_upgrade, 'event')} of a newer client, for a newer worker{since}"
        yield finding("waiting_for_upgrade", said, "upgrade the workers to the clients' release", name)
    if state.drain_error is not None:
        kind: FindingName = "sink_down" if state.sink_lost else "drain_failing"
        yield finding(kind, f"{name}: the last drain failed: {state.drain_error}", "joinback doctor tries it", name)
    elif lives and state.last_drain_at is not None:
        ago_s = (now - state.last_drain_at).total_seconds()
        if ago_s > wanted.drain_intervals * interval_s:
            said = f"{name}: the last good drain ended {span(ago_s)} ago, though a worker lives"
            yield finding("no_drain", said, "see the worker's log; is it restricted to other applications?", name)


def _of_its_labels(state: State, now: datetime, interval_s: int, wanted: Thresholds) -> Iterator[Finding]:
    name = state.application
    if state.last_feedback_at and state.first_feedback_at and state.last_event_at:
        silent_s = (now - state.last_feedback_at).total_seconds()
        longest_s = max(state.longest_silence_s or 0.0, interval_s)
        watched_s = (state.last_feedback_at - state.first_feedback_at).total_seconds()
        still_comes = state.last_event_at - state.last_feedback_at > timedelta(seconds=longest_s)
        if still_comes and silent_s > wanted.silence_factor * longest_s and watched_s > OBSERVED_SILENCES * silent_s:
            said = f"{name}: no feedback for {span(silent_s)}; until now never longer than {span(longest_s)}"
            yield finding("no_feedback", said, f"ask who sends labels of {name}; joinback report {quote(name)}", name)
    labelled = state.joined_of_day + state.orphans_of_day
    fix = f"joinback orphans {quote(name)}"
    is_misspelt = state.nearest is not None and state.feedback_ever > 0 and not state.predictions_ever
    if not state.orphans_of_day or (labelled < ROWS_MIN and not is_misspelt):
        return
    if not state.joined_of_day and not state.predictions_ever:
        whose = f"all {state.orphans_of_day:,} rows are orphans" if state.orphans_of_day > 1 else "its row is an orphan"
        said = f"{name}: only feedback comes, and no prediction: {whose}"
        yield finding("only_orphans", said, _instead(state) or fix, name)
    elif state.orphans_of_day > wanted.orphan_share * labelled:
        share = state.orphans_of_day / labelled
        said = f"{name}: {share:.0%} of the last day's rows with feedback have no prediction ({state.orphans_of_day:,})"
        yield finding("many_orphans", said, fix, name)


def _instead(state: State) -> str:
    return f"did its sender mean {state.nearest}?" if state.nearest else ""


def of_drops(drops: Sequence[DropsTold]) -> Iterator[Finding]:
    """Yield which service lost how many events of which application, and why."""
    by_application: dict[str, list[DropsTold]] = {}
    for one in drops:
        by_application.setdefault(one.application, []).append(one)
    if len(by_application) > APPLICATIONS_APART:
        yield _dropped(f"of {len(by_application)} applications ", drops, None)
        return
    for application, of_it in by_application.items():
        yield _dropped("", of_it, application or None)


def _dropped(of_what: str, drops: Sequence[DropsTold], application: str | None) -> Finding:
    losses: Counter[tuple[str, str]] = Counter()
    for one in drops:
        losses[one.reason, service(one)] += one.count
    named = ", ".join(f"{count:,} {reason} by {who}" for (reason, who), count in losses.most_common(SERVICES_NAMED))
    more = f" and {len(losses) - SERVICES_NAMED} more" if len(losses) > SERVICES_NAMED else ""
    whose = f"{application}: " if application else ""
    said = f"{whose}clients dropped {several(losses.total(), 'event')} {of_what}within {span(DAY_S)}: {named}{more}"
    return finding("client_drops", said, "see the log of that service, and its joinback.stats()", application)


SERVICES_NAMED = 3
APPLICATIONS_APART = 3
"""One service that loses events of a dozen applications is one thing to mend, and shall not fill a screen."""


def service(one: DropsTold) -> str:
    """Who dropped them."""
    return f"{one.service} on {one.host}" if one.service else one.host


def of_redis(conditions: Mapping[str, str]) -> Iterator[Finding]:
    """Yield what the health of Redis says; each condition has the name of its finding."""
    for name, meaning in conditions.items():
        said, _, fix = meaning.partition("; ")
        # The names of the conditions are names of findings.
        known = cast(FindingName, name)
        yield finding(known, said, f"{fix}: {_NO_EVICTION}" if known == "eviction_possible" else fix)
