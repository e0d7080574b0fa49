"""One drain of one tag: claim -> load -> fold -> merge into the sink -> settle, a slice at a time.

The order is the promise: nothing is acknowledged before the sink has it, and whatever stops a cycle, wherever,
leaves entries that the next one claims again. The fold makes the repetition harmless.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from itertools import chain, islice

import structlog
from msgspec import structs
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from .chunk import Work, bury_unreadable, drain_slice
from .drained import Drained
from .errors import SinkUnavailable, WorkerError, described
from .fields_seen import FieldsSeen
from .group import Entry
from .pace import Pace
from .rules import Rules
from .sinks import Sink
from .source import Source

log = structlog.get_logger("joinback")

_REDIS_TROUBLE = (RedisError, ConnectionError, TimeoutError)


async def drain(
    source: Source,
    sink: Sink,
    application: str,
    *,
    emit_joined_only: bool = False,
    settled_ttl_s: int | None = None,
    budget_s: float = float("inf"),
    conditions: Mapping[str, str] | None = None,
    pace: Pace | None = None,
    refusal: Callable[[], Awaitable[str | None]] | None = None,
    rules: Rules | None = None,
    fields_seen: FieldsSeen | None = None,
) -> Drained:
    """Drain what is pending now, slice by slice, until none of it is left or the budget is spent.

    `settled_ttl_s`: how long Redis keeps a record that the sink has whole; None leaves its TTL as it is.
    `conditions` are named troubles of Redis, for the log line. `pace` is for callers that drain again: what a
    time-out taught outlives the cycle. `refusal` is asked at each claim; what it says ends the cycle before anything of
    the claim is written. `rules` are the application's, and `fields_seen` is for callers that drain again.

    Raises what Redis raises. A sink that is unavailable, and trouble nobody foresaw, end the cycle and are told in
    the result. Whatever ends it, what was claimed and not settled is given back.
    """
    drained = Drained()
    started = time.monotonic()
    rules = rules or Rules()
    seen = fields_seen or FieldsSeen(rules)
    work = Work(source, sink, application, emit_joined_only, settled_ttl_s, rules, seen)
    try:
        await _drain_claims(work, pace or Pace(), started + budget_s, drained, refusal)
        await source.group.retire()
        drained.matured = await sink.close_matured(application)
    except _REDIS_TROUBLE:
        raise
    except WorkerError as error:
        drained.error, drained.sink_lost = str(error), isinstance(error, SinkUnavailable)
    except Exception as error:
        drained.error = described(error)
    books = await source.accounting()
    troubles = [*books.troubles, *filter(None, [await source.note()])]
    told = dict(conditions or {}) | ({"books": "; ".join(troubles)} if troubles else {})
    drained.oldest_pending_s = books.oldest_pending_s
    drained.duration_s = round(time.monotonic() - started, 3)
    tell = log.warning if told or drained.error or drained.dead else log.info
    tell("cycle_finished", application=application, **structs.asdict(drained), conditions=told)
    return drained


async def _drain_claims(
    work: Work,
    pace: Pace,
    until: float,
    drained: Drained,
    refusal: Callable[[], Awaitable[str | None]] | None,
) -> None:
    async with aclosing(work.source.group.claims()) as claims:
        async for entries in claims:
            drained.claimed += len(entries)
            claim = _Claim(work, entries, pace)
            try:
                if refusal is not None and (why := await refusal()):
                    drained.error = why
                    return
                drained.unfinished = not await claim.drain(until, drained)
            finally:
                # In a task of its own: in one that is cancelled, redis-py's next look at a connection raises
                # CancelledError on Python before 3.11.3, whose timeouts take the worker's end for theirs.
                drained.released += await asyncio.create_task(claim.give_back())
            if drained.unfinished:
                return


class _Claim:
    """Claimed entries, of which fewer and fewer are left."""

    def __init__(self, work: Work, entries: Sequence[Entry], pace: Pace) -> None:
        self._work = work
        self._pace = pace
        self._unreadable = [entry for entry in entries if entry.join_key is None]
        self._by_key: dict[str, list[Entry]] = {}
        for entry in entries:
            if entry.join_key is not None:
                self._by_key.setdefault(entry.join_key, []).append(entry)

    def _left(self) -> Iterator[Entry]:
        return chain(self._unreadable, chain.from_iterable(self._by_key.values()))

    async def drain(self, until: float, drained: Drained) -> bool:
        """Settle slice by slice. False if the time ran out."""
        drained.dead += await bury_unreadable(self._work, self._unreadable)
        self._unreadable = []
        while self._by_key:
            await self._work.source.group.keep(self._left())
            await self._drain_slice(drained)
            if time.monotonic() > until:
                return False
        return True

    async def _drain_slice(self, drained: Drained) -> None:
        keys = list(islice(self._by_key, self._pace.records))
        try:
            loaded = await self._work.source.load(keys, bytes_max=self._pace.bytes)
        except RedisTimeoutError:
            if not self._pace.shrink():
                raise
            # If Redis answers this, the slice was too large for the link, not Redis away.
            await self._work.source.group.renew(self._left())
            return
        self._pace.grow()
        drained.include(await drain_slice(self._work, self._by_key, loaded))
        for key in keys[: len(loaded)]:
            del self._by_key[key]

    async def give_back(self) -> int:
        """Release what is left, so that the next cycle takes it at once; how many entries that are."""
        left = list(self._left())
        # If Redis is away, the lease ends by itself.
        with contextlib.suppress(*_REDIS_TROUBLE):
            await self._work.source.group.release(left)
        return len(left)
