"""When a worker drains: at once when it starts, then every interval, and sooner after trouble.

Ticks are aligned to the epoch by Redis's clock and measured by the monotonic one. So all workers name a tick
alike, and a wall clock that is wrong, or is set back while a worker runs, delays nothing.
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
"""How long one tag may keep the others waiting; what is left of it comes in the next round, at once."""
STOP_WAIT_S = 10.0
"""On SIGTERM a merge that is under way may end; hosts send SIGKILL after thirty seconds, some after ten."""
RETRY_S_MAX = 30.0
"""The longest pause while Redis is away: its return is noticed within half a minute."""
REMINDER_S = 60.0
"""A trouble that stays is told once a minute."""
ROUNDING_S = 0.001
"""A tick that begins at its aligned time must not find that time still to come."""


class Ticker:
    """Runs one worker's ticks, one at a time, and its signs of life, on the event loop that `start` is called on.

    `also` is awaited beside each sign of life. Nothing here raises into the loop.
    """

    def __init__(self, drainer: Drainer, sign: Beat, also: Callable[[], Awaitable[None]]) -> None:
        self._drainer = drainer
        self._sign = sign
        self._also = also
        self._interval_s = drainer.settings.interval_s
        # Until Redis has told the time: a wrong clock costs no more than the alignment of the first tick.
        self._epoch_at = time.time() - time.monotonic()
        self._due_at = time.monotonic()
        self._task: asyncio.Task[None] | None = None
        self._beats: asyncio.Task[None] | None = None
        self._failures = 0
        self._told: tuple[str, float] | None = None
        self.is_draining = False

    @property
    def due_in_s(self) -> float:
        """Return the seconds until the next tick; negative if it is late."""
        return self._due_at - time.monotonic()

    def start(self) -> None:
        """Give signs of life from now on."""
        self._beats = asyncio.create_task(self._beat_for_ever())

    def tick(self) -> None:
        """Begin the tick that is due, or soon will be; not while one is under way: that one takes what comes, too."""
        begin_at = max(self._due_at, time.monotonic())
        self._due_at = self._aligned_after(begin_at)
        if self._task is None or self._task.done():
            self.is_draining = begin_at <= time.monotonic()
            self._task = asyncio.create_task(self._tick(begin_at))

    async def stop(self) -> None:
        """End the tick that is under way, and the signs of life. Claims are given back, so others need not wait."""
        for task in (self._task, self._beats):
            await _end(task, STOP_WAIT_S)
        with suppress(RedisError, OSError):
            await leave(self._drainer.redis, self._sign)
        await self._drainer.aclose()

    async def _tick(self, begin_at: float) -> None:
        """Drain round after round, until nothing is left that could be drained now."""
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
        # A fault of ours must not end the worker: it is told, and the next tick comes.
        except Exception as error:
            drained = Drained(error=described(error))
        self._plan(drained, time.monotonic() - started_at)
        self._tell(drained.error)
        await self._beat()
        self.is_draining = False

    def _plan(self, drained: Drained, took_s: float) -> None:
        """Set the time of the next tick: the aligned one, or sooner if something is left."""
        now = time.monotonic()
        self._due_at = self._aligned_after(now)
        self._failures = self._failures + 1 if drained.redis_lost else 0
        if drained.redis_lost:
            # Full jitter: a fleet of workers must not come back at once.
            pause_s = _random.uniform(0.1, min(RETRY_S_MAX, 0.2 * 2 ** min(self._failures, 10)))
            self._due_at = min(self._due_at, now + pause_s)
        elif drained.error or (drained.oldest_pending_s > took_s and not drained.newer):
            # Another worker holds entries, and may have died with them: they are free after the lease.
            self._due_at = min(self._due_at, now + LEASE_S)
        self._sign.last_drain_at = self._now()
        self._sign.next_drain_at = self._now() + timedelta(seconds=self._due_at - now)
        self._sign.trouble = drained.error
        self._sign.evictions_at = self._drainer.evictions_at

    def _aligned_after(self, moment: float) -> float:
        """Return the first moment after this one at which Redis's clock shows a multiple of the interval."""
        moment += ROUNDING_S
        return moment + self._interval_s - (moment + self._epoch_at) % self._interval_s

    def _tell(self, trouble: str | None) -> None:
        """Log a trouble when it begins, once a minute while it stays, and its end."""
        now = time.monotonic()
        if trouble is None:
            if self._told is not None:
                log.info("drains_again")
            self._told = None
        elif self._told is None or self._told[0] != trouble or now - self._told[1] >= REMINDER_S:
            self._told = (trouble, now)
            log.warning("tick_failed", why=trouble, next_try_s=round(self.due_in_s, 1))

    def _now(self) -> datetime:
        """Return Redis's time, as far as it is known."""
        return datetime.fromtimestamp(time.monotonic() + self._epoch_at, tz=UTC)

    async def _keep_time(self) -> datetime | None:
        """Ask Redis for the time; None while it does not answer."""
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
        # What Redis refuses or does not answer is for the tick to tell.
        with suppress(RedisError, OSError):
            if (now := await self._keep_time()) is not None:
                await beat(self._drainer.redis, self._sign, now)
                await self._also()


async def _end(task: asyncio.Task[None] | None, wait_s: float) -> None:
    """Cancel a task, and once more if it has not ended in time: a library may swallow a cancellation.

    Not at once: the second one would meet the task while it gives its claims back.
    """
    for _ in range(2):
        if task is None or task.done():
            return
        task.cancel()
        await asyncio.wait({task}, timeout=wait_s / 2)
