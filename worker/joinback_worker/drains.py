"""Cycles with all they need: a connection to the buffer, a freshly opened sink, and trouble put into words.

The sink is opened for each cycle: that costs milliseconds every five minutes, and a sink that was down, moved
or restarted in between needs no code of its own.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from joinback import wire
from joinback.settings import Settings
from joinback_worker.redis_errors import advice

from .cycle import Drained, drain
from .errors import SinkUnavailable
from .guard import guarded
from .health import Health, publish_pause
from .row import Policy
from .sinks import Sink, open_sink
from .source import Source, applications

log = structlog.get_logger("joinback")

SOCKET_TIMEOUT_S = 3.0
"""Beyond any chunk's script; on a hung Redis the worker must still obey SIGTERM."""


def redis_options(redis_url: str) -> dict[str, Any]:
    """What every connection of the worker is made with; what the URL's own query says comes first.

    redis-py waits for ever on a hung server, and in its version 5 takes any host's certificate of a trusted
    authority; neither is for us. A Unix socket takes none of TCP's options.
    """
    scheme = redis_url.partition(":")[0]
    options: dict[str, Any] = {"socket_timeout": SOCKET_TIMEOUT_S, "health_check_interval": 15}
    if scheme != "unix":
        options |= {"socket_connect_timeout": SOCKET_TIMEOUT_S, "socket_keepalive": True}
    if scheme == "rediss":
        options["ssl_check_hostname"] = True
    return options


def connect(settings: Settings) -> Redis:
    """The buffer; connects on first use."""
    redis: Redis = Redis.from_url(settings.redis_url, **redis_options(settings.redis_url))
    return redis


def sink_of(settings: Settings, application: str = "") -> Sink:
    """The sink, not yet entered, with the policy of one application. Raises ConfigurationError for a wrong URL."""
    return open_sink(settings.sink_url, policy_of(settings, application, datetime.now(UTC)))


def policy_of(settings: Settings, application: str, now: datetime) -> Policy:
    """What the settings say of one application at one moment."""
    maturity_s = settings.maturity_s.get(application)
    return Policy(
        join_window_s=settings.join_window_s,
        reducers=settings.reducers.get(application, {}),
        matured_before=None if maturity_s is None else now - timedelta(seconds=maturity_s),
        default_feedback=settings.default_feedback.get(application),
    )


async def tags(redis: Redis, only: Sequence[str] = ()) -> list[tuple[str, str]]:
    """(application, tag) of all that may have work, or of these applications `only`."""
    return [
        (application, tag)
        for application, announced in (await applications(redis)).items()
        if not only or application in only
        for tag in wire.tags(application, announced.shards)
    ]


async def drain_tag(
    redis: Redis, settings: Settings, application: str, tag: str, health: Health, *, budget_s: float = float("inf")
) -> Drained:
    """One cycle of one tag. Trouble with Redis or the sink is told in the result, and logged."""
    try:
        conditions = await health.look(redis)
        await publish_pause(redis, paused="memory_high" in conditions, interval_s=settings.interval_s)
        async with sink_of(settings, application) as sink:
            return await drain(
                Source(redis, tag),
                sink,
                application,
                emit_joined_only=settings.emit == "joined",
                budget_s=budget_s,
                conditions=conditions,
            )
    except SinkUnavailable as error:
        why = str(error)
    except (RedisError, OSError) as error:
        why = advice(error)
    log.warning("cycle_failed", application=application, tag=tag, why=why)
    return Drained(error=why)


async def drain_all(settings: Settings, only: Sequence[str] = ()) -> Drained:
    """One cycle of every tag that this sink may take, now. Raises ConfigurationError for a sink URL nobody serves."""
    sink_of(settings)
    redis = connect(settings)
    total = Drained()
    health = Health()
    try:
        work, total.error = await guarded(redis, settings, await tags(redis, only), only)
        for application, tag in work:
            total += await drain_tag(redis, settings, application, tag, health)
    except (RedisError, OSError) as error:
        total.error = advice(error)
    finally:
        await redis.aclose()
    return total
