"""Erase everything that is held of some join keys, tier by tier: Redis's records, its dead letters, the sink.

The first tier is tombstones. A record that is merged before they are set is in the sink when the sink is erased. A
record that is merged later is removed by the drain that merged it, or by the next drain.
"""

from datetime import datetime, timedelta

from msgspec import Struct, field
from redis.asyncio import Redis
from redis.exceptions import RedisError

from joinback import wire
from joinback.errors import JoinbackError
from joinback.settings import Settings
from joinback_worker.by_hand.dead_letters import Letter, letters
from joinback_worker.connection.redis_errors import advice
from joinback_worker.law.rules import Policy
from joinback_worker.notes.layouts import Layout
from joinback_worker.notes.tombstones import forget, set_tombstones
from joinback_worker.sinks import lookups, open_sink

LETTERS_PER_STEP = 1_000
"""Letters per XDEL, which takes a few milliseconds of Redis's time."""


class Erased(Struct, kw_only=True):
    """How much was erased, tier by tier. It holds no logged value and no key."""

    keys: int
    tombstones_until: datetime | None = None
    """Until then, each drain erases whatever still comes of these keys."""
    redis_records: int = 0
    dead_letters: int = 0
    sink_rows: int = 0
    """Rows of `records` if the sink keeps rows; rows of `events` if it keeps events."""
    failed: dict[str, str] = field(default_factory=dict)
    """Tier -> why it failed. The other tiers are erased all the same."""


class Scope(Struct, kw_only=True):
    """What is to be erased."""

    application: str
    layout: Layout
    policy: Policy
    join_keys: set[str]
    letters: set[tuple[str, str]] = field(default_factory=set)
    """Tag and id of the dead letters that meet the conditions themselves."""
    has_sink: bool = True

    def means(self, tag: str, letter: Letter) -> bool:
        """Return whether this dead letter is to be erased."""
        return letter.join_key in self.join_keys or (tag, letter.id) in self.letters

    def keys_by_tag(self) -> dict[str, list[str]]:
        """Return, for each tag that may hold records of these keys, the keys."""
        by_tag: dict[str, list[str]] = {}
        for key in sorted(self.join_keys):
            for tag in self.layout.tags_of(self.application, key):
                by_tag.setdefault(tag, []).append(key)
        return by_tag


async def erase(redis: Redis, settings: Settings, scope: Scope) -> Erased:
    """Erase the scope in every tier, and return how much. A tier that fails is set in `failed`, and the others go on.

    It may be repeated.
    """
    erased = Erased(keys=len(scope.join_keys))
    for name, work in _TIERS.items():
        try:
            await work(redis, settings, scope, erased)
        except (RedisError, OSError) as error:
            erased.failed[name] = advice(error)
        except JoinbackError as error:
            erased.failed[name] = str(error)
    return erased


async def _set_tombstones(redis: Redis, settings: Settings, scope: Scope, erased: Erased) -> None:
    kept = timedelta(seconds=scope.policy.rules.join_window_s + settings.buffer_ttl_s)
    if scope.join_keys:
        erased.tombstones_until = await set_tombstones(redis, scope.application, scope.keys_by_tag(), kept)


async def _erase_records(redis: Redis, settings: Settings, scope: Scope, erased: Erased) -> None:
    for tag, keys in scope.keys_by_tag().items():
        erased.redis_records += await forget(redis, tag, keys)


async def _erase_dead_letters(redis: Redis, settings: Settings, scope: Scope, erased: Erased) -> None:
    for tag in scope.layout.tags(scope.application):
        erased.dead_letters += await _erase_letters(redis, tag, scope)


async def _erase_in_sink(redis: Redis, settings: Settings, scope: Scope, erased: Erased) -> None:
    if not scope.has_sink or not scope.join_keys:
        return
    sink = open_sink(settings.sink_url, scope.policy)
    sink.migrates = False
    async with sink:
        for step in lookups.steps(sink, sorted(scope.join_keys)):
            erased.sink_rows += await sink.erase(scope.application, step)


_TIERS = {
    "tombstones": _set_tombstones,
    "redis_records": _erase_records,
    "dead_letters": _erase_dead_letters,
    "sink": _erase_in_sink,
}


async def _erase_letters(redis: Redis, tag: str, scope: Scope) -> int:
    ids = [letter.id async for letter in letters(redis, tag) if scope.means(tag, letter)]
    erased = 0
    for first in range(0, len(ids), LETTERS_PER_STEP):
        step = ids[first : first + LETTERS_PER_STEP]
        erased += int(await redis.execute_command("XDEL", wire.dead_key(tag), *step))
    return erased
