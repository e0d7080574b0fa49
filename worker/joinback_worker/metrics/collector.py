"""A collector for any registry of prometheus-client. It asks Redis at each scrape, and keeps nothing in between."""

import asyncio
from collections.abc import Iterator

import structlog
from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from redis.exceptions import RedisError

from joinback.settings import Settings
from joinback_worker.connection.connect import connect
from joinback_worker.connection.redis_errors import advice
from joinback_worker.operating.overview import overview
from joinback_worker.operating.states import Overview

from .families import families

log = structlog.get_logger("joinback")

SCRAPE_TIMEOUT_S = 8.0
"""Prometheus gives up after ten seconds by default, and must get `joinback_up 0` before that."""


class JoinbackCollector(Collector):
    """The metrics of all applications, read from Redis at each scrape.

    `registry.register(JoinbackCollector(settings))` adds it to a registry of yours. `settings` have the URL of Redis.
    It must be collected in a thread without a running event loop. The servers of prometheus-client do so.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def describe(self) -> list[Metric]:
        """Return nothing: registering must not ask Redis."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the families. It never raises: without Redis, `joinback_up 0` is the only metric."""
        try:
            seen = asyncio.run(asyncio.wait_for(self._look(), SCRAPE_TIMEOUT_S))
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("metrics_unavailable", why=advice(error))
            seen = None
        yield from families(seen)

    async def _look(self) -> Overview:
        redis = connect(self._settings)
        try:
            return await overview(redis, self._settings)
        finally:
            await redis.aclose()
