"""Dead letters by reason: how many, since when, what can still be done about them, and whether it would help."""

from datetime import datetime

from msgspec import Struct
from redis.asyncio import Redis

from joinback_worker.dead import Letter


class Group(Struct, frozen=True, kw_only=True):
    """The dead letters of one reason, over all tags of an application."""

    reason: str
    now: int
    """Letters that are there."""
    ever: int
    """Counted; also those replayed, dropped, expired, and those that never had bytes."""
    first_at: datetime | None = None
    """Of those that are there."""
    last_at: datetime | None = None
    expire_in_s: float | None = None
    """When the last of them is gone, unless a new one comes."""
    replayable: int = 0
    """Of `now`, those whose bytes are there."""
    advice: str = ""
    """What to do, in one sentence; it says so where a replay would fail again."""
    newest: list[Letter] = []
    """Some of them, the newest first; their payloads are hidden where nobody asked."""


async def dead_groups(redis: Redis, tags: list[str]) -> list[Group]:
    """Return the groups of these tags, the one with the newest letter first. Reads all letters, a page at a time."""
    raise NotImplementedError
