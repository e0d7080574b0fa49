"""Rounds: one drain of each tag that has work, with all it needs, and its trouble put into words.

A round never raises for what one tag, the sink or Redis does: what cannot be drained now stays pending, and the
result says why.

The sink is opened for each drain: that costs milliseconds every five minutes, and a sink that was down, moved
or restarted in between needs no code of its own.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from joinback import wire
from joinback.settings import Settings
from joinback_worker.redis_errors import advice

from .cycle import drain
from .drained import Drained
from .errors import SinkUnavailable, described
from .guard import guarded
from .health import Health, publish_pause
from .heartbeat import redis_time
from .pace import Pace
from .row import Policy
from .sinks import Sink, check_emit, open_sink, shown, writers_max
from .source import Source, applications

log = structlog.get_logger("joinback")

SOCKET_TIMEOUT_S = 3.0
"""Beyond any chunk's script; on a hung Redis the worker must still obey SIGTERM."""
TAGS_ASKED = 1_000
"""Of one pipeline: some milliseconds of Redis's time."""


def redis_options(redis_url: str) -> dict[str, Any]:
    """Return what every connection of the worker is made with; what the URL's own query says comes first.

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
    """Return the buffer; it connects on first use."""
    redis: Redis = Redis.from_url(settings.redis_url, **redis_options(settings.redis_url))
    return redis


def sink_of(settings: Settings, policy: Policy | None = None) -> Sink:
    """Return the sink, not yet entered. Raises ConfigurationError for a wrong URL."""
    return open_sink(settings.sink_url, policy or Policy(join_window_s=settings.join_window_s))


def policy_of(settings: Settings, application: str, now: datetime) -> Policy:
    """Return what the settings say of one application at one moment of Redis's clock."""
    maturity_s = settings.maturity_s.get(application)
    return Policy(
        join_window_s=settings.join_window_s,
        reducers=settings.reducers.get(application, {}),
        matured_before=None if maturity_s is None else now - timedelta(seconds=maturity_s),
        default_feedback=settings.default_feedback.get(application),
    )


async def tags(redis: Redis, only: Sequence[str] = ()) -> list[tuple[str, str]]:
    """Return (application, tag) of all that may have work, or of these applications `only`."""
    return [
        (application, tag)
        for application, announced in (await applications(redis)).items()
        if not only or application in only
        for tag in wire.tags(application, announced.shards)
    ]


class Drainer:
    """One worker's drains, tick after tick: its name in the consumer groups, and what it remembers of Redis."""

    def __init__(self, settings: Settings, only: Sequence[str] = ()) -> None:
        check_emit(sink_of(settings), settings.emit)  # what is wrong must fail here, not at the first tick
        self.settings = settings
        self.only = only
        self.sink = shown(settings.sink_url)
        self.redis = connect(settings)
        self._health = Health()
        self._paces: defaultdict[str, Pace] = defaultdict(Pace)
        self._knows_applications = True

    async def round(self, tag_budget_s: float) -> Drained:
        """Drain each tag that has work once, a few at a time. `unfinished`: a budget was spent, so go on with a next.

        Never raises, but when it is cancelled; then it has given up its claims.
        """
        try:
            now = await redis_time(self.redis)
            conditions = await self._health.look(self.redis)
            paused = "memory_high" in conditions
            await publish_pause(self.redis, paused=paused, interval_s=self.settings.interval_s)
            known = await self._known()
            allowed, refused = await guarded(self.redis, self.settings, known, self.only)
            work = await self._with_work(allowed)
        except (RedisError, OSError) as error:
            return Drained(error=advice(error), redis_lost=True)
        except Exception as error:
            return Drained(error=described(error))
        total = Drained(error=refused)
        gate = asyncio.Semaphore(writers_max(self.settings.sink_url))

        async def drain_one(application: str, tag: str) -> None:
            async with gate:
                drained = await self._drain(application, tag, now, conditions, tag_budget_s)
            # Not `+= await`: that reads the sum before the drain, and forgets what others added meanwhile.
            total.include(drained)

        async with asyncio.TaskGroup() as group:
            for application, tag in work:
                group.create_task(drain_one(application, tag))
        return total

    async def aclose(self) -> None:
        await self.redis.aclose()

    async def _known(self) -> list[tuple[str, str]]:
        """Return every (application, tag); that there is none is told once."""
        known = await tags(self.redis, self.only)
        if bool(known) != self._knows_applications:
            self._knows_applications = bool(known)
            if not known:
                log.info("no_application_yet", hint="the first event of a client announces its application in Redis")
        return known

    async def _with_work(self, known: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """Return those with something pending, or predictions that mature; the others cost a length each."""
        work = []
        for some in _slices(known, TAGS_ASKED):
            async with self.redis.pipeline(transaction=False) as pipeline:
                for _, tag in some:
                    pipeline.execute_command("XLEN", wire.pending_key(tag))
                lengths = await pipeline.execute(raise_on_error=False)
            # An error, such as a wrong type at the key, is for the drain to tell.
            work += [entry for entry, length in zip(some, lengths, strict=True) if length or self._closes(entry[0])]
        return work

    def _closes(self, application: str) -> bool:
        return application in self.settings.maturity_s

    async def _drain(
        self, application: str, tag: str, now: datetime, conditions: dict[str, str], budget_s: float
    ) -> Drained:
        """One drain of one tag. Trouble with Redis, the sink or this tag's data is told in the result, and logged."""
        structlog.contextvars.bind_contextvars(sink=self.sink)
        try:
            async with sink_of(self.settings, policy_of(self.settings, application, now)) as sink:
                return await drain(
                    Source(self.redis, tag),
                    sink,
                    application,
                    emit_joined_only=self.settings.emit == "joined",
                    settled_ttl_s=self.settings.settled_ttl_s,
                    budget_s=budget_s,
                    conditions=conditions,
                    pace=self._paces[tag],
                )
        except SinkUnavailable as error:
            drained = Drained(error=str(error))
        except (RedisError, OSError) as error:
            drained = Drained(error=advice(error), redis_lost=True)
        except Exception as error:
            drained = Drained(error=described(error))
        log.warning("cycle_failed", application=application, tag=tag, why=drained.error)
        return drained


async def drain_all(settings: Settings, only: Sequence[str] = ()) -> Drained:
    """Drain what is pending now, and no more. Raises ConfigurationError for a wrong sink."""
    drainer = Drainer(settings, only)
    try:
        return await drainer.round(tag_budget_s=float("inf"))
    finally:
        await drainer.aclose()


def _slices(items: list[tuple[str, str]], size: int) -> Iterator[list[tuple[str, str]]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
