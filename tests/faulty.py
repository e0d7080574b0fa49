"""Redis and sink with a fault at the n-th call: the only ways out of a worker, so the only places it can die."""

import contextlib
import secrets
from collections.abc import Callable
from typing import Any, Literal

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from joinback import wire
from joinback.settings import Settings
from joinback_worker.drain.cycle import drain
from joinback_worker.drain.pace import Pace
from joinback_worker.drain.source import Source
from joinback_worker.errors import SinkUnavailable
from joinback_worker.sinks import open_sink

TAG = wire.tag("loans")
SETTLED_TTL_S = 60

Fault = Literal["die before", "die after", "lose reply", "refuse"]
FAULTS: tuple[Fault, ...] = ("die before", "die after", "lose reply", "refuse")


class Died(BaseException):
    """The worker's process is gone. No `except Exception` may catch it."""


class Faults:
    """Counts the calls of one worker to the outside, and fails one of them."""

    def __init__(self, at: int | None = None, fault: Fault = "die before", meanwhile: Any = None) -> None:
        self.calls = 0
        self.at = at
        self.fault = fault
        self.meanwhile = meanwhile
        """(n, coroutine function): what somebody else does just before the n-th call."""
        self.dead = False

    async def call(self, outside: Callable[..., Any], *arguments: Any, error: Exception, **options: Any) -> Any:
        if self.dead:
            raise Died  # a dead process cleans nothing up
        self.calls += 1
        number = self.calls
        if self.meanwhile and self.meanwhile[0] == number:
            await self.meanwhile[1]()
        if number == self.at and self.fault in ("die before", "refuse"):
            raise self._fail(error)
        answer = await outside(*arguments, **options)
        if number == self.at:
            raise self._fail(error)
        return answer

    def _fail(self, error: Exception) -> BaseException:
        if self.fault.startswith("die"):
            self.dead = True
            return Died()
        return error


class FaultyRedis:
    def __init__(self, redis: Any, faults: Faults) -> None:
        self._redis = redis
        self._faults = faults

    async def execute_command(self, *arguments: Any, **options: Any) -> Any:
        error = RedisConnectionError("planned")
        return await self._faults.call(self._redis.execute_command, *arguments, error=error, **options)

    async def hashes(self, keys: Any, bytes_max: int) -> Any:
        error = RedisConnectionError("planned")
        return await self._faults.call(self._redis.hashes, keys, bytes_max, error=error)


class FaultySink:
    def __init__(self, sink: Any, faults: Faults) -> None:
        self._sink = sink
        self.looks_up = sink.looks_up
        self.erases = sink.erases
        self._faults = faults

    async def merge(self, records: Any) -> Any:
        return await self._faults.call(self._sink.merge, records, error=SinkUnavailable("planned"))

    async def erase(self, application: str, join_keys: Any) -> Any:
        return await self._faults.call(self._sink.erase, application, join_keys, error=SinkUnavailable("planned"))

    async def close_matured(self, application: str) -> Any:
        return await self._faults.call(self._sink.close_matured, application, error=SinkUnavailable("planned"))

    async def get(self, application: str, join_keys: Any) -> Any:
        return await self._faults.call(self._sink.get, application, join_keys, error=SinkUnavailable("planned"))


async def faulty_cycle(settings: Settings, buffer: Redis, faults: Faults, lease_s: float) -> None:
    """One worker's cycle over `loans`; it may die or fail on the way."""
    async with open_sink(settings.sink_url) as sink:
        source = Source(
            FaultyRedis(buffer, faults), TAG, consumer=secrets.token_hex(3), lease_s=lease_s, claim_entries=7
        )  # type: ignore[arg-type]
        with contextlib.suppress(Died, RedisError):
            await drain(source, FaultySink(sink, faults), "loans", settled_ttl_s=SETTLED_TTL_S, pace=Pace(7))  # type: ignore[arg-type]
