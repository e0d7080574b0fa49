"""One tag in Redis: load the records of claimed entries, settle the entries, read the books."""

import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from msgspec import Raw
from redis.asyncio import Redis
from redis.exceptions import RedisError

from joinback import wire
from joinback_worker.connection.hashes import Hashes, TooLarge
from joinback_worker.connection.scripts import Script
from joinback_worker.notes.accounting import Accounting, books_of
from joinback_worker.notes.fields_seen import FieldsSeen
from joinback_worker.notes.tombstones import erased_of, forget

from .group import CLAIM_ENTRIES, LEASE_S, Group, consumer_name
from .heard import seconds_of, thinned
from .pace import SLICE_BYTES
from .settlement import STEP_ENTRIES, Settlement

RECORD_FIELDS_MAX = 4 * wire.RECORD_EVENTS_MAX
"""The most fields of a record that becomes a row. The write script lets in twice the cap, and each event may have a
late mark; a record with more fields was written by hand."""
RECORD_BYTES_MAX = 32 << 20
"""The most bytes of a record that becomes a row. To make the row a worker needs up to eleven times as much memory
(measured with SQLite, where a row is there already), which fits into a container of 512 MiB. A worker that is killed
for its memory would start again and claim the same record."""

_load = Script("drain/load.lua")
_settle = Script("drain/settle.lua")
_shorten = Script("drain/shorten.lua")
_account = Script("drain/account.lua")
_note = Script("drain/note.lua")

COUNTERS_MAX = 100
"""The most counters of one entry of the history. There are some thirty; Lua's stack holds some thousands."""


REDIS_TROUBLE = (RedisError, ConnectionError, TimeoutError)
"""What a call to Redis may raise."""

Elsewhere = Callable[[str], Sequence[str]]
"""Join key -> the other tags that may hold a part of its record."""


class Unusable(NamedTuple):
    """Why what stands at a record's key cannot become a row: the reason of its dead letter, and the detail."""

    reason: str
    detail: str


Fields = list[tuple[str, bytes]]
"""A record as Redis holds it: (field, payload). Empty if it is gone."""


class Source:
    """One tag in Redis, for one drain by one worker.

    `consumer`, `lease_s` and `claim_entries` are for its `group`. `elsewhere`: the tags that may hold the other half of
    a record; None: no other.
    """

    def __init__(
        self,
        redis: Redis,
        tag: str,
        *,
        consumer: str | None = None,
        lease_s: float = LEASE_S,
        claim_entries: int = CLAIM_ENTRIES,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self._redis = redis
        self._tag = tag
        self._elsewhere = elsewhere
        self._pending = wire.pending_key(tag)
        self._heard: set[bytes] = set()
        """The seconds in which the feedback came that was settled."""
        self.group = Group(redis, tag, consumer or consumer_name(), lease_s, claim_entries)

    async def load(
        self,
        join_keys: Sequence[str],
        *,
        bytes_max: int = SLICE_BYTES,
        bytes_expected: int | None = None,
        one_at_least: bool = True,
    ) -> list[Fields | Unusable]:
        """Return the records of the first of these keys under this tag, in order: as many as fit into `bytes_max`.

        `bytes_expected`: how many bytes they will have, by the records before them; None: not known, so Redis measures
        them first. `one_at_least`: return the first record even if it has more bytes. Raises what redis-py raises.
        """
        if bytes_expected is not None and 2 * bytes_expected <= bytes_max and isinstance(self._redis, Hashes):
            prefix = wire.record_key(self._tag, "").encode()
            with suppress(TooLarge):
                records = await self._redis.hashes([prefix + key.encode() for key in join_keys], bytes_max)
                # Something that is not a record, or a record too large, is read below, which finds its type or size.
                if all(type(record) is list and len(record) <= 2 * RECORD_FIELDS_MAX for record in records):
                    return list(map(_fields, records))
        keys = [wire.record_key(self._tag, key) for key in join_keys]
        replies = await _load(self._redis, keys, [bytes_max, RECORD_FIELDS_MAX, RECORD_BYTES_MAX, int(one_at_least)])
        return [_record(key, reply) for key, reply in zip(keys, replies, strict=False)]

    async def complete(
        self, join_keys: Sequence[str], loaded: Sequence[Fields | Unusable], *, bytes_max: int
    ) -> dict[str, set[str]]:
        """Add to each of these records its fields under the tags of other shards. Return them: join key -> fields.

        `loaded` are the records of these keys, and is changed. A record that is gone or unusable under this tag gets
        nothing: the entries of the other tag bring it.
        """
        if self._elsewhere is None:
            return {}
        by_tag: dict[str, dict[str, Fields]] = {}
        for join_key, record in zip(join_keys, loaded, strict=False):
            if record and not isinstance(record, Unusable):
                for tag in self._elsewhere(join_key):
                    by_tag.setdefault(tag, {})[join_key] = record
        foreign: dict[str, set[str]] = {}
        for tag, records in by_tag.items():
            source, waiting = Source(self._redis, tag), list(records)
            while waiting:
                for half in await source.load(waiting, bytes_max=bytes_max):
                    join_key = waiting.pop(0)
                    # An unusable half is reported by the drain of that tag.
                    if not isinstance(half, Unusable):
                        held = {field for field, _ in records[join_key]}
                        more = [event for event in half if event[0] not in held]
                        records[join_key] += more
                        foreign.setdefault(join_key, set()).update(field for field, _ in more)
        return foreign

    async def settle(self, settlement: Settlement) -> int:
        """Acknowledge, delete and count the entries, and write their dead letters. Return the number of letters.

        Call it only after the sink has the rows. Each step (`Settlement.steps`) is atomic.
        """
        keys = [self._pending, wire.stats_key(self._tag), wire.dead_key(self._tag), wire.erased_key(self._tag)]
        limits = [wire.STATS_TTL_S, wire.DEAD_TTL_S, wire.DEAD_LETTERS_MAX, wire.LATE_MARK_TTL_S]
        dead = 0
        for step in settlement.steps():
            theirs = [wire.record_key(self._tag, event.join_key) for event in step.rejected]
            dead += int(await _settle(self._redis, keys + theirs, [*limits, *step.arguments()]))
            self._heard |= seconds_of(step.entries())
        return dead

    async def shorten(self, settled: Mapping[str, Collection[str]], ttl_s: int) -> None:
        """Let Redis keep these records no longer than so many seconds: join key -> the fields that were loaded.

        A record that has got another event since keeps its TTL.
        """
        keys = list(settled)
        for first in range(0, len(keys), STEP_ENTRIES):
            some = keys[first : first + STEP_ENTRIES]
            # All fields in one argument: no event's field has a line feed, and arguments are costly.
            fields = ["\n".join(settled[join_key]) for join_key in some]
            await _shorten(self._redis, [wire.record_key(self._tag, join_key) for join_key in some], [ttl_s, *fields])

    async def erased(self, application: str, join_keys: Collection[str]) -> set[str]:
        """Return which of these keys are erased: nothing that comes for them is kept."""
        return await erased_of(self._redis, application, join_keys)

    async def forget(self, join_keys: Collection[str]) -> int:
        """Delete the records of these keys under this tag. Return how many there were."""
        return await forget(self._redis, self._tag, join_keys)

    async def note_fields(self, seen: FieldsSeen, application: str, feedback: Sequence[Mapping[str, Raw]]) -> None:
        """Note the feedback fields that a batch brought, and how many of their values break their rules."""
        await seen.note(self._redis, self._tag, application, feedback)

    async def accounting(self) -> Accounting:
        """Return the books of this tag. What somebody else wrote among the counters is listed in `troubles`."""
        pending, age_ms, flat = await _account(self._redis, [self._pending, wire.stats_key(self._tag)])
        return books_of(self._tag, pending, flat, max(0, age_ms) / 1000)

    async def note(self) -> str | None:
        """Note in the tag's history the counters as they are now, and when settled feedback came.

        Return one line for a person if something else stands at the history's key, else None. If Redis refuses or does
        not answer, nothing is noted: the next drain notes the same counters.
        """
        history = wire.history_key(self._tag)
        keys = [self._pending, wire.stats_key(self._tag), history]
        with suppress(RedisError, OSError):
            limits = [wire.STATS_TTL_S, wire.HISTORY_ENTRIES_MAX, COUNTERS_MAX]
            kind = await _note(self._redis, keys, [*limits, *thinned(self._heard)])
            return f"{history} is a {kind.decode()}, not a stream; rename or delete it" if kind else None
        return None


def _record(key: str, reply: Any) -> Fields | Unusable:
    if isinstance(reply, bytes):
        return Unusable("wrong_type", f"a {reply.decode()}, not a record, stands at its key: rename or delete it")
    if reply and isinstance(reply[0], int):
        fields, size = reply
        what = f"{fields:,} fields" + (f" and {size:,} bytes" if size else "")
        most = f"{RECORD_FIELDS_MAX:,} fields, {RECORD_BYTES_MAX:,} bytes"
        read = f"HSCAN {shlex.quote(key)} 0 COUNT 10"
        detail = f"the record has {what}; at most {most} become a row. Read it in parts: {read}"
        return Unusable("record_too_large", detail)
    return _fields(reply)


def _fields(reply: Sequence[bytes]) -> Fields:
    # surrogateescape: a field that is not UTF-8 must come back unchanged when it is moved.
    return [(reply[i].decode("utf-8", "surrogateescape"), reply[i + 1]) for i in range(0, len(reply), 2)]
