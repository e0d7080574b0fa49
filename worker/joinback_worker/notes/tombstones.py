"""Tombstones of erased join keys: whatever a late event, a retry or a slow worker brings for them is erased again.

A tombstone holds a salted hash of the join key, not the key. Each application has one Redis hash of all of them, under
the tag of one shard, which stays whatever the number of shards: drains look there. Each tag has one of its own keys
too, for the script that writes dead letters.
"""

import hashlib
import secrets
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from redis.asyncio import Redis

from joinback import wire
from joinback.errors import JoinbackError
from joinback_worker.connection.scripts import Script

TOMBSTONES_MAX = 100_000
"""The most tombstones of one application at once. At 80 bytes each they take some 8 MB, and a service erases far fewer
people in half a year."""
KEYS_PER_STEP = 1_000
"""The join keys of one call to Redis: it serves nobody else during those milliseconds."""

_erase = Script("notes/erase.lua")
_erased = Script("notes/erased.lua")


async def erased_of(redis: Redis, application: str, join_keys: Collection[str]) -> set[str]:
    """Return which of these keys are erased. If the application never erased any, this costs one EXISTS.

    Raises redis-py's ResponseError if something else stands at the key.
    """
    name = wire.erased_key(wire.tag(application))
    if not join_keys or not await redis.execute_command("EXISTS", name):
        return set()
    erased: set[str] = set()
    for step in _steps(sorted(join_keys)):
        erased.update(step[index - 1] for index in await _erased(redis, [name], step))
    return erased


async def erased_until(redis: Redis, application: str, join_key: str, now: datetime) -> datetime | None:
    """Return until when drains erase what comes for this key; None if it is not erased. `now`: Redis's time.

    Raises redis-py's ResponseError if something else stands at the key.
    """
    name = wire.erased_key(wire.tag(application))
    salt = await redis.execute_command("HGET", name, "salt")
    if salt is None:
        return None
    field = hashlib.sha1(salt + join_key.encode(), usedforsecurity=False).hexdigest()
    until_s = await redis.execute_command("HGET", name, field)
    # A text that is not a number does not hold, as in erased.lua.
    until = datetime.fromtimestamp(int(until_s), UTC) if until_s is not None and until_s.isdigit() else None
    return until if until is not None and until > now else None


async def set_tombstones(
    redis: Redis, application: str, keys_by_tag: Mapping[str, Collection[str]], kept: timedelta
) -> datetime:
    """Set a tombstone for each of these keys, in the hash of its tag and in the application's. Return until when.

    `keys_by_tag`: tag -> join keys. `kept`: how long they hold from now, by Redis's clock. Raises JoinbackError if
    there would be more than TOMBSTONES_MAX in one hash, and what redis-py raises.
    """
    all_keys = set().union(*keys_by_tag.values())
    until_s = 0
    for tag, keys in (dict(keys_by_tag) | {wire.tag(application): all_keys}).items():
        for step in _steps(sorted(keys)):
            limits = [secrets.token_hex(16), int(kept.total_seconds()), TOMBSTONES_MAX]
            until_s = int(await _erase(redis, [wire.erased_key(tag)], [*limits, *step]))
            if until_s < 0:
                raise JoinbackError(
                    f"{application} would have more than {TOMBSTONES_MAX:,} tombstones of erased keys at once;"
                    " erase fewer keys, or wait until older tombstones have ended"
                )
    return datetime.fromtimestamp(until_s, UTC)


async def forget(redis: Redis, tag: str, join_keys: Collection[str]) -> int:
    """Delete the records of these keys under a tag. Return how many there were."""
    deleted = 0
    for step in _steps(sorted(join_keys)):
        deleted += int(await redis.execute_command("DEL", *(wire.record_key(tag, key) for key in step)))
    return deleted


def _steps(join_keys: Sequence[str]) -> Iterator[Sequence[str]]:
    return (join_keys[first : first + KEYS_PER_STEP] for first in range(0, len(join_keys), KEYS_PER_STEP))
