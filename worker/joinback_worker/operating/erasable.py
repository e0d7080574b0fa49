"""What an erasure would reach: the join keys that are meant, and how much each tier holds of them. Changes nothing."""

from collections.abc import Sequence
from datetime import UTC, datetime

from msgspec import Struct, field
from redis.asyncio import Redis

from joinback import wire
from joinback.errors import JoinbackError
from joinback.settings import Settings
from joinback_worker.by_hand.dead_letters import letters
from joinback_worker.config.rules_file import policy_of
from joinback_worker.drain.refusals import get_each
from joinback_worker.drain.source import Source, Unusable
from joinback_worker.errors import SinkMissing
from joinback_worker.law.record_hash import read_hash
from joinback_worker.law.rules import Policy
from joinback_worker.notes.layouts import Layout
from joinback_worker.notes.tombstones import KEYS_PER_STEP
from joinback_worker.sinks import Sink, lookups, open_sink

from .erasing import Scope
from .purging import records_of
from .where import Where, holds, holds_of_bytes


class Erasable(Struct, kw_only=True):
    """The records that are meant, and how much of them each tier holds."""

    scope: Scope
    redis_records: int = 0
    dead_letters: int = 0
    sink_rows: int = 0
    """Rows of `records`, whether the sink keeps rows or events."""
    failed: dict[str, str] = field(default_factory=dict)
    """Tier -> why it cannot be read."""

    @property
    def is_empty(self) -> bool:
        return not (self.redis_records or self.dead_letters or self.sink_rows or self.failed)


async def erasable(
    redis: Redis, settings: Settings, application: str, layout: Layout, join_keys: Sequence[str], where: Sequence[Where]
) -> Erasable:
    """Return how much each tier holds of these keys, and of all records that meet the conditions.

    Raises what Redis raises; with conditions the login needs +scan. If the sink cannot be read, it raises JoinbackError
    with conditions, since the sink may hold more records that meet them; with keys alone it sets `failed`.
    """
    policy = policy_of(settings, application, datetime.now(UTC))
    scope = Scope(application=application, layout=layout, policy=policy, join_keys=set(join_keys))
    found = Erasable(scope=scope)
    if where:
        await _match_in_redis(redis, scope, where)
    try:
        async with open_sink(settings.sink_url, policy, read_only=True) as sink:
            if where and sink.erases:
                await _match_in_sink(sink, scope, where)
            found.sink_rows = await _rows(sink, scope)
    except SinkMissing:
        scope.has_sink = False
    except JoinbackError as error:
        if where:
            raise
        found.failed["sink"] = str(error)
    await _count_in_redis(redis, found)
    return found


async def _count_in_redis(redis: Redis, found: Erasable) -> None:
    scope = found.scope
    for tag, keys in scope.keys_by_tag().items():
        for first in range(0, len(keys), KEYS_PER_STEP):
            names = [wire.record_key(tag, key) for key in keys[first : first + KEYS_PER_STEP]]
            found.redis_records += int(await redis.execute_command("EXISTS", *names))
    for tag in scope.layout.tags(scope.application):
        async for letter in letters(redis, tag):
            found.dead_letters += scope.means(tag, letter)


async def has_rows(settings: Settings, application: str) -> bool:
    """Return whether the sink has records of an application that Redis may have forgotten. Raises SinkUnavailable."""
    try:
        async with open_sink(settings.sink_url, Policy(), read_only=True) as sink:
            if sink.erases:
                async for _ in sink.records(application):
                    return True
    except SinkMissing:
        pass
    return False


async def _rows(sink: Sink, scope: Scope) -> int:
    number = 0
    for step in lookups.steps(sink, sorted(scope.join_keys)):
        rows, unreadable = await get_each(sink, scope.application, step)
        number += len(rows) + len(unreadable)
    return number


async def _match_in_sink(sink: Sink, scope: Scope, where: Sequence[Where]) -> None:
    async for records in sink.whole_records(scope.application):
        scope.join_keys.update(record.join_key for record in records if holds(where, record))


async def _match_in_redis(redis: Redis, scope: Scope, where: Sequence[Where]) -> None:
    for tag in scope.layout.tags(scope.application):
        prefix = wire.record_key(tag, "").encode()
        async for names in records_of(redis, tag):
            keys = [key for name in names if (key := _text(name.removeprefix(prefix))) is not None]
            await _match_records(Source(redis, tag), keys, scope, where)
        async for letter in letters(redis, tag):
            if holds_of_bytes(where, letter.join_key, letter.payload):
                scope.letters.add((tag, letter.id))
                if letter.join_key:
                    scope.join_keys.add(letter.join_key)


async def _match_records(source: Source, keys: Sequence[str], scope: Scope, where: Sequence[Where]) -> None:
    waiting = list(keys)
    while waiting:
        for fields in await source.load(waiting):
            key = waiting.pop(0)
            # What cannot be read as a record holds no inputs that a condition could be about.
            if not isinstance(fields, Unusable) and holds(where, read_hash(scope.application, key, fields).record):
                scope.join_keys.add(key)


def _text(key: bytes) -> str | None:
    """Return a join key as text; None if it is not UTF-8, since no row has such a key."""
    try:
        return key.decode()
    except UnicodeDecodeError:
        return None
