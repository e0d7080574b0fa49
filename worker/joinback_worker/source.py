"""The worker's side of Redis: load the records of claimed entries, settle what became of them, keep the books."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from msgspec import Raw, Struct
from redis.asyncio import Redis
from redis.exceptions import RedisError

from joinback import wire

from .accounting import Accounting, is_counted
from .fields_seen import FieldsSeen
from .fold import Rejected
from .group import CLAIM_ENTRIES, LEASE_S, Entry, Group, consumer_name
from .pace import SLICE_BYTES
from .scripts import Script

RECORD_FIELDS_MAX = 4 * wire.RECORD_EVENTS_MAX
"""The write script lets in twice the cap, and each may have a late mark; more were written by hand."""
RECORD_BYTES_MAX = 32 << 20
"""A worker needs up to eleven times of it to make the row (measured into SQLite, into a row that is there already),
and so still lives in a container of 512 MiB; one that is killed for it would come back and claim the same again."""

_load = Script("load.lua")
_settle = Script("settle.lua")
_account = Script("account.lua")
_note = Script("note.lua")

COUNTERS_MAX = 100
"""Of one entry of the history: there are some thirty, and Lua's stack ends at some thousands."""


Elsewhere = Callable[[str], Sequence[str]]
"""Join key -> the other tags that may hold a part of its record."""


class DeadEntry(NamedTuple):
    entry: Entry
    reason: str
    detail: str


class Unusable(NamedTuple):
    """What stands at a record's key and cannot become a row."""

    reason: str
    detail: str


Fields = list[tuple[str, bytes]]
"""A record as Redis holds it; empty if it is gone."""


class Settlement(Struct, kw_only=True):
    """What became of a claim."""

    in_rows: list[Entry] = []
    unemitted: list[Entry] = []
    dead: list[DeadEntry] = []
    rejected: list[Rejected] = []
    counters: dict[str, int] = {}
    settled: Mapping[str, Sequence[str]] = {}
    """Join key -> its fields, of records that the sink has whole and can look up."""
    settled_ttl_s: int = 0
    """How long Redis keeps those."""


async def applications(redis: Redis) -> dict[str, wire.Application]:
    """Every application that a client has announced. An entry that is no valid JSON counts as one shard."""
    found: dict[bytes, bytes] = await redis.execute_command("HGETALL", wire.APPLICATIONS_KEY)
    known = {}
    for name, value in found.items():
        known[name.decode(errors="replace")] = wire.decode_application(value) or wire.Application()
    return known


class Source:
    """One tag in Redis, as seen by one cycle of one worker."""

    def __init__(
        self,
        redis: Redis,
        tag: str,
        *,
        consumer: str | None = None,
        lease_s: float = LEASE_S,
        chunk_entries: int = CLAIM_ENTRIES,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self._redis = redis
        self._tag = tag
        self._elsewhere = elsewhere
        self._foreign: dict[str, set[str]] = {}
        """Of the records loaded last the fields that stand under other tags."""
        self._pending = wire.pending_key(tag)
        self.group = Group(redis, tag, consumer or consumer_name(), lease_s, chunk_entries)

    async def load(self, join_keys: Sequence[str], *, bytes_max: int = SLICE_BYTES) -> list[Fields | Unusable]:
        """The records of the first of these keys, in order: what fits into so many bytes, and one at least.

        With each, where there is something, what the same record holds under the tags of other shards.
        """
        keys = [wire.record_key(self._tag, key) for key in join_keys]
        replies = await _load(self._redis, keys, [bytes_max, RECORD_FIELDS_MAX, RECORD_BYTES_MAX])
        loaded = [_record(key, reply) for key, reply in zip(keys, replies, strict=False)]
        self._foreign = {}
        if self._elsewhere is not None:
            await self._add_halves(self._elsewhere, join_keys, loaded, bytes_max)
        return loaded

    async def _add_halves(
        self, elsewhere: Elsewhere, join_keys: Sequence[str], loaded: Sequence[Fields | Unusable], bytes_max: int
    ) -> None:
        by_tag: dict[str, dict[str, Fields]] = {}
        for join_key, record in zip(join_keys, loaded, strict=False):
            if record and not isinstance(record, Unusable):
                for tag in elsewhere(join_key):
                    by_tag.setdefault(tag, {})[join_key] = record
        for tag, records in by_tag.items():
            source, waiting = Source(self._redis, tag), list(records)
            while waiting:
                for half in await source.load(waiting, bytes_max=bytes_max):
                    join_key = waiting.pop(0)
                    # What is no record there is told by the drain of that tag.
                    if not isinstance(half, Unusable):
                        held = {field for field, _ in records[join_key]}
                        more = [event for event in half if event[0] not in held]
                        records[join_key] += more
                        self._foreign.setdefault(join_key, set()).update(field for field, _ in more)

    async def settle(self, settlement: Settlement) -> int:
        """Acknowledge, delete and count the entries, and write their dead letters: all in one step.

        Returns the number of dead letters written. Call it only after the sink has the rows.
        """
        outcomes = [
            (outcome, len(entries), *(entry.id for entry in entries))
            for outcome, entries in (("in_rows", settlement.in_rows), ("unemitted", settlement.unemitted))
        ]
        dead = [(d.entry.id, d.entry.join_key or "", d.reason, d.detail) for d in settlement.dead]
        rejected = [(e.join_key, _raw(e.field), e.reason, e.detail, e.payload, e.mark) for e in settlement.rejected]
        # In one argument: no event's field has a line feed, and each argument costs as much as a field.
        settled = [
            ("\n".join(field for field in fields if field not in self._foreign.get(join_key, ())),)
            for join_key, fields in settlement.settled.items()
        ]
        keys = [self._pending, wire.stats_key(self._tag), wire.dead_key(self._tag)]
        keys += [wire.record_key(self._tag, event.join_key) for event in settlement.rejected]
        keys += [wire.record_key(self._tag, join_key) for join_key in settlement.settled]
        arguments: list[Any] = [wire.STATS_TTL_S, wire.DEAD_TTL_S, wire.DEAD_LETTERS_MAX, wire.LATE_MARK_TTL_S]
        arguments.append(settlement.settled_ttl_s)
        for rows in (settlement.counters.items(), outcomes, dead, rejected, settled):
            arguments.append(len(rows))
            for row in rows:
                arguments.extend(row)
        return int(await _settle(self._redis, keys, arguments))

    async def note_fields(self, seen: FieldsSeen, application: str, told: Sequence[Mapping[str, Raw]]) -> None:
        """Note the feedback fields that a slice brought, and their values that are not as declared."""
        await seen.note(self._redis, self._tag, application, told)

    async def accounting(self) -> Accounting:
        """The books. What somebody wrote between them is told in them, and hides nothing else."""
        pending, age_ms, flat = await _account(self._redis, [self._pending, wire.stats_key(self._tag)])
        return books_of(self._tag, pending, flat, max(0, age_ms) / 1000)

    async def note(self) -> str | None:
        """Note the counters as they are now, for rates and curves; return why it cannot be done, in one line.

        What a full Redis refuses, or one that is away does not answer, is no matter: the next drain notes the same.
        """
        history = wire.history_key(self._tag)
        keys = [self._pending, wire.stats_key(self._tag), history]
        with suppress(RedisError, OSError):
            kind = await _note(self._redis, keys, [wire.STATS_TTL_S, wire.HISTORY_ENTRIES_MAX, COUNTERS_MAX])
            return f"{history} is a {kind.decode()}, not a stream; rename or delete it" if kind else None
        return None


def books_of(tag: str, pending: int | bytes, flat: Sequence[bytes] | bytes, oldest_pending_s: float) -> Accounting:
    """Return the books of a tag from what a script read: in place of each part the name of a type that is foreign."""
    stats, troubles = wire.stats_key(tag), []
    if isinstance(pending, bytes):
        troubles.append(f"{wire.pending_key(tag)} is a {pending.decode()}, not a stream; rename or delete it")
        pending = 0
    if isinstance(flat, bytes):
        troubles.append(f"{stats} is a {flat.decode()}, not a hash; rename or delete it")
        flat = []
    counts = {}
    for name, value in zip(flat[::2], flat[1::2], strict=True):
        try:
            counts[name.decode(errors="backslashreplace")] = int(value)
        except ValueError:
            shown = name.decode(errors="backslashreplace")[:100]
            fix = "HSET it to the number that brings the difference to 0" if is_counted(shown) else "HDEL it"
            troubles.append(f"{shown!r} in {stats} is no number; {fix}")
    books = Accounting.of(counts, pending=pending, oldest_pending_s=oldest_pending_s)
    books.troubles = troubles
    return books


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
    # surrogateescape: a field that is no UTF-8 must come back unchanged when it is moved.
    return [(reply[i].decode(errors="surrogateescape"), reply[i + 1]) for i in range(0, len(reply), 2)]


def _raw(field: str) -> bytes:
    return field.encode(errors="surrogateescape")
