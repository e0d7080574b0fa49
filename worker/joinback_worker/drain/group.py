"""The consumer group of a pending stream: claims as leases, kept, given back, and tidied up after the dead.

Entries whose worker has not settled them within the lease are claimed by another, so nothing here depends on a
worker staying alive or being the only one.
"""

import os
import secrets
import socket
import time
from collections.abc import AsyncGenerator, Iterable, Sequence
from functools import cache
from typing import Any, NamedTuple

from redis.asyncio import Redis
from redis.exceptions import NoPermissionError

from joinback import wire
from joinback_worker.connection.scripts import Script

CLAIM_ENTRIES = 1_000
"""Of one call to Redis: some milliseconds in which it serves nobody else."""
LEASE_S = 60.0
"""Many times what a slice takes; a worker that died keeps its entries waiting no longer than this."""
IDLE_CONSUMER_S = 3_600
"""A consumer that has held nothing for so long is nobody's: who looks at night still sees it, and one that lives,
with whatever interval, is made again by its next read."""

PARKED = "waits-for-a-newer-worker"
"""The consumer that holds entries whose events no worker here can read: so that they are told from those that wait,
by XINFO CONSUMERS as well. Their lease runs out like any other, and the next drain looks whether it can read them."""

_retire = Script("drain/retire.lua")
_trimmed = Script("drain/trimmed.lua")


class Entry(NamedTuple):
    """One pending event's notice that its record changed."""

    id: bytes
    join_key: str | None
    """None: the entry names no readable key."""
    kind: bytes | None = None
    event_id: bytes | None = None

    @property
    def field(self) -> str | None:
        """The event's field in the record, `<kind>:<event_id>`. None: a client of before wrote no id."""
        if not self.kind or not self.event_id:
            return None
        return f"{self.kind.decode(errors='replace')}:{self.event_id.decode(errors='replace')}"


def consumer_name() -> str:
    """Return this process's name in all consumer groups, for whoever reads XINFO CONSUMERS at night."""
    return _consumer_of(os.getpid())


@cache
def _consumer_of(pid: int) -> str:
    return f"{socket.gethostname()}:{pid}:{secrets.token_hex(3)}"


class Group:
    """One tag's pending stream and its group, as seen by one cycle of one worker."""

    def __init__(self, redis: Redis, tag: str, consumer: str, lease_s: float, claim_entries: int) -> None:
        self._redis = redis
        self._pending = wire.pending_key(tag)
        self._consumer = consumer
        self.lease_s = lease_s
        self._lease_ms = int(lease_s * 1000)
        self._claim_entries = claim_entries

    async def claims(self) -> AsyncGenerator[list[Entry], None]:
        """Claimed entries: first those whose lease has run out, then what came before this moment, oldest first.

        One pass over the abandoned ones, so that what this cycle releases is left to the next. What comes later is
        left to it too: a drain ends, whatever clients log meanwhile.
        """
        newest = await self._newest()
        if newest is None:
            return
        cursor: bytes = b"0-0"
        while True:
            cursor, replies, *_ = await self._redis.execute_command(
                "XAUTOCLAIM", self._pending, wire.GROUP, self._consumer, self._lease_ms, cursor,
                "COUNT", self._claim_entries,
            )  # fmt: skip
            if claimed := _entries(replies):
                yield claimed
            if len(claimed) < len(replies):
                await self._forget_trimmed()
            if cursor == b"0-0":
                break
        while True:
            reply = await self._redis.execute_command(
                # As one word, which redis-py does not know: it would make a dict of each entry.
                "XREADGROUP GROUP", wire.GROUP, self._consumer, "COUNT", self._claim_entries,
                "STREAMS", self._pending, ">",
            )  # fmt: skip
            fresh = _entries(reply[0][1]) if reply else []
            if fresh:
                yield fresh
            if len(fresh) < self._claim_entries or _place(fresh[-1].id) >= newest:
                return

    async def keep(self, entries: Iterable[Entry], claimed_at: float) -> float:
        """Renew the lease, if a third of it has passed; return since when it counts, on the monotonic clock."""
        now = time.monotonic()
        if (now - claimed_at) * 3 <= self.lease_s:
            return claimed_at
        await self.renew(entries)
        return now

    async def renew(self, entries: Iterable[Entry]) -> None:
        """Begin the lease of these entries anew."""
        await self._set_idle(entries, 0)

    async def release(self, entries: Iterable[Entry]) -> None:
        """Give up the lease now: the next claim, by anyone, takes these entries."""
        await self._set_idle(entries, self._lease_ms)

    async def park(self, entries: Iterable[Entry]) -> None:
        """Leave entries of a newer client to whoever can read them, once the lease has run out."""
        await self._set_idle(entries, 0, PARKED)

    async def retire(self) -> None:
        """Leave the group, unless entries are still claimed under this name; they keep their lease."""
        await _retire(self._redis, [self._pending], [wire.GROUP, self._consumer])

    async def _set_idle(self, entries: Iterable[Entry], idle_ms: int, consumer: str | None = None) -> None:
        ids = [entry.id for entry in entries]
        for first in range(0, len(ids), CLAIM_ENTRIES):
            await self._redis.execute_command(
                "XCLAIM", self._pending, wire.GROUP, consumer or self._consumer, 0, *ids[first : first + CLAIM_ENTRIES],
                "IDLE", idle_ms, "JUSTID", parse_justid=True,
            )  # fmt: skip

    async def _newest(self) -> tuple[int, int] | None:
        """The newest entry's place; None if there is nothing to claim.

        A stream that lost its group gets it back, from its start.
        """
        found = await self._redis.execute_command("XREVRANGE", self._pending, "+", "-", "COUNT", 1)
        if not found:
            return None
        groups = await self._redis.execute_command("XINFO GROUPS", self._pending)
        ours = [group for group in groups if group["name"] == wire.GROUP.encode()]
        # Asked first, because a full Redis refuses XGROUP CREATE even for a group that exists.
        if not ours:
            await self._redis.execute_command("XGROUP CREATE", self._pending, wire.GROUP, "0")
        elif ours[0]["consumers"]:
            await self._bid_farewell()
        return _place(found[0][0])

    async def _bid_farewell(self) -> None:
        """Remove consumers that hold nothing and have been idle for long: their workers were killed."""
        try:
            consumers: Sequence[dict[str, Any]] = await self._redis.execute_command(
                "XINFO CONSUMERS", self._pending, wire.GROUP
            )
        except NoPermissionError:
            return  # a login of before: they stay, and harm nothing
        idle = [c["name"] for c in consumers if not c["pending"] and c["idle"] > IDLE_CONSUMER_S * 1000]
        if idle:
            await _retire(self._redis, [self._pending], [wire.GROUP, *idle])

    async def _forget_trimmed(self) -> None:
        """Redis 6.2 hands over claims on entries that the stream has let go, and keeps them for ever."""
        await _trimmed(self._redis, [self._pending], [wire.GROUP, self._consumer, 10 * self._claim_entries])


_NAMES = [b"key", b"kind", b"id"]
"""What write.lua writes, in its order. Another producer may write more, or less."""


def _place(entry_id: bytes) -> tuple[int, int]:
    milliseconds, _, number = entry_id.partition(b"-")
    return int(milliseconds), int(number)


def _entries(replies: Iterable[tuple[bytes | None, Any]]) -> list[Entry]:
    """Return the entries of XREADGROUP's reply, flat as Redis sent it, or of XAUTOCLAIM's, which are dicts."""
    claimed = []
    for entry_id, fields in replies:
        if entry_id is None:
            continue  # Redis 6.2's XAUTOCLAIM lists what was trimmed meanwhile
        if type(fields) is list and len(fields) == 6 and fields[::2] == _NAMES:
            _, key, _, kind, _, event_id = fields
        else:
            named = fields if isinstance(fields, dict) else dict(zip(fields[::2], fields[1::2], strict=True))
            key, kind, event_id = map(named.get, _NAMES)
        try:
            join_key = None if key is None else key.decode()
        except UnicodeDecodeError:
            join_key = None
        claimed.append(Entry(entry_id, join_key, kind, event_id))
    return claimed
