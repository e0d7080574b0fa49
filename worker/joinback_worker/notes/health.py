"""The state of Redis that a delivery promise depends on, as named conditions; each names its fix."""

import contextlib
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError, RedisError, ResponseError

from joinback import wire
from joinback_worker.connection.connect import ask_primaries
from joinback_worker.connection.redis_errors import advice

log = structlog.get_logger("joinback")

MEMORY_SHARE_MAX = 0.85
"""Of maxmemory: above it a burst may fill the rest before the next tick looks again."""


class Health:
    """Looks at INFO of each server, and remembers the last look: evictions and restarts show as changes."""

    def __init__(self) -> None:
        self._run_ids: dict[str, str] = {}
        self._evicted: dict[str, int] = {}
        self._blind = False

    async def look(self, redis: Redis) -> dict[str, str]:
        """Return condition -> what it means and what to do. Empty if all is well, or if Redis may not be asked.

        Of a condition that several servers are in, one is told.
        """
        try:
            answers = await ask_primaries(redis, "INFO")
        except ResponseError as error:
            self._tell_blindness(error)
            return {}
        found: dict[str, str] = {}
        for server, info in answers.items():
            for condition, meaning in self._conditions(server, info).items():
                found.setdefault(condition, f"{server}: {meaning}" if server else meaning)
        return found

    def _conditions(self, server: str, info: Any) -> dict[str, str]:
        if isinstance(info, ResponseError):
            self._tell_blindness(info)
            return {}
        if isinstance(info, RedisError | OSError):
            return {"server_away": f"{advice(info)}; the other servers are drained meanwhile"}
        found: dict[str, str] = {}
        policy = info.get("maxmemory_policy", "noeviction")
        limit = info.get("maxmemory", 0)
        # Without a limit nothing is evicted, whatever the policy says.
        if policy != "noeviction" and limit:
            found["eviction_possible"] = (
                f"maxmemory-policy is {policy}: Redis may evict what was acknowledged; set it to noeviction"
            )
        if limit and info["used_memory"] > MEMORY_SHARE_MAX * limit:
            share = info["used_memory"] / limit
            used = f"{share:.0%} of maxmemory" if share < 2 else "many times its maxmemory"
            found["memory_high"] = f"Redis uses {used}; give it more, or shorten JOINBACK_SETTLED_TTL_S"
        self._changes(server, info, found, may_evict=bool(limit) and policy != "noeviction")
        return found

    def _tell_blindness(self, error: ResponseError) -> None:
        """Say once what is lost without INFO: a renamed command, or a right that the user lacks."""
        if not self._blind:
            log.warning(
                "redis_health_unknown", why=advice(error), lost="evictions, restarts and a full memory go untold"
            )
        self._blind = True

    def _changes(self, server: str, info: dict[str, Any], found: dict[str, str], *, may_evict: bool) -> None:
        evicted, run_id = info.get("evicted_keys", 0), info.get("run_id", "")
        known = self._run_ids.get(server)
        # Of a first look, and of a server that may not evict now, a count is history: somebody else's keys, too.
        before = 0 if (may_evict and known is None) or known not in (None, run_id) else self._evicted.get(server)
        if before is not None and evicted > before:
            found["evictions"] = (
                f"Redis evicted {evicted - before} keys: events may be lost; see dead letters, and set"
                " maxmemory-policy to noeviction"
            )
        if known not in (None, run_id):
            found["restarted"] = "Redis was restarted: what it had not yet saved is lost, unless appendonly is on"
        self._evicted[server], self._run_ids[server] = evicted, run_id


async def publish_pause(redis: Redis, *, paused: bool, interval_s: int) -> None:
    """Tell the clients to hold predictions back, until the next look or, if no worker is left, for two intervals."""
    if not paused:
        await redis.execute_command("DEL", wire.PAUSED_KEY)
        return
    # A Redis that is full already refuses this too, and clients see that by themselves.
    with contextlib.suppress(OutOfMemoryError):
        await redis.execute_command("SET", wire.PAUSED_KEY, "1", "EX", 2 * interval_s + 60)
