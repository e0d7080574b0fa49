"""A look at what comes: the newest pending entries, with their payloads where somebody asks."""

from datetime import datetime

from msgspec import Struct
from redis.asyncio import Redis


class Tapped(Struct, frozen=True, kw_only=True):
    """One event that waits for the worker."""

    id: str
    """The entry's: its time of receipt by Redis's clock, and a number."""
    at: datetime
    """When Redis received it."""
    join_key: str
    kind: str
    event_id: str = ""
    tag: str
    payload: str | None = None
    """The event as JSON; None if nobody asked, or it is gone."""


async def tap(
    redis: Redis, tags: list[str], limit: int = 20, *, after: str = "", payloads: bool = False
) -> list[Tapped]:
    """Return the newest entries of these tags, the oldest of them first, at most `limit`; those after an entry's id.

    Raises what Redis raises.
    """
    raise NotImplementedError
