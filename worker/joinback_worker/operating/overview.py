"""All applications at a glance: events in, rows out, what waits, who drains it, and what is wrong."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from joinback import wire
from joinback.errors import ConfigurationError
from joinback.settings import Settings
from joinback_worker.config.misspelt import misspelt
from joinback_worker.config.rules_file import config_of
from joinback_worker.connection.redis_errors import advice
from joinback_worker.nearest import nearest
from joinback_worker.notes.fields_seen import fields_of
from joinback_worker.notes.foreign import Foreign, taken
from joinback_worker.notes.guard import Published, published
from joinback_worker.notes.health import Health
from joinback_worker.notes.heartbeat import Beat, redis_time, workers
from joinback_worker.notes.history import summed
from joinback_worker.notes.last_drains import Drains, last_drains
from joinback_worker.notes.layouts import Layout, applications, layouts
from joinback_worker.notes.reported_drops import ReportedDrops, reported_drops
from joinback_worker.notes.rules_in_use import dispute, fix, rules_in_use

from .findings import Finding, FindingName, finding, worst_first
from .glance import Glance, glance
from .judging import application_findings, redis_findings
from .judging_books import taken_findings
from .judging_drops import drop_findings
from .judging_workers import stuck, worker_findings
from .new_letters import new_letters
from .states import Overview, Sink, State
from .thresholds import DAY_S, Thresholds


async def overview(redis: Redis, settings: Settings, thresholds: Thresholds | None = None) -> Overview:
    """Return the state of everything in this Redis, by a few commands per application. Raises what Redis raises.

    It asks Redis alone, neither a sink nor a worker. A key that somebody else overwrote does not hide the rest.
    """
    wanted = thresholds or Thresholds()
    now = await redis_time(redis)
    foreign = await taken(redis)
    living = [] if wire.WORKERS_KEY in foreign else await workers(redis)
    drains = await last_drains(redis)
    interval_s = _interval_s(living, drains, settings)
    health = Health(logs=False)
    findings = [*redis_findings(await health.look(redis), settings), *taken_findings(foreign.values(), settings)]
    if health.blind is not None:
        findings.append(finding("health_unknown", health.blind, "give the login the right +info"))
    try:
        sinks = await published(redis)
    except ResponseError as error:
        sinks = {}
        if wire.SINK_KEY not in foreign:
            findings.append(finding("sink_unguarded", f"it is not known which sink is in use: {advice(error)}"))
    states = []
    for application, layout in sorted((await _layouts(redis, foreign)).items()):
        state = await _state(redis, application, layout, drains.get(application, Drains()), living)
        where = sinks.get(application) or sinks.get(wire.ALL_APPLICATIONS)
        state.sink = state.sink or (where.url if where else None)
        states.append(state)
    _name_nearest(states)
    if wire.WORKERS_KEY not in foreign:
        findings += worker_findings(living, states, now, interval_s, wanted, settings)
    drops = await drops_of_day(redis, now)
    findings += drop_findings(drops)
    if wire.RULES_KEY not in foreign:
        findings += await _rule_findings(redis, settings, states, now)
    findings += _file_findings(settings, states)
    of_stuck = stuck(living, states, now, interval_s)
    for state in states:
        own = [one for one in findings if one.application == state.application]
        causes = [of_stuck.get(worker.name) for worker in _of(state.application, living)]
        judged = application_findings(state, now, interval_s, wanted, settings, causes, lives=bool(living))
        state.findings = worst_first([*own, *judged])
    return Overview(
        at=now,
        interval_s=interval_s,
        applications=sorted(states, key=lambda state: (not state.is_troubled, not state.findings, state.application)),
        workers=living,
        drops=drops,
        sinks=_sinks(sinks, states, drains, now),
        findings=worst_first(one for one in findings if one.application not in {state.application for state in states}),
    )


async def _layouts(redis: Redis, foreign: Mapping[str, Foreign]) -> dict[str, Layout]:
    """Return the layouts as far as their keys can be read: another type at one of them must not hide the rest."""
    if wire.APPLICATIONS_KEY in foreign:
        return {}
    if wire.LAYOUTS_KEY in foreign:
        return {name: Layout(current.shards) for name, current in (await applications(redis)).items()}
    return await layouts(redis)


def _interval_s(living: Sequence[Beat], drains: Mapping[str, Drains], settings: Settings) -> int:
    """Return the longest interval of the workers: the settings of this process may differ from theirs."""
    known = [worker.interval_s for worker in living if worker.interval_s]
    known = known or [of.done.interval_s for of in drains.values() if of.done is not None]
    return max(known, default=settings.interval_s)


async def _state(redis: Redis, application: str, layout: Layout, drains: Drains, living: Sequence[Beat]) -> State:
    tags = layout.tags(application)
    glances = [await glance(redis, tag, DAY_S) for tag in tags]
    state = State(application=application, shards=layout.shards, fields=await fields_of(redis, tags))
    for tag, one in zip(tags, glances, strict=True):
        _add(state, one)
        await _add_new_letters(redis, tag, state, one)
    if (rates := summed([one.rates for one in glances])) is not None:
        state.received_per_min, state.rows_per_min = rates.received_per_min, rates.rows_per_min
    _add_drains(state, drains, _of(application, living))
    return state


def _of(application: str, living: Sequence[Beat]) -> list[Beat]:
    """Return the living workers that take this application."""
    return [one for one in living if not one.applications or application in one.applications]


def _add(state: State, one: Glance) -> None:
    """Add the state of one of the application's tags."""
    state.books += one.books
    state.rows_of_day += one.of_day("rows")
    state.joined_of_day += one.of_day("joined")
    state.orphans_of_day += one.of_day("orphans")
    state.oldest_claimable_s = _greater(state.oldest_claimable_s, _age_s(one.oldest_claimable_at, one.at))
    state.claimed += one.claimed
    state.holders = sorted({*state.holders, *one.holders})
    state.waiting_for_upgrade += one.waiting
    state.waiting_for_upgrade_s = _greater(state.waiting_for_upgrade_s, _age_s(one.oldest_waiting_at, one.at))
    state.last_event_at = _later(state.last_event_at, one.last_event_at)
    state.last_feedback_at = _later(state.last_feedback_at, one.feedback_at)
    if state.first_feedback_at is None or (one.feedback_first_at and one.feedback_first_at < state.first_feedback_at):
        state.first_feedback_at = one.feedback_first_at
    state.longest_silence_s = _greater(state.longest_silence_s, one.silence_max_s)
    for name, number in one.now.counters.items():
        if name != "buffer_ttl_s":
            state.counters[name] = state.counters.get(name, 0) + number
    state.taken += one.taken
    _add_letters(state, one)


def _add_letters(state: State, one: Glance) -> None:
    state.dead_now += one.dead_now
    # If the counters were deleted, they count fewer letters than are there.
    state.dead_ever += max(one.books.dead, one.dead_now)
    if one.dead_expire_in_s is not None:
        known = state.dead_expire_in_s
        state.dead_expire_in_s = one.dead_expire_in_s if known is None else min(known, one.dead_expire_in_s)


async def _add_new_letters(redis: Redis, tag: str, state: State, one: Glance) -> None:
    new: Counter[str] = Counter()
    day_ago = one.at - timedelta(seconds=DAY_S)
    if one.newest_letter_at is not None and one.newest_letter_at > day_ago:
        new, are_more = await new_letters(redis, tag, day_ago)
        state.dead_are_more = state.dead_are_more or are_more
    # No letter is written for these: nobody has their bytes.
    new["pending_expired"] += one.of_day("dead:pending_expired")
    for reason, number in new.items():
        if number:
            state.dead_by_reason_new[reason] = state.dead_by_reason_new.get(reason, 0) + number
    state.dead_new += new.total()


def _add_drains(state: State, drains: Drains, living: Sequence[Beat]) -> None:
    """Add who drains the application. A worker of an older release only notes its own ticks."""
    if drains.done is not None:
        state.last_drain_at, state.drained_by, state.sink = drains.done.at, drains.done.worker, drains.done.sink
        state.last_drain_s = drains.done.took_s
    for worker in living:
        is_later = worker.last_drain_at and (state.last_drain_at is None or worker.last_drain_at > state.last_drain_at)
        if worker.interval_s is None and worker.trouble is None and is_later:
            state.last_drain_at, state.drained_by, state.sink = worker.last_drain_at, worker.name, worker.sink
            state.last_drain_s = None
    state.next_drain_at = min((one.next_drain_at for one in living if one.next_drain_at), default=None)
    if drains.failed is not None:
        state.drain_error, state.sink_lost = drains.failed.error, drains.failed.sink_lost
        state.sink = drains.failed.sink


def _name_nearest(states: Sequence[State]) -> None:
    """For each application without predictions, set the application that its sender most likely means."""
    predicted = [state.application for state in states if state.predictions_ever]
    for state in states:
        if not state.predictions_ever and state.feedback_ever:
            state.nearest = nearest(state.application, predicted)


async def drops_of_day(redis: Redis, now: datetime) -> list[ReportedDrops]:
    """Return what clients reported as dropped within the day; nothing if it cannot be read."""
    try:
        return await reported_drops(redis, now - timedelta(seconds=DAY_S))
    except ResponseError:
        return []  # the key holds another type, or the login lacks the right


async def _rule_findings(redis: Redis, settings: Settings, states: Sequence[State], now: datetime) -> list[Finding]:
    found = []
    try:
        for application, uses in (await rules_in_use(redis)).items():
            if (line := dispute(application, uses, now, settings.interval_s)) is not None:
                says, is_trouble = line
                name: FindingName = "rules_differ" if is_trouble else "rules_changed"
                found.append(finding(name, says, fix(application), application))
    except ResponseError as error:
        found.append(finding("rules_unknown", f"it is not known which rules the workers follow: {advice(error)}"))
    return found


def _file_findings(settings: Settings, states: Sequence[State]) -> list[Finding]:
    """Return what is wrong in the file of rules that this process has."""
    found = []
    try:
        seen = {state.application: state.fields for state in states}
        for says, rules_fix in misspelt(config_of(settings).applications, seen):
            found.append(finding("field_misspelt", says, f"{rules_fix} in {settings.config}"))
    except ConfigurationError as error:
        found.append(finding("rules_wrong", str(error), "joinback config check"))
    return found


def _sinks(
    standing: Mapping[str, Published], states: Sequence[State], drains: Mapping[str, Drains], now: datetime
) -> list[Sink]:
    """Return each sink that rows go to, or went to last."""
    found: dict[str, Sink] = {}
    for name, entry in sorted(standing.items()):
        sink = found.setdefault(entry.url, Sink(url=entry.url))
        if name != wire.ALL_APPLICATIONS:
            sink.applications.append(name)
    for state in states:
        if state.sink is None:
            continue
        sink = found.setdefault(state.sink, Sink(url=state.sink, applications=[]))
        sink.lag_s = _greater(sink.lag_s, state.oldest_claimable_s)
        done = drains.get(state.application, Drains()).done
        sink.last_written_at = _later(sink.last_written_at, done.at if done else None)
        if state.sink_lost:
            sink.error = state.drain_error
    return list(found.values())


def _age_s(at: datetime | None, now: datetime) -> float | None:
    return None if at is None else max(0.0, (now - at).total_seconds())


def _greater(a: float | None, b: float | None) -> float | None:
    return a if b is None else b if a is None else max(a, b)


def _later(a: datetime | None, b: datetime | None) -> datetime | None:
    return a if b is None else b if a is None else max(a, b)
