"""The newest pending entries, with their payloads if somebody asks."""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct, structs
from redis.asyncio import Redis
from redis.exceptions import RedisError

from joinback import wire

from .evidence import time_of

LIMIT_MAX = 1_000
"""Redis returns this many within some milliseconds."""


class Tapped(Struct, frozen=True, kw_only=True):
    """One event that waits for the worker."""

    id: str
    """The id of the entry: the time of receipt by Redis's clock, and a number."""
    at: datetime
    """When Redis received it."""
    join_key: str
    kind: str
    event_id: str = ""
    tag: str
    payload: str | None = None
    """The event as JSON; None if nobody asked, or if it no longer exists."""


async def tap(redis: Redis, tags: Sequence[str], limit: int = 20, *, payloads: bool = False) -> list[Tapped]:
    """Return the newest pending entries of these tags, at most `limit`. The oldest of them comes first.

    Raises what Redis raises.
    """
    found: list[Tapped] = []
    for tag in tags:
        entries = await redis.execute_command("XREVRANGE", wire.pending_key(tag), "+", "-", "COUNT", limit)
        for entry_id, fields in entries:
            found.append(_tapped(entry_id.decode(), fields, tag))
    newest = sorted(found, key=lambda one: (one.at, one.id))[-limit:]
    return await _with_payloads(redis, newest) if payloads else newest


def _tapped(entry_id: str, fields: dict[bytes, bytes], tag: str) -> Tapped:
    def text(name: bytes) -> str:
        return fields.get(name, b"").decode(errors="backslashreplace")

    return Tapped(
        id=entry_id, at=time_of(entry_id), join_key=text(b"key"), kind=text(b"kind"), event_id=text(b"id"), tag=tag
    )


async def _with_payloads(redis: Redis, tapped: Sequence[Tapped]) -> list[Tapped]:
    answers = []
    for one in tapped:
        try:
            key, field = wire.record_key(one.tag, one.join_key), f"{one.kind}:{one.event_id}"
            answers.append(await redis.execute_command("HGET", key, field))
        except RedisError:
            answers.append(None)  # the key holds another type
    return [
        structs.replace(one, payload=None if answer is None else answer.decode(errors="backslashreplace"))
        for one, answer in zip(tapped, answers, strict=True)
    ]
