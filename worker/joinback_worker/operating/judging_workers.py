"""From workers to findings: those that hang, are in trouble or differ, and that none is alive. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from joinback.settings import Settings
from joinback_worker.notes.heartbeat import Beat
from joinback_worker.notes.last_drains import Drains

from .findings import Finding, FindingName, finding
from .named_fix import named_fix
from .redis_cli import config_fix
from .spans import span
from .states import State
from .thresholds import DAY_S, Thresholds

_START = "start one: joinback worker; or drain by cron: joinback drain"
HANGS_INTERVALS = 2
"""A worker hangs if it has not ended a drain for this many intervals: it should end one per interval."""
HANGS_S_MIN = 300.0
"""The sink's own time-outs and a large backlog take far less."""
SAME_TICK_S = 1.0
"""A good drain that ended so shortly before a worker's tick did was of that tick."""


def hangs_for_s(worker: Beat, now: datetime, interval_s: int) -> float | None:
    """Return the seconds since a worker last ended a drain, if they are too many; None if the worker is well."""
    moment = worker.progress_at or worker.started_at
    age_s = (now - moment).total_seconds() if moment else 0.0
    return age_s if age_s > max(HANGS_S_MIN, HANGS_INTERVALS * (worker.interval_s or interval_s)) else None


def hangs(name: str, age_s: float) -> str:
    """Return the sentence that a worker hangs, for a finding and for `joinback worker --check`."""
    return f"worker {name} hangs: it has not ended a drain for {span(age_s)}"


def stuck(workers: Sequence[Beat], states: Sequence[State], now: datetime, interval_s: int) -> dict[str, FindingName]:
    """Return worker -> the finding that says why it does not drain all, for each worker that has one."""
    # An error that an application reports is not repeated for its worker.
    reported = {state.drain_error: failed_name(state) for state in states if state.drain_error is not None}
    found: dict[str, FindingName] = {}
    for worker in workers:
        if hangs_for_s(worker, now, interval_s) is not None:
            found[worker.name] = "worker_hangs"
        elif worker.trouble:
            found[worker.name] = reported.get(worker.trouble, "worker_trouble")
    return found


def why_refused(application: str, workers: Sequence[Beat], noted: Mapping[str, Drains]) -> str | None:
    """Return why none of these living workers takes this application, such as for another sink; None if one does.

    `noted`: the last drains of all applications. A drain that failed is noted there; a worker that takes nothing notes
    none, and only its sign of life says why.
    """
    reported = {of.failed.error for of in noted.values() if of.failed is not None}
    done = noted.get(application, Drains()).done
    for worker in workers:
        has_drained = (
            done is not None
            and worker.last_drain_at is not None
            and worker.last_drain_at - done.at < timedelta(seconds=SAME_TICK_S)
        )
        if worker.trouble is None or worker.trouble in reported or has_drained:
            return None
    return workers[0].trouble if workers else None


def failed_name(state: State) -> FindingName:
    """Return the name of the finding that the last drain of an application failed."""
    return "sink_down" if state.sink_lost else "drain_failing"


def worker_findings(
    workers: Sequence[Beat],
    states: Sequence[State],
    now: datetime,
    interval_s: int,
    wanted: Thresholds,
    settings: Settings,
) -> Iterator[Finding]:
    """Yield the problems of the workers that are alive, or that no worker is alive."""
    late_s = wanted.drain_intervals * interval_s
    if not workers:
        drained = [state for state in states if state.last_drain_at is not None]
        newest = max(drained, key=lambda state: state.last_drain_at or now, default=None)
        if newest is not None and newest.last_drain_at is not None:
            ago_s = (now - newest.last_drain_at).total_seconds()
            if ago_s > late_s:
                says = f"no worker is alive; the last drain ended {span(ago_s)} ago, by {newest.drained_by}"
                yield finding("worker_dead", says, _START)
        elif any((state.oldest_claimable_s or 0) > wanted.age_intervals * interval_s for state in states):
            yield finding("worker_dead", "no worker is alive, and none has ever drained this Redis", _START)
    of_stuck = stuck(workers, states, now, interval_s)
    for worker in workers:
        if (age_s := hangs_for_s(worker, now, interval_s)) is not None:
            yield finding("worker_hangs", hangs(worker.name, age_s), "restart it")
        elif worker.trouble and of_stuck[worker.name] == "worker_trouble":
            says, fix = named_fix(worker.trouble, "see its log")
            yield finding("worker_trouble", f"worker {worker.name}: {says}", fix)
        if worker.evictions_at and now - worker.evictions_at < timedelta(seconds=DAY_S):
            ago = span((now - worker.evictions_at).total_seconds())
            yield finding("evictions", f"Redis evicted keys {ago} ago, seen by {worker.name}", no_eviction(settings))
    yield from _restarted(workers, now, settings)
    if len({worker.settings for worker in workers}) > 1:
        named = ", ".join(f"{worker.name} ({worker.settings})" for worker in workers)
        says = f"workers run with settings that make different rows: {named}"
        fix = "give all of them the same JOINBACK_CONFIG, JOINBACK_JOIN_WINDOW_S and JOINBACK_EMIT"
        yield finding("workers_differ", says, fix)


def _restarted(workers: Sequence[Beat], now: datetime, settings: Settings) -> Iterator[Finding]:
    """Yield once that Redis was restarted within the day: each worker sees the same restart."""
    saw = [(worker.restarted_at, worker.name) for worker in workers if worker.restarted_at is not None]
    if saw and now - (last := max(saw))[0] < timedelta(seconds=DAY_S):
        ago, name = span((now - last[0]).total_seconds()), last[1]
        says = f"Redis was restarted, or another took its place, {ago} ago, seen by {name}; it had no append-only file"
        yield finding("restarted", says, config_fix(settings, "appendonly", "yes"))


def no_eviction(settings: Settings) -> str:
    """Return the line that makes Redis refuse events rather than evict keys."""
    return config_fix(settings, "maxmemory-policy", "noeviction")
