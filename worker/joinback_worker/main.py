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
from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry as RedisRetry
from redis.backoff import ConstantBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from joinback.errors import ConfigurationError
from joinback.settings import Settings, settings_from
from joinback_worker.redis_errors import advice

from .drains import connect, drain_tag, redis_options, sink_of, tags
from .guard import guarded
from .health import Health

log = structlog.get_logger("joinback")

DRAIN_TIMEOUT_S = 60.0
"""arq starts the job of a worker that was killed, or lost Redis, ten seconds after this: it bounds the recovery."""
DRAIN_BUDGET_S = 40.0
"""A drain ends by itself well before arq's timeout, which is final, and is enqueued again to go on."""
DRAIN_TRIES_MAX = 1_000
"""Each continued drain is a try to arq; at 40 s each this is half a day, and then the next tick starts anew."""
COMPLETION_WAIT_S = 10
"""On SIGTERM a running drain may finish; what it does not, it releases."""
HEALTH_INTERVAL_S = 15
RESTART_S_MAX = 5.0
"""The supervisor's longest pause: after a minute's outage a few seconds more do not matter."""


@dataclass
class IntervalCron(CronJob):
    """A cron job every so many seconds, aligned to the epoch, so that all workers name a tick alike.

    arq's own cron takes sets of minutes and seconds, which allows only divisors of an hour or a minute.
    """

    every_s: int = 300

    def calculate_next(self, prev_run: datetime) -> None:
        tick = (int(prev_run.timestamp()) // self.every_s + 1) * self.every_s
        self.next_run = datetime.fromtimestamp(tick, tz=prev_run.tzinfo)


class Planner:
    """What arq calls: plan a tick, drain a tag. `only` restricts it to these applications."""

    def __init__(self, settings: Settings, only: Sequence[str] = ()) -> None:
        sink_of(settings)  # a wrong URL must fail here, not at the first tick
        self._settings = settings
        self._only = only
        self._health = Health()
        # A queue of its own, so that a restricted worker never takes the job of another application.
        self._queue = ":".join(["arq:joinback", *sorted(only)])

    async def startup(self, context: dict[str, Any]) -> None:
        context["buffer"] = connect(self._settings)
        # What ticked while no worker lived is due now.
        await self._enqueue_drains(context)

    async def shutdown(self, context: dict[str, Any]) -> None:
        await context["buffer"].aclose()

    async def plan(self, context: dict[str, Any]) -> None:
        """One tick. arq's cron is unique only while the job lives: a worker late to the tick repeats it."""
        once = f"{self._queue}:tick:{context['job_id']}"
        if await context["redis"].set(once, 1, nx=True, ex=2 * self._settings.interval_s + 60):
            await self._enqueue_drains(context)

    async def drain(self, context: dict[str, Any], application: str, tag: str) -> None:
        drained = await drain_tag(
            context["buffer"], self._settings, application, tag, self._health, budget_s=DRAIN_BUDGET_S
        )
        if drained.unfinished:
            raise Retry(defer=0)

    async def _enqueue_drains(self, context: dict[str, Any]) -> None:
        try:
            known = await tags(context["buffer"], self._only)
            work, refused = await guarded(context["buffer"], self._settings, known, self._only)
        except (RedisError, OSError) as error:
            log.warning("tick_missed", why=advice(error))
            return
        if refused:
            log.warning("sink_refused", why=refused)
        for application, tag in work:
            # Refused while a drain of this tag is queued or running: then that one does it.
            job_id = f"{self._queue}:{tag}"
            await context["redis"].enqueue_job("joinback.drain", application, tag, _job_id=job_id)

    def worker_arguments(self) -> dict[str, Any]:
        """The arguments of arq's Worker."""
        drain = func(
            self.drain,  # type: ignore[arg-type]  # arq's protocol wants __qualname__ on a bound method
            name="joinback.drain",
            timeout=DRAIN_TIMEOUT_S,
            keep_result=0,
            max_tries=DRAIN_TRIES_MAX,
        )
        tick = cron(self.plan, name="joinback.plan", timeout=10, max_tries=1)  # type: ignore[arg-type]
        every = {field.name: getattr(tick, field.name) for field in fields(CronJob)}
        return {
            "queue_name": self._queue,
            "functions": [drain],
            "cron_jobs": [IntervalCron(**every, every_s=self._settings.interval_s)],
            "on_startup": self.startup,
            "on_shutdown": self.shutdown,
            "redis_pool": self._queue_pool(),
            # A kept result blocks its job id: no drain for as long as it is kept.
            "keep_result": 0,
            "max_tries": DRAIN_TRIES_MAX,
            "job_timeout": DRAIN_TIMEOUT_S,
            "job_completion_wait": COMPLETION_WAIT_S,
            "health_check_interval": HEALTH_INTERVAL_S,
            # The default key is shared, and one worker's exit would delete it for all.
            "health_check_key": f"{self._queue}:health:{socket.gethostname()}:{os.getpid()}",
            # A local zone would skip or double a tick at each change of daylight saving.
            "timezone": UTC,
            "log_results": False,
            **_SERIALIZERS,
        }

    def _queue_pool(self) -> ArqRedis:
        url = self._settings.queue_url or self._settings.redis_url
        pool = ConnectionPool.from_url(
            url,
            **redis_options(url),
            # A restart of some seconds is survived here; OSError is what a refused connection raises. Not a
            # timeout: on a hung server each command would take half a minute to fail.
            retry=RedisRetry(ConstantBackoff(0.5), 6, supported_errors=_AWAY),  # type: ignore[arg-type]
            retry_on_error=list(_AWAY),
        )
        return ArqRedis(pool, default_queue_name=self._queue, **_SERIALIZERS)


_AWAY = (RedisConnectionError, OSError)
# Not pickle, arq's default: whoever can write to Redis could run code in the worker.
_SERIALIZERS: dict[str, Any] = {
    "job_serializer": msgspec.msgpack.encode,
    "job_deserializer": msgspec.msgpack.decode,
}


def run_supervised(settings: Settings, only: Sequence[str] = ()) -> None:
    """Run the worker until SIGTERM or SIGINT. arq ends itself when it loses Redis; this starts it again."""
    configure_logging()
    planner = Planner(settings, only)
    stopped: list[signal.Signals] = []
    failures = 0
    while not stopped:
        started = time.monotonic()
        worker = Worker(**planner.worker_arguments())
        for sign in (signal.SIGTERM, signal.SIGINT):
            worker.loop.add_signal_handler(sign, _stop, worker, sign, stopped)
        try:
            worker.run()
        except (RedisError, OSError) as error:
            failures = 1 if time.monotonic() - started > 60 else failures + 1
            pause_s = random.uniform(0.1, min(RESTART_S_MAX, 0.2 * 2**failures))  # noqa: S311
            if not stopped:
                log.warning("worker_restarts", why=advice(error), pause_s=round(pause_s, 2))
                time.sleep(pause_s)
    log.info("worker_stopped", signal=stopped[0].name)


def _stop(worker: Worker, sign: signal.Signals, stopped: list[signal.Signals]) -> None:
    """Arq tells of a signal only once its jobs have ended; if it dies before, the signal must not be lost."""
    stopped.append(sign)
    worker.handle_sig_wait_for_completion(sign)


def configure_logging(level: int = logging.INFO) -> None:
    """One line an event on stderr, key=value; arq's own chatter only from warnings on."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(level),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "event"]),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def __getattr__(name: str) -> Any:
    """`WorkerSettings`, for arq's command line: made when asked for, so that an import reads no environment."""
    if name != "WorkerSettings":
        raise AttributeError(name)
    configure_logging()
    try:
        return type("WorkerSettings", (), Planner(settings_from()).worker_arguments())
    except ConfigurationError as error:
        # As the command does it: one line, exit code 2, no traceback.
        print(f"joinback: {error}", file=sys.stderr)
        raise SystemExit(2) from None
