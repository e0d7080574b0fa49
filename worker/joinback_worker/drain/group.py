"""The consumer group of a pending stream: claims are leases, which are renewed, given back, or taken over.

If a worker has not settled its entries within the lease, another worker claims them. So nothing here depends on a
worker that stays alive, or on there being only one.
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
"""The most entries that one call to Redis claims: Redis serves nobody else during those milliseconds."""
LEASE_S = 60.0
"""How long a claim holds. A slice takes far less; and if a worker dies, its entries wait no longer than this."""
IDLE_CONSUMER_S = 3_600
"""A consumer that holds no entry and has been idle for so long is removed. An hour, so that who looks after a crash
still sees it. If its worker lives after all, the worker's next read makes the consumer again."""

PARKED = "waits-for-a-newer-worker"
"""The consumer that holds entries whose events this worker cannot read, because a newer client wrote them. XINFO
CONSUMERS shows them apart from entries that wait. Their lease ends like any other, and the next drain tries again."""

_retire = Script("drain/retire.lua")
_trimmed = Script("drain/trimmed.lua")


class Entry(NamedTuple):
    """One entry of the pending stream: it says that an event was added to a record."""

    id: bytes
    """The entry's own id in the stream."""
    join_key: str | None
    """None: the entry has no join key, or one that is not UTF-8."""
    kind: bytes | None = None
    event_id: bytes | None = None

    @property
    def field(self) -> str | None:
        """The event's field in the record, `<kind>:<event_id>`. None: the entry has no event id (an old client)."""
        if not self.kind or not self.event_id:
            return None
        return f"{self.kind.decode(errors='replace')}:{self.event_id.decode(errors='replace')}"


def consumer_name() -> str:
    """Return this process's name in all consumer groups: `host:pid:` and six hex digits, to be read by a person."""
    return _consumer_of(os.getpid())


def process_of(consumer: str) -> str:
    """Return the `host:pid` of a consumer's name, which is how people know a worker; another name as it is."""
    return consumer.rpartition(":")[0] or consumer


@cache
def _consumer_of(pid: int) -> str:
    return f"{socket.gethostname()}:{pid}:{secrets.token_hex(3)}"


class Group:
    """One tag's pending stream and its consumer group, for one drain by one worker."""

    def __init__(self, redis: Redis, tag: str, consumer: str, lease_s: float, claim_entries: int) -> None:
        self._redis = redis
        self._pending = wire.pending_key(tag)
        self._consumer = consumer
        self.lease_s = lease_s
        self._lease_ms = int(lease_s * 1000)
        self._claim_entries = claim_entries

    async def claims(self) -> AsyncGenerator[list[Entry], None]:
        """Claim entries and yield them in lists: first those whose lease has ended, then new ones, oldest first.

        Leases are passed over once, so entries that this drain releases are left to the next drain. So are entries
        that come after the first call: a drain ends, however much clients log meanwhile.
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
                # One word for the command, which redis-py does not know: else it would make a dict of each entry.
                "XREADGROUP GROUP", wire.GROUP, self._consumer, "COUNT", self._claim_entries,
                "STREAMS", self._pending, ">",
            )  # fmt: skip
            fresh = _entries(reply[0][1]) if reply else []
            if fresh:
                yield fresh
            if len(fresh) < self._claim_entries or _place(fresh[-1].id) >= newest:
                return

    async def keep(self, entries: Iterable[Entry], claimed_at: float) -> float:
        """Renew the lease of these entries if a third of it has passed. Return when it began (monotonic clock)."""
        now = time.monotonic()
        if (now - claimed_at) * 3 <= self.lease_s:
            return claimed_at
        await self.renew(entries)
        return now

    async def renew(self, entries: Iterable[Entry]) -> None:
        """Start the lease of these entries anew."""
        await self._set_idle(entries, 0)

    async def release(self, entries: Iterable[Entry]) -> None:
        """End the lease now: the next claim by any worker takes these entries."""
        await self._set_idle(entries, self._lease_ms)

    async def park(self, entries: Iterable[Entry]) -> None:
        """Give entries of a newer client to the consumer PARKED. When their lease ends, any worker may claim them."""
        await self._set_idle(entries, 0, PARKED)

    async def retire(self) -> None:
        """Leave the group, unless entries are still claimed under this name: then they keep their lease."""
        await _retire(self._redis, [self._pending], [wire.GROUP, self._consumer])

    async def _set_idle(self, entries: Iterable[Entry], idle_ms: int, consumer: str | None = None) -> None:
        ids = [entry.id for entry in entries]
        for first in range(0, len(ids), CLAIM_ENTRIES):
            await self._redis.execute_command(
                "XCLAIM", self._pending, wire.GROUP, consumer or self._consumer, 0, *ids[first : first + CLAIM_ENTRIES],
                "IDLE", idle_ms, "JUSTID", parse_justid=True,
            )  # fmt: skip

    async def _newest(self) -> tuple[int, int] | None:
        """Return the place of the newest entry (`_place`); None if the stream is empty.

        If the stream has no group, make it, from the start of the stream. Remove consumers of dead workers.
        """
        found = await self._redis.execute_command("XREVRANGE", self._pending, "+", "-", "COUNT", 1)
        if not found:
            return None
        groups = await self._redis.execute_command("XINFO GROUPS", self._pending)
        ours = [group for group in groups if group["name"] == wire.GROUP.encode()]
        # Look first, because a full Redis refuses XGROUP CREATE even if the group exists.
        if not ours:
            await self._redis.execute_command("XGROUP CREATE", self._pending, wire.GROUP, "0")
        elif ours[0]["consumers"]:
            await self._remove_idle_consumers()
        return _place(found[0][0])

    async def _remove_idle_consumers(self) -> None:
        """Remove consumers that hold no entry and have been idle for IDLE_CONSUMER_S: their workers were killed."""
        try:
            consumers: Sequence[dict[str, Any]] = await self._redis.execute_command(
                "XINFO CONSUMERS", self._pending, wire.GROUP
            )
        except NoPermissionError:
            return  # the login was made for an older release; idle consumers stay, which does no harm
        idle = [c["name"] for c in consumers if not c["pending"] and c["idle"] > IDLE_CONSUMER_S * 1000]
        if idle:
            await _retire(self._redis, [self._pending], [wire.GROUP, *idle])

    async def _forget_trimmed(self) -> None:
        """Acknowledge claimed entries that the stream has trimmed: Redis 6.2 would keep those claims for ever."""
        await _trimmed(self._redis, [self._pending], [wire.GROUP, self._consumer, 10 * self._claim_entries])


_NAMES = [b"key", b"kind", b"id"]
"""The fields of an entry as write.lua writes them, in this order. Another producer may write more or fewer."""


def _place(entry_id: bytes) -> tuple[int, int]:
    """Return an entry id as numbers, (milliseconds, sequence number), which order entries."""
    milliseconds, _, number = entry_id.partition(b"-")
    return int(milliseconds), int(number)


def _entries(replies: Iterable[tuple[bytes | None, Any]]) -> list[Entry]:
    """Return the entries of a reply. XREADGROUP's fields are a flat list, as Redis sent it; XAUTOCLAIM's are a dict."""
    claimed = []
    for entry_id, fields in replies:
        if entry_id is None:
            continue  # Redis 6.2's XAUTOCLAIM also lists entries that were trimmed
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
