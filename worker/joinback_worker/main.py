"""The worker on arq, and the only file that imports it.

arq gives us "something runs about every five minutes", at least once; it has no lease, and a cron job that is
killed is not run again. So the cron tick is a tiny planner that enqueues one drain a tag as a function job,
which arq does run again, and everything else is the drain's own promise.

`joinback worker` supervises the run; `arq joinback_worker.main.WorkerSettings` leaves that to the host.
"""

import logging
import os
import random
import signal
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog
from arq import ArqRedis, Retry, Worker, cron, func
from arq.cron import CronJob
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry as RedisRetry
from redis.backoff import ConstantBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from joinback import wire
from joinback.errors import ConfigurationError
from joinback.redis_errors import advice
from joinback.settings import Settings, settings_from

from .cycle import Drained, drain
from .errors import SinkUnavailable
from .fold import Policy
from .sinks import open_sink
from .source import Source, applications

log = structlog.get_logger("joinback")

DRAIN_TIMEOUT_S = 120.0
"""arq starts a killed worker's job again ten seconds after this, so it bounds the recovery."""
DRAIN_BUDGET_S = 0.8 * DRAIN_TIMEOUT_S
"""A drain ends by itself before arq's timeout, which is final, and is enqueued again."""
DRAIN_TRIES_MAX = 1_000
"""Each continued drain is a try to arq; at 96 s each this is a day of backlog, and the next tick starts anew."""
SOCKET_TIMEOUT_S = 3.0
"""arq sets none: on a hung Redis the worker would wait for ever and ignore SIGTERM."""
RESTART_S_MAX = 5.0
"""The longest pause of the supervisor: a minute of outage may cost a few seconds more, not a tick."""


@dataclass
class IntervalCron(CronJob):
    """A cron job every so many seconds, aligned to the epoch, so that all workers name a tick alike.

    arq's own cron takes sets of minutes and seconds, which allows only divisors of an hour or a minute.
    """

    every_s: int = 300

    def calculate_next(self, prev_run: datetime) -> None:
        tick = (int(prev_run.timestamp()) // self.every_s + 1) * self.every_s
        self.next_run = datetime.fromtimestamp(tick, tz=prev_run.tzinfo)


def worker_arguments(settings: Settings, only: Sequence[str] = ()) -> dict[str, Any]:
    """The arguments of arq's Worker. `only` restricts the worker to these applications, on a queue of its own."""
    # Its own queue, so that a restricted worker never takes the job of another application.
    queue = ":".join(["arq:joinback", *sorted(only)])
    open_sink(settings.sink_url, _policy(settings))  # a wrong URL must fail here, not at the first tick

    async def startup(context: dict[str, Any]) -> None:
        context["buffer"] = Redis.from_url(settings.redis_url, **_connection_options())
        # What ticked while no worker lived is due now.
        await _enqueue_drains(context)

    async def shutdown(context: dict[str, Any]) -> None:
        await context["buffer"].aclose()

    async def plan(context: dict[str, Any]) -> None:
        # arq's cron is unique only while the job is queued or running; a worker that comes late to the
        # tick would run it again.
        if await context["redis"].set(
            f"{queue}:tick:{context['job_id']}", 1, nx=True, ex=2 * settings.interval_s + 60
        ):
            await _enqueue_drains(context)

    async def _enqueue_drains(context: dict[str, Any]) -> None:
        try:
            for application, announced in (await applications(context["buffer"])).items():
                if only and application not in only:
                    continue
                for tag in wire.tags(application, announced.shards):
                    # None while a drain of this tag is queued or running: then that one does it.
                    await context["redis"].enqueue_job(
                        "joinback.drain", application, tag, _job_id=f"{queue}:{tag}"
                    )
        except (RedisError, OSError) as error:
            log.warning("tick_missed", why=advice(error))

    async def drain_tag(context: dict[str, Any], application: str, tag: str) -> None:
        drained = await drain_once(context["buffer"], settings, application, tag, budget_s=DRAIN_BUDGET_S)
        if drained.unfinished:
            raise Retry(defer=0)

    tick = cron(plan, name="joinback.plan", timeout=10, max_tries=1)
    return {
        "queue_name": queue,
        "functions": [
            func(
                drain_tag,
                name="joinback.drain",
                timeout=DRAIN_TIMEOUT_S,
                keep_result=0,
                max_tries=DRAIN_TRIES_MAX,
            )
        ],
        "cron_jobs": [
            IntervalCron(
                **{f.name: getattr(tick, f.name) for f in fields(CronJob)}, every_s=settings.interval_s
            )
        ],
        "on_startup": startup,
        "on_shutdown": shutdown,
        "redis_pool": _queue_pool(settings, queue),
        # A kept result blocks its job id: no drain for as long as it is kept.
        "keep_result": 0,
        "max_tries": DRAIN_TRIES_MAX,
        "job_timeout": DRAIN_TIMEOUT_S,
        # On SIGTERM a running drain may finish its chunks; what it does not finish stays claimed or pending.
        "job_completion_wait": 10,
        "health_check_interval": 15,
        # The default key is shared, and one worker's exit would delete it for all.
        "health_check_key": f"{queue}:health:{socket.gethostname()}:{os.getpid()}",
        # A local zone would skip or double a tick at each change of daylight saving.
        "timezone": UTC,
        "log_results": False,
        "job_serializer": msgspec.msgpack.encode,
        "job_deserializer": msgspec.msgpack.decode,
    }


async def drain_once(
    redis: "Redis[bytes]", settings: Settings, application: str, tag: str, *, budget_s: float = float("inf")
) -> Drained:
    """One cycle of one tag with a freshly opened sink. Trouble with Redis or the sink is told in the result."""
    try:
        async with open_sink(settings.sink_url, _policy(settings)) as sink:
            return await drain(
                Source(redis, tag),
                sink,
                application,
                emit_joined_only=settings.emit == "joined",
                budget_s=budget_s,
            )
    except SinkUnavailable as error:
        why = str(error)
    except (RedisError, OSError) as error:
        why = advice(error)
    log.warning("cycle_failed", application=application, tag=tag, why=why)
    return Drained(error=why)


async def drain_all(settings: Settings, only: Sequence[str] = ()) -> Drained:
    """One cycle of every tag, now; what `joinback drain` does."""
    redis = Redis.from_url(settings.redis_url, **_connection_options())
    total = Drained()
    try:
        for application, announced in (await applications(redis)).items():
            if only and application not in only:
                continue
            for tag in wire.tags(application, announced.shards):
                total += await drain_once(redis, settings, application, tag)
    except (RedisError, OSError) as error:
        total.error = advice(error)
    finally:
        await redis.aclose()
    return total


def run_supervised(settings: Settings, only: Sequence[str] = ()) -> None:
    """Run the worker until SIGTERM or SIGINT. arq ends itself when it loses Redis; this starts it again."""
    configure_logging()
    stopped: list[signal.Signals] = []
    failures = 0
    while not stopped:
        started = time.monotonic()
        worker = Worker(**worker_arguments(settings, only))
        worker.on_stop = stopped.append
        try:
            worker.run()
        except (RedisError, OSError) as error:
            failures = 0 if time.monotonic() - started > 60 else failures + 1
            pause_s = random.uniform(0.1, min(RESTART_S_MAX, 0.2 * 2**failures))  # noqa: S311
            log.warning("worker_restarts", why=advice(error), pause_s=round(pause_s, 2))
            if not stopped:
                time.sleep(pause_s)
    log.info("worker_stopped", signal=stopped[0].name)


def configure_logging(level: int = logging.INFO) -> None:
    """One line an event on stderr, key=value; arq's own chatter only from warnings on."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(level),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.KeyValueRenderer(
                key_order=["timestamp", "level", "event"], sort_keys=False, drop_missing=True
            ),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def _policy(settings: Settings) -> Policy:
    return Policy(join_window_s=settings.join_window_s)


def _connection_options() -> dict[str, Any]:
    return {
        "socket_timeout": SOCKET_TIMEOUT_S,
        "socket_connect_timeout": SOCKET_TIMEOUT_S,
        "socket_keepalive": True,
        "health_check_interval": 15,
    }


def _queue_pool(settings: Settings, queue: str) -> ArqRedis:
    pool = ConnectionPool.from_url(
        settings.queue_url or settings.redis_url,
        **_connection_options(),
        # A restart of some seconds is survived here; OSError is what a refused connection raises.
        retry=RedisRetry(ConstantBackoff(0.5), 6),
        retry_on_error=[RedisConnectionError, RedisTimeoutError, OSError],
    )
    return ArqRedis(
        pool,
        job_serializer=msgspec.msgpack.encode,
        job_deserializer=msgspec.msgpack.decode,
        default_queue_name=queue,
    )


def __getattr__(name: str) -> Any:
    """`WorkerSettings`, for arq's command line: made when asked for, so that an import reads no environment."""
    if name != "WorkerSettings":
        raise AttributeError(name)
    configure_logging()
    try:
        return type("WorkerSettings", (), worker_arguments(settings_from()))
    except ConfigurationError as error:
        sys.exit(f"joinback: {error}")


__all__ = ["WorkerSettings", "drain_all", "drain_once", "run_supervised", "worker_arguments"]  # noqa: F822
