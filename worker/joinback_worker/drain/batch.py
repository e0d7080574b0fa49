"""Batches: claimed entries with their records, read and folded; each is what one merge into the sink takes.

The next batch is read while the sink writes the last one. Entries stay claimed from the moment they are read until
they are settled or given back, whoever holds them meanwhile.
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
"""A batch is handed on before a third of its lease has passed, however little a slow link has brought."""


class Batch(Struct, kw_only=True):
    """Claimed entries, by what became of their records when they were read."""

    claimed_at: float
    """Of the first of them, on the monotonic clock."""
    by_key: dict[str, list[Entry]] = field(default_factory=dict)
    """Of the records that were read."""
    folded: dict[str, ReadHash] = field(default_factory=dict)
    """Those records, each folded once."""
    foreign: dict[str, set[str]] = field(default_factory=dict)
    """Of these records the fields that stand under other tags."""
    gone: dict[str, list[Entry]] = field(default_factory=dict)
    """Of the records that are not there any more."""
    dead: list[DeadEntry] = field(default_factory=list)
    """Without a record that could become a row."""
    erased: list[Entry] = field(default_factory=list)
    """Of join keys that were erased."""
    bytes: int = 0
    size: int = 0
    """How many entries."""

    def entries(self) -> Iterator[Entry]:
        return chain(
            chain.from_iterable(self.by_key.values()),
            chain.from_iterable(self.gone.values()),
            (dead.entry for dead in self.dead),
            self.erased,
        )

    def join_keys(self) -> set[str]:
        """Return the keys of all entries that are not erased."""
        return {*self.by_key, *self.gone, *(dead.entry.join_key for dead in self.dead if dead.entry.join_key)}

    def erase(self, join_keys: Collection[str]) -> None:
        """Forget what was read of these keys, and keep their entries as erased."""
        for key in join_keys:
            self.erased += [*self.by_key.pop(key, ()), *self.gone.pop(key, ())]
            self.folded.pop(key, None)
        self.erased += [dead.entry for dead in self.dead if dead.entry.join_key in join_keys]
        self.dead = [dead for dead in self.dead if dead.entry.join_key not in join_keys]

    def bury(self, dead: DeadEntry) -> None:
        self.dead.append(dead)
        self.size += 1


class Reader:
    """Reads batch after batch from a tag, one ahead of whoever merges them."""

    def __init__(self, source: Source, application: str, rules: Rules, pace: Pace) -> None:
        self._source = source
        self._application = application
        self._rules = rules
        self._pace = pace
        self._claims = source.group.claims()
        self._claimed_at = 0.0
        self._unread: dict[str, list[Entry]] = {}
        """Claimed, and its records not read yet."""
        self._filling: Batch | None = None
        self._handed_on: Batch | None = None
        self._ahead: asyncio.Task[Batch | None] | None = None
        self._stops = False
        self.claimed = 0
        """How many entries, since it began."""

    def read_ahead(self) -> None:
        """Begin with the next batch, unless the last one is so large that both would be too much to hold."""
        if self._ahead is None and (self._handed_on is None or self._handed_on.bytes <= SLICE_BYTES):
            # In a task that is not cancelled with this one: a reply that is lost is a claim that nobody knows of.
            self._ahead = asyncio.create_task(self._fill())

    async def next(self) -> Batch | None:
        """Return the next batch; None: nothing is left of what was pending at the start. Raises what Redis raises."""
        self.read_ahead()
        assert self._ahead is not None
        await asyncio.wait({self._ahead})
        task, self._ahead = self._ahead, None
        self._handed_on, self._filling = task.result(), None
        return self._handed_on

    def settled(self) -> None:
        """What was handed on last is nobody's claim any more."""
        self._handed_on = None

    async def keep(self, batch: Batch) -> None:
        """Renew the lease of this batch, if a third of it has passed."""
        batch.claimed_at = await self._source.group.keep(batch.entries(), batch.claimed_at)

    async def give_back(self) -> int:
        """End, and release what is not settled, so that the next cycle takes it at once; how many entries that are."""
        self._stops = True
        if self._ahead is not None:
            await asyncio.wait({self._ahead})
            self._ahead.exception()  # of which the cycle ends anyway
        await self._claims.aclose()
        batches = filter(None, (self._handed_on, self._filling))
        left = [*self._unread_entries(), *chain.from_iterable(batch.entries() for batch in batches)]
        # If Redis is away, the lease ends by itself.
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
        """Claim some more. False: there is nothing left."""
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
        """Read a slice into the batch. False: what comes next has no room in it."""
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
            # If Redis answers this, the slice was too large for the link, not Redis away.
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
        """Add a record with what was claimed of it. False, and nothing done: it has to wait for the next batch."""
        entries, before = self._unread[key], batch.folded.get(key)
        if isinstance(record, Unusable):
            for entry in entries:
                batch.bury(DeadEntry(entry, *record))
            return True
        found = read_hash(self._application, key, record)
        if before is not None:
            # Read a second time, for what was claimed since. If it has lost something, both are to be merged.
            if not found.payloads.keys() >= before.payloads.keys():
                return False
            entries = batch.by_key[key] + entries
        batch.size += len(self._unread[key])
        # A record of late marks alone is gone as well.
        if not found.payloads:
            batch.gone[key] = entries
            return True
        if self._rules.strict:
            self._check(found, entries)
        batch.by_key[key], batch.folded[key] = entries, found
        if foreign is not None:
            batch.foreign[key] = foreign
        return True

    def _check(self, found: ReadHash, entries: Iterable[Entry]) -> None:
        """Take out what breaks its declaration, of what comes now: what a sink has by former rules stays."""
        come = {entry.field for entry in entries}
        # A client of before wrote no id: then any feedback of the record may be what comes.
        names_none = any(entry.field is None and entry.kind != b"prediction" for entry in entries)
        for event_id, why in strict_troubles(found.record, self._rules).items():
            if (field := f"feedback:{event_id}") in come or names_none:
                found.bad[field] = Bad("breaks_declaration", why)
                del found.record.feedback[event_id]

    def _is_full(self, batch: Batch) -> bool:
        lease_s = self._source.group.lease_s
        return batch.bytes >= SLICE_BYTES or time.monotonic() - batch.claimed_at > lease_s / AGE_PER_LEASE
