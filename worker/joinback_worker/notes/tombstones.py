"""Tombstones of erased join keys: what a late event, a retry or a slow worker brings of them is erased again.

They hold no join key, only its hash with a salt. One hash under the tag without shards, which outlives any change of
them, tells drains which keys are erased; one under each tag tells the script that writes dead letters.
"""

import secrets
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from redis.asyncio import Redis

from joinback import wire
from joinback.errors import JoinbackError
from joinback_worker.connection.scripts import Script

TOMBSTONES_MAX = 100_000
"""Of an application. At 80 bytes each some 8 MB; far more people than a service forgets one by one in half a year."""
KEYS_PER_STEP = 1_000
"""Of one call to Redis: some milliseconds in which it serves nobody else."""

_erase = Script("notes/erase.lua")
_erased = Script("notes/erased.lua")


async def erased_of(redis: Redis, application: str, join_keys: Collection[str]) -> set[str]:
    """Return which of these keys are erased. Where nothing ever was, that is one small question."""
    name = wire.erased_key(wire.tag(application))
    if not join_keys or not await redis.execute_command("EXISTS", name):
        return set()
    erased: set[str] = set()
    for step in _steps(sorted(join_keys)):
        erased.update(step[index - 1] for index in await _erased(redis, [name], step))
    return erased


async def set_tombstones(
    redis: Redis, application: str, keys_by_tag: Mapping[str, Collection[str]], kept: timedelta
) -> datetime:
    """Set a tombstone for each of these keys, under each of its tags and for drains; return until when they hold.

    Raises JoinbackError if they would be more than TOMBSTONES_MAX, and what Redis raises.
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
    """Delete the records of these keys under a tag; how many there were."""
    deleted = 0
    for step in _steps(sorted(join_keys)):
        deleted += int(await redis.execute_command("DEL", *(wire.record_key(tag, key) for key in step)))
    return deleted


def _steps(join_keys: Sequence[str]) -> Iterator[Sequence[str]]:
    return (join_keys[first : first + KEYS_PER_STEP] for first in range(0, len(join_keys), KEYS_PER_STEP))
