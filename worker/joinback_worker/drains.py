"""Cycles with all they need: a connection to the buffer, a freshly opened sink, and trouble put into words.

The sink is opened for each cycle: that costs milliseconds every five minutes, and a sink that was down, moved
or restarted in between needs no code of its own.
"""

from collections.abc import Sequence
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from joinback import wire
from joinback.redis_errors import advice
from joinback.settings import Settings

from .cycle import Drained, drain
from .errors import SinkUnavailable
from .row import Policy
from .sinks import Sink, open_sink
from .source import Source, applications

log = structlog.get_logger("joinback")

SOCKET_TIMEOUT_S = 3.0
"""redis-py sets none: on a hung Redis the worker would wait for ever and ignore SIGTERM."""

CONNECTION_OPTIONS: dict[str, Any] = {
    "socket_timeout": SOCKET_TIMEOUT_S,
    "socket_connect_timeout": SOCKET_TIMEOUT_S,
    "socket_keepalive": True,
    "health_check_interval": 15,
}


def connect(settings: Settings) -> Redis:
    """The buffer; connects on first use."""
    redis: Redis = Redis.from_url(settings.redis_url, **CONNECTION_OPTIONS)
    return redis


def sink_of(settings: Settings) -> Sink:
    """The sink, not yet entered. Raises ConfigurationError for a URL nobody serves."""
    return open_sink(settings.sink_url, Policy(join_window_s=settings.join_window_s))


async def tags(redis: Redis, only: Sequence[str] = ()) -> list[tuple[str, str]]:
    """(application, tag) of all that may have work, or of these applications `only`."""
    return [
        (application, tag)
        for application, announced in (await applications(redis)).items()
        if not only or application in only
        for tag in wire.tags(application, announced.shards)
    ]


async def drain_tag(
    redis: Redis, settings: Settings, application: str, tag: str, *, budget_s: float = float("inf")
) -> Drained:
    """One cycle of one tag. Trouble with Redis or the sink is told in the result, and logged."""
    try:
        async with sink_of(settings) as sink:
            emit_joined_only = settings.emit == "joined"
            return await drain(
                Source(redis, tag), sink, application, emit_joined_only=emit_joined_only, budget_s=budget_s
            )
    except SinkUnavailable as error:
        why = str(error)
    except (RedisError, OSError) as error:
        why = advice(error)
    log.warning("cycle_failed", application=application, tag=tag, why=why)
    return Drained(error=why)


async def drain_all(settings: Settings, only: Sequence[str] = ()) -> Drained:
    """One cycle of every tag, now. Raises ConfigurationError for a sink URL nobody serves."""
    sink_of(settings)
    redis = connect(settings)
    total = Drained()
    try:
        for application, tag in await tags(redis, only):
            total += await drain_tag(redis, settings, application, tag)
    except (RedisError, OSError) as error:
        total.error = advice(error)
    finally:
        await redis.aclose()
    return total
