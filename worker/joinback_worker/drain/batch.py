"""Batches: claimed entries with their records, read and decoded. One merge into the sink takes one batch.

The next batch is read while the sink writes the last one. Entries stay claimed from the moment they are read from the
stream until they are settled or given back.
"""

import asyncio
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from itertools import chain, islice

from msgspec import Struct, field
from redis.exceptions import TimeoutError as RedisTimeoutError

from joinback_worker.law.declared import strict_troubles
from joinback_worker.law.record_hash import Bad, ReadHash, read_hash
from joinback_worker.law.rules import Rules

from .group import Entry
from .pace import SLICE_BYTES, Pace
from .settlement import DeadEntry
from .source import REDIS_TROUBLE, Fields, Source, Unusable

AGE_PER_LEASE = 3
"""A batch is handed on once a third of its lease has passed, however few records a slow link has brought: the rest of
the lease is for the merge."""


class Batch(Struct, kw_only=True):
    """Claimed entries, sorted by what was found when their records were read."""

    claimed_at: float
    """When the first of them was claimed, by the monotonic clock, in seconds."""
    by_key: dict[str, list[Entry]] = field(default_factory=dict)
    """Join key -> entries whose record was read."""
    read: dict[str, ReadHash] = field(default_factory=dict)
    """Join key -> the record that was read; the same keys as `by_key`."""
    foreign: dict[str, set[str]] = field(default_factory=dict)
    """Join key -> the fields of its record that stand under other tags."""
    gone: dict[str, list[Entry]] = field(default_factory=dict)
    """Join key -> entries whose record Redis does not hold any more."""
    dead: list[DeadEntry] = field(default_factory=list)
    """Entries whose record cannot become a row."""
    erased: list[Entry] = field(default_factory=list)
    """Entries of erased join keys."""
    bytes: int = 0
    """How many bytes of payload its records have."""
    size: int = 0
    """How many entries it has."""

    def entries(self) -> Iterator[Entry]:
        """Yield all entries of the batch."""
        return chain(
            chain.from_iterable(self.by_key.values()),
            chain.from_iterable(self.gone.values()),
            (dead.entry for dead in self.dead),
            self.erased,
        )

    def join_keys(self) -> set[str]:
        """Return the join keys of all entries but those in `erased`."""
        return {*self.by_key, *self.gone, *(dead.entry.join_key for dead in self.dead if dead.entry.join_key)}

    def erase(self, join_keys: Collection[str]) -> None:
        """Move the entries of these keys to `erased`, and forget their records."""
        for key in join_keys:
            self.erased += [*self.by_key.pop(key, ()), *self.gone.pop(key, ())]
            self.read.pop(key, None)
        self.erased += [dead.entry for dead in self.dead if dead.entry.join_key in join_keys]
        self.dead = [dead for dead in self.dead if dead.entry.join_key not in join_keys]

    def bury(self, dead: DeadEntry) -> None:
        """Add an entry whose record cannot become a row."""
        self.dead.append(dead)
        self.size += 1


class Reader:
    """Reads batch after batch from a tag, one batch ahead of the merges. Make one per drain."""

    def __init__(self, source: Source, application: str, rules: Rules, pace: Pace) -> None:
        self._source = source
        self._application = application
        self._rules = rules
        self._pace = pace
        self._claims = source.group.claims()
        self._claimed_at = 0.0
        self._unread: dict[str, list[Entry]] = {}
        """Join key -> claimed entries whose record is not read yet."""
        self._filling: Batch | None = None
        self._handed_on: Batch | None = None
        self._ahead: asyncio.Task[Batch | None] | None = None
        self._stops = False
        self.claimed = 0
        """How many entries it has claimed."""

    def read_ahead(self) -> None:
        """Start to read the next batch, unless the last one is so large that memory should not hold both."""
        if self._ahead is None and (self._handed_on is None or self._handed_on.bytes <= SLICE_BYTES):
            # In a task of its own, which is not cancelled with this one: a lost reply would leave claims nobody knows.
            self._ahead = asyncio.create_task(self._fill())

    async def next(self) -> Batch | None:
        """Return the next batch; None if nothing is left of what was pending at the start.

        Raises what redis-py raises.
        """
        self.read_ahead()
        assert self._ahead is not None
        await asyncio.wait({self._ahead})
        task, self._ahead = self._ahead, None
        self._handed_on, self._filling = task.result(), None
        return self._handed_on

    def settled(self) -> None:
        """Forget the batch that was handed on last: its entries are settled, so they are not claimed any more."""
        self._handed_on = None

    async def keep(self, batch: Batch) -> None:
        """Renew the lease of this batch if a third of it has passed."""
        batch.claimed_at = await self._source.group.keep(batch.entries(), batch.claimed_at)

    async def give_back(self) -> int:
        """Stop, and release the claims that are not settled: the next drain takes them at once. Return their number."""
        self._stops = True
        if self._ahead is not None:
            await asyncio.wait({self._ahead})
            self._ahead.exception()  # take it, or asyncio logs it; the drain ends anyway
        await self._claims.aclose()
        batches = filter(None, (self._handed_on, self._filling))
        left = [*self._unread_entries(), *chain.from_iterable(batch.entries() for batch in batches)]
        # If Redis does not answer, the lease ends by itself.
        with suppress(*REDIS_TROUBLE):
            await self._source.group.release(left)
        return len(left)

    def _unread_entries(self) -> Iterator[Entry]:
        return chain.from_iterable(self._unread.values())

    async def _fill(self) -> Batch | None:
        batch = self._filling = Batch(claimed_at=time.monotonic())
        if self._unread:
            batch.claimed_at = self._claimed_at
        is_open = True
        while is_open and not self._stops:
            if self._unread:
                is_open = await self._read(batch) and not self._is_full(batch)
            else:
                is_open = batch.size < self._pace.merge_entries and await self._claim(batch)
        return batch if batch.size else None

    async def _claim(self, batch: Batch) -> bool:
        """Claim more entries. Return False if nothing is left."""
        self._claimed_at = time.monotonic()
        entries = await anext(self._claims, None)
        if entries is None:
            return False
        self.claimed += len(entries)
        for entry in entries:
            if entry.join_key is None:
                batch.bury(DeadEntry(entry, "unreadable_entry", "no join key in UTF-8"))
            else:
                self._unread.setdefault(entry.join_key, []).append(entry)
        return True

    async def _read(self, batch: Batch) -> bool:
        """Read a slice: records of claimed entries, into the batch. Return False if the next record has no room."""
        keys = list(islice(self._unread, self._pace.records))
        room = min(SLICE_BYTES - batch.bytes, self._pace.bytes)
        each = self._pace.record_bytes
        expected = None if each is None else each * len(keys)
        try:
            records = await self._source.load(
                keys, bytes_max=room, bytes_expected=expected, one_at_least=not batch.size
            )
            foreign = await self._source.complete(keys, records, bytes_max=self._pace.bytes)
        except RedisTimeoutError:
            if not self._pace.shrink():
                raise
            # If Redis answers this, it is not away: the slice was too large for the link.
            await self._source.group.renew(chain(self._unread_entries(), batch.entries()))
            batch.claimed_at = self._claimed_at = time.monotonic()
            return True
        self._pace.grow()
        sizes = [sum([len(payload) for _, payload in record]) for record in records if type(record) is list]
        self._pace.record_bytes = sum(sizes) // len(sizes) + 1 if sizes else None
        batch.bytes += sum(sizes)
        for key, record in zip(keys, records, strict=False):
            if not self._add(batch, key, record, foreign.get(key)):
                return False
            del self._unread[key]
        return bool(records)

    def _add(self, batch: Batch, key: str, record: Fields | Unusable, foreign: set[str] | None) -> bool:
        """Add a record and its claimed entries. Return False, and do nothing, if it must wait for the next batch."""
        entries, before = self._unread[key], batch.read.get(key)
        if isinstance(record, Unusable):
            for entry in entries:
                batch.bury(DeadEntry(entry, *record))
            return True
        found = read_hash(self._application, key, record)
        if before is not None:
            # The key came again in this batch, so its record was read again. If that lost a field, merge both readings.
            if not found.payloads.keys() >= before.payloads.keys():
                return False
            entries = batch.by_key[key] + entries
        batch.size += len(self._unread[key])
        # A record that holds nothing but late marks is gone too.
        if not found.payloads:
            batch.gone[key] = entries
            return True
        if self._rules.strict:
            self._check(found, entries)
        batch.by_key[key], batch.read[key] = entries, found
        if foreign is not None:
            batch.foreign[key] = foreign
        return True

    def _check(self, found: ReadHash, entries: Iterable[Entry]) -> None:
        """Make those events of these entries bad that break a strict rule.

        Other events of the record stay: the sink may hold them since before the rule.
        """
        incoming = {entry.field for entry in entries}
        # An old client writes no event id into its entry. Then any feedback of the record may be the incoming event.
        is_unnamed = any(entry.field is None and entry.kind != b"prediction" for entry in entries)
        for event_id, why in strict_troubles(found.record, self._rules).items():
            if (field := f"feedback:{event_id}") in incoming or is_unnamed:
                found.bad[field] = Bad("breaks_declaration", why)
                del found.record.feedback[event_id]

    def _is_full(self, batch: Batch) -> bool:
        lease_s = self._source.group.lease_s
        return batch.bytes >= SLICE_BYTES or time.monotonic() - batch.claimed_at > lease_s / AGE_PER_LEASE
