"""Try what a deployment needs: settings, Redis, workers, clients, sink and applications. Each problem has its fix."""

import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import get_args

from msgspec import structs
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from joinback import wire
from joinback.errors import ConfigurationError
from joinback.settings import Settings
from joinback.urls import shown_url
from joinback_worker.config import rules_file
from joinback_worker.connection.connect import connect
from joinback_worker.connection.redis_errors import advice
from joinback_worker.notes.guard import refusal
from joinback_worker.notes.layouts import applications
from joinback_worker.sinks import open_sink

from .arrivals import arrivals_of
from .diagnosis import Area, Diagnosis, Tried, of_finding, problem, well
from .findings import Finding, FindingName
from .judging import ASK_DOCTOR
from .named_fix import named_fix
from .overview import overview
from .probing import probe as probe_sink
from .spans import several, waited
from .states import Overview
from .thresholds import Thresholds
from .tried_applications import try_applications
from .tried_clocks import try_clocks
from .tried_rates import try_rates
from .tried_redis import try_redis
from .tried_rights import try_rights
from .tried_sink import try_sink

_SEE_TRIES = "the lines on redis, rights and sink say what works here; the worker's log has more"
_OF_SERVER: frozenset[FindingName] = frozenset(
    {"eviction_possible", "evictions", "health_unknown", "key_taken", "memory_high", "restarted", "server_away"}
)
_OF_WORKERS: frozenset[FindingName] = frozenset(
    {
        "worker_dead",
        "worker_hangs",
        "worker_trouble",
        "workers_differ",
        "no_drain",
        "drain_failing",
        "waiting_for_upgrade",
    }
)


async def diagnose(
    settings: Settings, thresholds: Thresholds | None = None, *, probe: bool = False, reads_only: bool = False
) -> Diagnosis:
    """Return the result of each try. Nothing stays behind, except the sink's table, which is made as a worker makes it.

    With `probe`, a test record goes the whole way into the sink and is read back. It leaves one row per day there.
    With `reads_only`, nothing is written at all, so the rights to write are not tried.
    Raises ConfigurationError for a sink URL that no sink serves. Every other problem is a finding.
    """
    open_sink(settings.sink_url)
    found = Diagnosis(at=datetime.now(UTC))
    found.tried.append(well("settings", f"drains every {settings.interval_s} s; emit {settings.emit}"))
    found.tried += _try_rules(settings)
    redis = connect(settings)
    began = time.monotonic()
    try:
        await _with_redis(redis, settings, thresholds or Thresholds(), found, probe=probe, reads_only=reads_only)
    except (RedisError, OSError) as error:
        where = f"{shown_url(settings.redis_url)}{waited(time.monotonic() - began)}: {advice(error)}"
        found.tried.append(
            problem("redis", "redis_away", where, "start Redis, or correct JOINBACK_REDIS_URL; then try again")
        )
        found.tried += await try_sink(settings, reads_only=reads_only)
    finally:
        await redis.aclose()
    order = get_args(Area)
    found.tried.sort(key=lambda one: order.index(one.area))
    return found


async def _with_redis(
    redis: Redis, settings: Settings, thresholds: Thresholds, found: Diagnosis, *, probe: bool, reads_only: bool
) -> None:
    found.tried += await try_redis(redis, settings)
    rights = [] if reads_only else await try_rights(redis, settings)
    if any(one.area == "rights" and one.finding is not None for one in rights):
        # The tries below would fail for the same reason, with a less clear message.
        found.tried += [*rights, *await try_sink(settings, reads_only=reads_only)]
        return
    seen = await overview(redis, settings, thresholds)
    found.at = seen.at
    # A full Redis is reported by its INFO; where that is refused, by the trial alone.
    known = {one.name for one in seen.all_findings}
    found.tried += [one for one in rights if one.finding is None or one.finding.name not in known]
    found.tried += _from_overview(seen)
    # Another type may stand at the key of the applications, which `overview` has reported.
    with suppress(ResponseError):
        waiting = await arrivals_of(redis, [state.application for state in seen.applications])
        found.tried += try_clocks(seen.workers, waiting)
        found.tried += try_rates(await applications(redis), waiting)
    refused = await refusal(redis, settings)
    sink = (
        [problem("sink", "sink_differs", *named_fix(refused))]
        if refused
        else await try_sink(settings, reads_only=reads_only)
    )
    found.tried += sink
    if any(one.finding is not None and one.finding.is_trouble for one in sink):
        return
    found.tried += await try_applications(settings, seen)
    if probe:
        found.tried.append(await probe_sink(redis, settings))


def _try_rules(settings: Settings) -> list[Tried]:
    try:
        config, problems = rules_file.look(settings)
    except ConfigurationError as error:
        return [problem("rules", "rules_wrong", str(error), "joinback config check")]
    if problems:
        return [problem("rules", "rules_wrong", line, "joinback config check") for line in problems]
    declared = f"{config.path}: {', '.join(sorted(config.applications)) or 'no application'}"
    return [well("rules", declared if config.path else "none declared: JOINBACK_CONFIG is not set")]


def _from_overview(seen: Overview) -> list[Tried]:
    """Return what `joinback status` finds, each in its area."""
    # `_try_rules` has reported a wrong file already, line by line.
    tried = [of_finding(_area(one.name), _from_doctor(one)) for one in seen.all_findings if one.name != "rules_wrong"]
    if not any(one.area == "workers" for one in tried):
        named = ", ".join(worker.name for worker in seen.workers)
        alive = f"{several(len(seen.workers), 'worker')} alive{f': {named}' if named else ''}"
        tried.append(well("workers", alive))
    tried += _from_wire_versions(seen)
    if seen.applications and not any(one.area == "applications" for one in tried):
        tried.append(well("applications", f"{several(len(seen.applications), 'application')}; no event is lost"))
    return tried


def _from_doctor(found: Finding) -> Finding:
    """Return the finding with a fix for whoever runs `joinback doctor` already."""
    return structs.replace(found, fix=_SEE_TRIES) if found.fix == ASK_DOCTOR else found


def _from_wire_versions(seen: Overview) -> Sequence[Tried]:
    """Return a hint on workers that cannot read everything that clients of this release may write."""
    old = [worker.name for worker in seen.workers if (worker.wire_version or wire.PLAIN_VERSION) < wire.WIRE_VERSION]
    if not old:
        return []
    says = (
        f"{', '.join(old)} cannot read events of wire version {wire.WIRE_VERSION}, which clients of this release write"
    )
    return [problem("clients", "worker_older", says, "upgrade the workers before the clients")]


def _area(name: FindingName) -> Area:
    if name in _OF_SERVER:
        return "redis"
    if name in _OF_WORKERS:
        return "workers"
    if name.startswith("rules_") or name == "field_misspelt":
        return "rules"
    if name.startswith("sink_"):
        return "sink"
    return "clients" if name == "client_drops" else "applications"
