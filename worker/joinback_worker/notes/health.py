"""Conditions of Redis that may cost events, such as a full memory. Each has a name, and its text names the fix."""

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
"""The share of maxmemory above which memory counts as high: a burst may fill the rest before the next tick looks."""
UNSEEN = "evictions, restarts and a full memory"
"""What nobody can see without INFO."""


class Health:
    """Reads INFO of each server, and remembers what it read last: evictions and restarts show as changes."""

    def __init__(self, *, logs: bool = True) -> None:
        """`logs`: whether to log the first time that INFO is refused. A caller that shows `blind` need not."""
        self._logs = logs
        self._run_ids: dict[str, str] = {}
        self._evicted: dict[str, int] = {}
        self.blind: str | None = None
        """Why INFO was refused, and what that costs, in one line; None if it never was."""

    async def look(self, redis: Redis) -> dict[str, str]:
        """Return condition -> what it means and what to do, in one line. Empty if all is well, or if INFO is refused.

        If several servers are in one condition, one of them is named. Raises redis-py's errors for a Redis of one
        server that does not answer; in a cluster that is the condition `server_away`.
        """
        try:
            answers = await ask_primaries(redis, "INFO")
        except ResponseError as error:
            self._note_blindness(error)
            return {}
        found: dict[str, str] = {}
        for server, info in answers.items():
            for condition, meaning in self._conditions(server, info).items():
                found.setdefault(condition, f"{server}: {meaning}" if server else meaning)
        return found

    def _conditions(self, server: str, info: Any) -> dict[str, str]:
        if isinstance(info, ResponseError):
            self._note_blindness(info)
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
            found["memory_high"] = f"Redis uses {used}; shorten JOINBACK_SETTLED_TTL_S, or give it more"
        self._changes(server, info, found, may_evict=bool(limit) and policy != "noeviction")
        return found

    def _note_blindness(self, error: ResponseError) -> None:
        """Note that INFO is refused (a renamed command, or a right that the login lacks) and what that costs."""
        if self.blind is None and self._logs:
            log.warning("redis_health_unknown", why=advice(error), lost=f"{UNSEEN} are not reported")
        self.blind = f"INFO is refused ({advice(error)}), so {UNSEEN} are not reported"

    def _changes(self, server: str, info: dict[str, Any], found: dict[str, str], *, may_evict: bool) -> None:
        evicted, run_id = info.get("evicted_keys", 0), info.get("run_id", "")
        known = self._run_ids.get(server)
        # At the first look at a server that cannot evict now, the count is not reported: it is of an earlier setting.
        # If it can, or if it restarted, all that it has evicted since its start counts.
        before = 0 if (may_evict and known is None) or known not in (None, run_id) else self._evicted.get(server)
        if before is not None and evicted > before:
            found["evictions"] = (
                f"Redis evicted {evicted - before} keys: events may be lost; see dead letters, and set"
                " maxmemory-policy to noeviction"
            )
        # With an append-only file it reads back what it had acknowledged.
        if known not in (None, run_id) and not info.get("aof_enabled"):
            found["restarted"] = "Redis was restarted, or another took its place: what it had not yet saved is lost"
        self._evicted[server], self._run_ids[server] = evicted, run_id


async def publish_pause(redis: Redis, *, paused: bool, interval_s: int) -> None:
    """Publish that clients shall hold predictions back (`paused`), or that they need not.

    A pause holds until the next call; without one, as when no worker is left, for two intervals and a minute.
    """
    if not paused:
        await redis.execute_command("DEL", wire.PAUSED_KEY)
        return
    # A Redis that is full already refuses this, but clients notice that by themselves.
    with contextlib.suppress(OutOfMemoryError):
        await redis.execute_command("SET", wire.PAUSED_KEY, "1", "EX", 2 * interval_s + 60)
