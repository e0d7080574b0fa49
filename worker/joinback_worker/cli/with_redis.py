"""A command's connection to Redis. It turns an error of Redis into one line that names the fix."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from redis.asyncio import Redis
from redis.exceptions import RedisError

from joinback.errors import JoinbackError
from joinback.settings import Settings
from joinback.urls import shown_url
from joinback_worker.connection.connect import connect
from joinback_worker.connection.login import NoLogin
from joinback_worker.connection.redis_errors import advice
from joinback_worker.operating.spans import waited

T = TypeVar("T")


def with_redis(settings: Settings, work: Callable[[Redis], Awaitable[T]]) -> T:
    """Return what `work` returns, given a connection. Raises JoinbackError, with the fix, for an error of Redis."""

    async def run() -> T:
        redis = connect(settings)
        try:
            return await work(redis)
        finally:
            await redis.aclose()

    began = time.monotonic()
    try:
        return asyncio.run(run())
    except (RedisError, OSError) as error:
        # Without a login no server was asked, so none is named.
        if isinstance(error, NoLogin):
            raise JoinbackError(advice(error)) from None
        where = f"{shown_url(settings.redis_url)}{waited(time.monotonic() - began)}"
        raise JoinbackError(f"{where}: {advice(error)}") from None
