"""One drain of one tag: claim -> load -> fold -> merge into the sink -> settle, a batch at a time.

The order is the promise: nothing is acknowledged before the sink has it, and whatever stops a cycle, wherever,
leaves entries that the next one claims again. The fold makes the repetition harmless.
"""

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Mapping

import structlog
from msgspec import structs

from joinback_worker.errors import SinkUnavailable, WorkerError, described
from joinback_worker.law.rules import Rules
from joinback_worker.notes.fields_seen import FieldsSeen
from joinback_worker.sinks import Sink

from .batch import Reader
from .chunk import Work, drain_batch
from .collecting import LOOK_MERGES, collector_held_back
from .drained import Drained
from .pace import Pace
from .source import REDIS_TROUBLE, Source

log = structlog.get_logger("joinback")


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
    """Drain what is pending now, batch by batch, until none of it is left or the budget is spent.

    `settled_ttl_s`: how long Redis keeps a record that the sink has whole; None leaves its TTL as it is.
    `conditions` are named troubles of Redis, for the log line. `pace` is for callers that drain again: what a
    time-out taught outlives the cycle. `refusal` is asked before each merge; what it says ends the cycle before
    anything of it is written. `rules` are the application's, and `fields_seen` is for callers that drain again.

    Raises what Redis raises. A sink that is unavailable, and trouble nobody foresaw, end the cycle and are told in
    the result. Whatever ends it, what was claimed and not settled is given back.
    """
    drained = Drained()
    started = time.monotonic()
    rules = rules or Rules()
    seen = fields_seen or FieldsSeen(rules)
    pace = pace or Pace()
    work = Work(source, sink, application, emit_joined_only, settled_ttl_s, seen)
    try:
        reader = Reader(source, application, rules, pace)
        with collector_held_back():
            await _drain_batches(work, reader, pace, started + budget_s, drained, refusal)
        await source.group.retire()
        drained.matured = await sink.close_matured(application)
    except REDIS_TROUBLE:
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


async def _drain_batches(
    work: Work,
    reader: Reader,
    pace: Pace,
    until: float,
    drained: Drained,
    refusal: Callable[[], Awaitable[str | None]] | None,
) -> None:
    merges = 0
    try:
        while (batch := await reader.next()) is not None:
            if time.monotonic() <= until:
                reader.read_ahead()
            if refusal is not None and (why := await refusal()):
                drained.error = why
                return
            await reader.keep(batch)
            drained.include(await drain_batch(work, batch, pace))
            reader.settled()
            merges += 1
            if merges % LOOK_MERGES == 0:
                gc.collect()
            if time.monotonic() > until:
                drained.unfinished = True
                return
    finally:
        # In a task of its own: in one that is cancelled, redis-py's next look at a connection raises
        # CancelledError on Python before 3.11.3, whose timeouts take the worker's end for theirs.
        drained.released += await asyncio.create_task(reader.give_back())
        drained.claimed += reader.claimed
