"""Which workers live: each writes a sign of life, which others can read, and which ends by itself.

One hash holds the newest sign of each worker, with its time by Redis's clock: so the clocks of two machines are never
compared. A sign older than TTL_S is of a worker that is gone, and the next living worker removes it.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from importlib.metadata import version

import msgspec
from msgspec import Struct
from redis.asyncio import Redis

from joinback import wire
from joinback.settings import Settings
from joinback_worker.config.rules_file import config_of
from joinback_worker.connection.scripts import Script

VERSION = version("joinback")
INTERVAL_S = 15.0
"""How often a worker writes its sign: three commands. A probe that asks twice per minute sees a new sign each time."""
TTL_S = 60.0
"""How long a sign holds: four intervals, so that a hung Redis or one lost packet does not declare a worker dead."""
OVERDUE_S = 2 * INTERVAL_S
"""From this age of a sign on, one was missed: people are told, as the worker may have been killed."""

_time = Script("notes/time.lua")
_beat = Script("notes/beat.lua")


class Beat(Struct, kw_only=True):
    """A worker's newest sign of life. Times are Redis's, in UTC."""

    host: str
    pid: int
    version: str
    sink: str
    """The URL of its sink, without secrets."""
    settings: str
    """A digest of the settings that decide what rows say: workers that differ here make different rows."""
    applications: Sequence[str] = ()
    """The applications that this worker is restricted to; empty: all."""
    started_at: datetime | None = None
    beat_at: datetime | None = None
    """When this sign was written."""
    progress_at: datetime | None = None
    """When its last round of drains ended. If that is long ago while it drains, it hangs."""
    last_drain_at: datetime | None = None
    """When its last tick ended; None before the first."""
    next_drain_at: datetime | None = None
    trouble: str | None = None
    """Why its last tick drained nothing, or not all; None: it drained all."""
    interval_s: int | None = None
    """The seconds between its ticks. None: a worker of an older release, which does not report the next two either."""
    wire_version: int | None = None
    """The newest wire version that it reads."""
    evictions_at: datetime | None = None
    """When it last saw that Redis had evicted keys."""
    restarted_at: datetime | None = None
    """When it last saw that Redis had been restarted without an append-only file."""
    clock_ahead_s: float | None = None
    """By how much the clock of its host is ahead of Redis's; less than 0 if it is behind. None: an older release."""

    @property
    def name(self) -> str:
        return f"{self.host}:{self.pid}"

    def quiet_s(self, now: datetime) -> float | None:
        """Return the seconds since this sign, if the next one is overdue; None if it is not.

        A worker that was killed cannot remove its sign, which holds for TTL_S.
        """
        age_s = (now - self.beat_at).total_seconds() if self.beat_at else 0.0
        return age_s if age_s > OVERDUE_S else None


def digest_of(settings: Settings) -> str:
    """Return eight hex digits of a digest of the settings that decide what rows say. They hold no secret.

    Raises ConfigurationError for a wrong file of rules.
    """
    config = config_of(settings)
    digests = {application: rules.digest for application, rules in config.applications.items()}
    deciding = (settings.join_window_s, settings.emit, digests)
    return sha256(msgspec.json.encode(deciding, order="deterministic")).hexdigest()[:8]


async def redis_time(redis: Redis) -> datetime:
    """Return the time by Redis's clock, in UTC. Raises what redis-py raises."""
    seconds, microseconds = await redis.execute_command("TIME")
    return datetime.fromtimestamp(int(seconds), tz=UTC) + timedelta(microseconds=int(microseconds))


async def beat(redis: Redis, sign: Beat, now: datetime) -> None:
    """Write this worker's sign, and remove the signs of workers that are gone. It works on a full Redis too.

    `now`: Redis's time, as Redis has just answered it. Sets `sign.beat_at` and `sign.clock_ahead_s`, and
    `sign.started_at` the first time.
    """
    sign.beat_at = now
    sign.clock_ahead_s = (datetime.now(UTC) - now).total_seconds()
    sign.started_at = sign.started_at or now
    gone = [name for name, other in (await _signs(redis)).items() if other is None or not _is_fresh(other, now)]
    arguments = [int(10 * TTL_S), sign.name, msgspec.json.encode(sign), *gone]
    await _beat(redis, [wire.WORKERS_KEY], arguments)


async def leave(redis: Redis, sign: Beat) -> None:
    """Remove this worker's sign, because it ends on purpose."""
    await redis.execute_command("HDEL", wire.WORKERS_KEY, sign.name)


async def workers(redis: Redis) -> list[Beat]:
    """Return the signs of the living workers, sorted by `host:pid`. Raises what redis-py raises."""
    now = await redis_time(redis)
    signs = (await _signs(redis)).values()
    return sorted((sign for sign in signs if sign is not None and _is_fresh(sign, now)), key=lambda sign: sign.name)


async def _signs(redis: Redis) -> dict[str, Beat | None]:
    """Return every sign, by worker; None stands for what somebody else wrote there."""
    found: dict[bytes, bytes] = await redis.execute_command("HGETALL", wire.WORKERS_KEY)
    return {name.decode(errors="replace"): _decoded(value) for name, value in found.items()}


def _decoded(value: bytes) -> Beat | None:
    try:
        return msgspec.json.decode(value, type=Beat)
    except msgspec.MsgspecError:
        return None


def _is_fresh(sign: Beat, now: datetime) -> bool:
    return sign.beat_at is not None and now - sign.beat_at < timedelta(seconds=TTL_S)
