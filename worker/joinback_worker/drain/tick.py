"""When a worker drains: at once when it starts, then every interval, and sooner after trouble.

Ticks fall on multiples of the interval by Redis's clock, and waits are measured by the monotonic clock. So all workers
tick at the same times, and a wall clock that is wrong, or is set back while a worker runs, delays nothing.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import structlog
from redis.exceptions import RedisError

from joinback_worker.errors import described
from joinback_worker.notes.heartbeat import INTERVAL_S as BEAT_S
from joinback_worker.notes.heartbeat import Beat, beat, leave, redis_time

from .drained import Drained
from .drainer import Drainer
from .group import LEASE_S

log = structlog.get_logger("joinback")
_random = random.SystemRandom()

TAG_BUDGET_S = 20.0
"""How long one tag may keep the others waiting. The rest of its entries come in the next round, at once."""
STOP_WAIT_S = 10.0
"""On SIGTERM, how long a merge under way may take to end. Hosts send SIGKILL after thirty seconds, some after ten."""
RETRY_S_MAX = 30.0
"""The longest pause while Redis does not answer: the worker notices its return within half a minute."""
REMINDER_S = 60.0
"""A trouble that stays is logged again after so long."""
ROUNDING_S = 0.001
"""Rounding of clocks: without it a tick that begins at its aligned time could count that time as still to come."""


class Ticker:
    """Runs one worker's ticks, one at a time, and its heartbeat, on the event loop that `start` is called on.

    `sign` is the worker's sign of life, which is kept up to date. `also` is awaited after each one is written. Nothing
    here raises into the event loop.
    """

    def __init__(self, drainer: Drainer, sign: Beat, also: Callable[[], Awaitable[None]]) -> None:
        self._drainer = drainer
        self._sign = sign
        self._also = also
        self._interval_s = drainer.settings.interval_s
        # This machine's clock, until Redis gives its time: a wrong clock only misplaces the first tick.
        self._epoch_at = time.time() - time.monotonic()
        self._due_at = time.monotonic()
        self._task: asyncio.Task[None] | None = None
        self._beats: asyncio.Task[None] | None = None
        self._failures = 0
        self._logged_trouble: tuple[str, float] | None = None
        """The trouble that was logged last and still stays, and when, by the monotonic clock."""
        self.is_draining = False
        """True while a tick drains, and while one that is due waits to start."""

    @property
    def due_in_s(self) -> float:
        """Return the seconds until the next tick; negative if it is late."""
        return self._due_at - time.monotonic()

    def start(self) -> None:
        """Start the heartbeat."""
        self._beats = asyncio.create_task(self._beat_for_ever())

    def tick(self) -> None:
        """Start the tick that is due, or will be soon. While one is under way, only move the time of the next one."""
        begin_at = max(self._due_at, time.monotonic())
        self._due_at = self._aligned_after(begin_at)
        if self._task is None or self._task.done():
            self.is_draining = begin_at <= time.monotonic()
            self._task = asyncio.create_task(self._tick(begin_at))

    async def stop(self) -> None:
        """End the tick under way and the heartbeat. The tick gives its claims back, so other workers need not wait."""
        for task in (self._task, self._beats):
            await _end(task, STOP_WAIT_S)
        with suppress(RedisError, OSError):
            await leave(self._drainer.redis, self._sign)
        await self._drainer.aclose()

    async def _tick(self, begin_at: float) -> None:
        """Drain round after round, until nothing is left that can be drained now."""
        await asyncio.sleep(begin_at - time.monotonic())
        self.is_draining = True
        started_at = time.monotonic()
        try:
            while True:
                drained = await self._drainer.round(TAG_BUDGET_S)
                await self._keep_time()
                self._sign.progress_at = self._now()
                if not drained.unfinished or drained.error:
                    break
        # An error of our own must not end the worker: it is logged, and the next tick comes.
        except Exception as error:
            drained = Drained(error=described(error))
        self._plan(drained, time.monotonic() - started_at)
        self._log_trouble(drained.error)
        await self._beat()
        self.is_draining = False

    def _plan(self, drained: Drained, took_s: float) -> None:
        """Set the time of the next tick: the aligned time, or sooner if something is left to drain."""
        now = time.monotonic()
        self._due_at = self._aligned_after(now)
        self._failures = self._failures + 1 if drained.redis_lost else 0
        if drained.redis_lost:
            # Full jitter: a fleet of workers must not come back all at the same moment.
            pause_s = _random.uniform(0.1, min(RETRY_S_MAX, 0.2 * 2 ** min(self._failures, 10)))
            self._due_at = min(self._due_at, now + pause_s)
        elif drained.error or (drained.oldest_pending_s > took_s and not drained.newer):
            # Another worker holds the entries, and may have died: they can be claimed after the lease.
            self._due_at = min(self._due_at, now + LEASE_S)
        self._sign.last_drain_at = self._now()
        self._sign.next_drain_at = self._now() + timedelta(seconds=self._due_at - now)
        self._sign.trouble = drained.error
        self._sign.evictions_at = self._drainer.evictions_at
        self._sign.restarted_at = self._drainer.restarted_at

    def _aligned_after(self, moment: float) -> float:
        """Return the first moment after this one at which Redis's clock shows a multiple of the interval.

        Moments are of the monotonic clock, in seconds.
        """
        moment += ROUNDING_S
        return moment + self._interval_s - (moment + self._epoch_at) % self._interval_s

    def _log_trouble(self, trouble: str | None) -> None:
        """Log a trouble when it begins, once per minute while it stays, and when it ends (None)."""
        now, last = time.monotonic(), self._logged_trouble
        if trouble is None:
            if last is not None:
                log.info("drains_again")
            self._logged_trouble = None
        elif last is None or last[0] != trouble or now - last[1] >= REMINDER_S:
            self._logged_trouble = (trouble, now)
            log.warning("tick_failed", why=trouble, next_try_s=round(self.due_in_s, 1))

    def _now(self) -> datetime:
        """Return the time by Redis's clock, in UTC, as far as it is known."""
        return datetime.fromtimestamp(time.monotonic() + self._epoch_at, tz=UTC)

    async def _keep_time(self) -> datetime | None:
        """Ask Redis for the time, and keep it. Return it in UTC; None if Redis does not answer."""
        with suppress(RedisError, OSError):
            now = await redis_time(self._drainer.redis)
            self._epoch_at = now.timestamp() - time.monotonic()
            return now
        return None

    async def _beat_for_ever(self) -> None:
        while True:
            await self._beat()
            await asyncio.sleep(BEAT_S)

    async def _beat(self) -> None:
        # If Redis refuses or does not answer, the tick logs it.
        with suppress(RedisError, OSError):
            if (now := await self._keep_time()) is not None:
                await beat(self._drainer.redis, self._sign, now)
                await self._also()


async def _end(task: asyncio.Task[None] | None, wait_s: float) -> None:
    """Cancel a task, and cancel it again after half of `wait_s` if it has not ended: a library may swallow the first.

    The second does not follow at once, as it would interrupt the task while it gives its claims back.
    """
    for _ in range(2):
        if task is None or task.done():
            return
        task.cancel()
        await asyncio.wait({task}, timeout=wait_s / 2)
