"""The worker's side of Redis: claim pending entries, load records, settle or release the claim, keep the books.

The queue is Redis Streams' own consumer group. A claim is a lease: entries whose worker has not settled them
within it are claimed by another, so nothing here depends on a worker staying alive or being the only one.
"""

import os
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from msgspec import Struct
from redis.asyncio import Redis

from joinback import wire

from .accounting import Accounting
from .fold import Rejected
from .script import Script

CHUNK_ENTRIES = 1_000
"""One chunk is one sink transaction and what a crash repeats; at 1 KB an event it is 1 MB of memory."""
LEASE_S = 60.0
"""Many times what a chunk takes; a worker that died keeps its entries waiting no longer than this."""


Elsewhere = Callable[[str], Sequence[str]]
"""Join key -> the other tags that may hold a part of its record."""


class Entry(NamedTuple):
    """One pending event's notice that its record changed."""

    id: bytes
    join_key: str | None
    """None: the entry names no readable key."""


class DeadEntry(NamedTuple):
    entry: Entry
    reason: str
    detail: str


class Settlement(Struct, kw_only=True):
    """What became of a claim."""

    in_rows: list[Entry] = []
    unemitted: list[Entry] = []
    dead: list[DeadEntry] = []
    rejected: list[Rejected] = []
    counters: dict[str, int] = {}


_load = Script(Path(__file__).with_name("load.lua"))
_settle = Script(Path(__file__).with_name("settle.lua"))
_retire = Script(Path(__file__).with_name("retire.lua"))
_account = Script(Path(__file__).with_name("account.lua"))


async def applications(redis: Redis) -> dict[str, wire.Application]:
    """Every application that a client has announced. An entry that is no valid JSON counts as one shard."""
    found: dict[bytes, bytes] = await redis.execute_command("HGETALL", wire.APPLICATIONS_KEY)
    known = {}
    for name, value in found.items():
        known[name.decode(errors="replace")] = wire.decode_application(value) or wire.Application()
    return known


class Source:
    """One tag's pending stream and records, as seen by one cycle of one worker."""

    def __init__(
        self,
        redis: Redis,
        tag: str,
        *,
        consumer: str | None = None,
        lease_s: float = LEASE_S,
        chunk_entries: int = CHUNK_ENTRIES,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self._redis = redis
        self._tag = tag
        self._elsewhere = elsewhere
        self._pending = wire.pending_key(tag)
        self._lease_ms = int(lease_s * 1000)
        self._chunk_entries = chunk_entries
        # The name is for whoever reads XINFO CONSUMERS at night.
        self._consumer = consumer or f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"

    async def claims(self) -> AsyncIterator[list[Entry]]:
        """Chunks of claimed entries: first those whose lease has run out, then the new ones, oldest first.

        One pass over the abandoned ones, so that what this cycle releases is left to the next.
        """
        if not await self._has_group():
            return
        cursor: bytes = b"0-0"
        while True:
            cursor, entries, *_ = await self._redis.execute_command(
                "XAUTOCLAIM", self._pending, wire.GROUP, self._consumer, self._lease_ms, cursor,
                "COUNT", self._chunk_entries,
            )  # fmt: skip
            if claimed := _entries(entries):
                yield claimed
            if cursor == b"0-0":
                break
        while True:
            reply = await self._redis.execute_command(
                "XREADGROUP", "GROUP", wire.GROUP, self._consumer, "COUNT", self._chunk_entries,
                "STREAMS", self._pending, ">",
            )  # fmt: skip
            fresh = _entries(reply[0][1]) if reply else []
            if fresh:
                yield fresh
            if len(fresh) < self._chunk_entries:
                return

    async def load(self, join_keys: Sequence[str]) -> list[list[tuple[str, bytes]] | str]:
        """Each record's fields and values, in the order of the keys; empty if gone, or its type if no hash.

        With them, where there is something, what the same record holds under the tags of other shards.
        """
        replies = await _load(self._redis, [wire.record_key(self._tag, key) for key in join_keys])
        loaded = [reply.decode() if isinstance(reply, bytes) else _pairs(reply) for reply in replies]
        if self._elsewhere is not None:
            await _add_halves(self._redis, self._elsewhere, join_keys, loaded)
        return loaded

    async def settle(self, settlement: Settlement) -> int:
        """Acknowledge, delete and count the entries, and write their dead letters: all in one step.

        Returns the number of dead letters written. Call it only after the sink has the rows.
        """
        outcomes = [("in_rows", entry.id) for entry in settlement.in_rows]
        outcomes += [("unemitted", entry.id) for entry in settlement.unemitted]
        dead = [(d.entry.id, d.entry.join_key or "", d.reason, d.detail) for d in settlement.dead]
        rejected = [(e.join_key, _raw(e.field), e.reason, e.detail, e.payload, e.mark) for e in settlement.rejected]
        keys = [self._pending, wire.stats_key(self._tag), wire.dead_key(self._tag)]
        keys += [wire.record_key(self._tag, event.join_key) for event in settlement.rejected]
        arguments: list[Any] = [wire.STATS_TTL_S, wire.DEAD_TTL_S, wire.DEAD_LETTERS_MAX, wire.LATE_MARK_TTL_S]
        for rows in (settlement.counters.items(), outcomes, dead, rejected):
            arguments.append(len(rows))
            for row in rows:
                arguments.extend(row)
        return int(await _settle(self._redis, keys, arguments))

    async def release(self, entries: Iterable[Entry]) -> None:
        """Give up the lease now: the next claim, by anyone, takes these entries."""
        ids = [entry.id for entry in entries]
        if ids:
            await self._redis.execute_command(
                "XCLAIM", self._pending, wire.GROUP, self._consumer, 0, *ids,
                "IDLE", self._lease_ms, "JUSTID", parse_justid=True,
            )  # fmt: skip

    async def retire(self) -> None:
        """Leave the group, unless entries are still claimed under this name; they keep their lease."""
        await _retire(self._redis, [self._pending], [wire.GROUP, self._consumer])

    async def accounting(self) -> Accounting:
        pending, age_ms, flat = await _account(self._redis, [self._pending, wire.stats_key(self._tag)])
        counts = {name.decode(): int(value) for name, value in zip(flat[::2], flat[1::2], strict=True)}
        return Accounting.of(counts, pending=pending, oldest_pending_s=max(0, age_ms) / 1000)

    async def _has_group(self) -> bool:
        """Whether there is anything to claim. A stream that lost its group gets it back, from its start."""
        if not await self._redis.execute_command("EXISTS", self._pending):
            return False
        groups = await self._redis.execute_command("XINFO GROUPS", self._pending)
        # Asked first, because a full Redis refuses XGROUP CREATE even for a group that exists.
        if wire.GROUP.encode() not in [group["name"] for group in groups]:
            await self._redis.execute_command("XGROUP CREATE", self._pending, wire.GROUP, "0")
        return True


async def _add_halves(
    redis: Redis, elsewhere: Elsewhere, join_keys: Sequence[str], loaded: Sequence[list[tuple[str, bytes]] | str]
) -> None:
    """Add to each record the events that it has under other tags."""
    by_tag: dict[str, list[tuple[str, list[tuple[str, bytes]]]]] = {}
    for key, record in zip(join_keys, loaded, strict=True):
        if record and not isinstance(record, str):
            for tag in elsewhere(key):
                by_tag.setdefault(tag, []).append((key, record))
    for tag, records in by_tag.items():
        halves = await _load(redis, [wire.record_key(tag, key) for key, _ in records])
        for (_, record), half in zip(records, halves, strict=True):
            # What is no record there is told by the drain of that tag.
            if not isinstance(half, bytes):
                held = {field for field, _ in record}
                record += [event for event in _pairs(half) if event[0] not in held]


def _entries(replies: Iterable[tuple[bytes | None, dict[bytes, bytes]]]) -> list[Entry]:
    claimed = []
    for entry_id, fields in replies:
        if entry_id is None:
            continue  # Redis 6.2's XAUTOCLAIM lists what was trimmed meanwhile
        try:
            join_key = fields[b"key"].decode()
        except (KeyError, UnicodeDecodeError):
            join_key = None
        claimed.append(Entry(entry_id, join_key))
    return claimed


def _pairs(flat: Sequence[bytes]) -> list[tuple[str, bytes]]:
    # surrogateescape: a field that is no UTF-8 must come back unchanged when it is moved.
    return [(flat[i].decode(errors="surrogateescape"), flat[i + 1]) for i in range(0, len(flat), 2)]


def _raw(field: str) -> bytes:
    return field.encode(errors="surrogateescape")
