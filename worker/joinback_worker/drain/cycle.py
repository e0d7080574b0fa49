"""One drain of one tag: claim -> load -> merge into the sink -> settle, one batch at a time.

The promise is in the order: nothing is acknowledged before the sink has it. Whatever stops a drain, at any point,
leaves entries that the next drain claims again. That repetition is harmless, because the merge is a union of sets.
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
from .collecting import LOOK_MERGES, collector_held_back
from .drain_batch import Work, drain_batch
from .drained import Drained
from .pace import Pace
from .shortening import Shortening
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
    """Drain what is pending now, batch by batch, until nothing of it is left or the budget is spent.

    Return the counts, and log them as one line. `settled_ttl_s`: how long Redis keeps a record after the sink has all
    of it, in seconds; None: its TTL stays. `budget_s`: after so many seconds no further batch is merged.
    `conditions`: named troubles of Redis, for the log line. `refusal` is asked before each merge: if it returns a
    reason, the drain ends before that batch is written. `rules` are the application's. A caller that drains a tag again
    passes the same `pace` and `fields_seen`, which remember what earlier drains learned.

    Raises what redis-py raises. Trouble with the sink and unforeseen errors end the drain, and are in the result's
    `error`. However it ends, claims that are not settled are given back.
    """
    drained = Drained()
    started = time.monotonic()
    rules = rules or Rules()
    seen = fields_seen or FieldsSeen(rules)
    pace = pace or Pace()
    shortening = None
    if settled_ttl_s is not None and sink.looks_up and not emit_joined_only:
        shortening = Shortening(source, settled_ttl_s)
    work = Work(source, sink, application, emit_joined_only, shortening, seen)
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
    troubles = [*(trouble.line for trouble in books.troubles), *filter(None, [await source.note()])]
    logged = dict(conditions or {}) | ({"books": "; ".join(troubles)} if troubles else {})
    drained.oldest_pending_s = books.oldest_pending_s
    drained.duration_s = round(time.monotonic() - started, 3)
    write = log.warning if logged or drained.error or drained.dead else log.info
    write("cycle_finished", application=application, **structs.asdict(drained), conditions=logged)
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
        # In a task of its own. In a cancelled task, redis-py's next check of a connection raises CancelledError on
        # Python before 3.11.3, because asyncio.timeout mistakes the worker's cancellation for its own.
        drained.released += await asyncio.create_task(_finish(work, reader))
        drained.claimed += reader.claimed


async def _finish(work: Work, reader: Reader) -> int:
    """Give back what is claimed, and wait for what is under way. Return how many entries were given back."""
    released = await reader.give_back()
    if work.shortening is not None:
        await work.shortening.end()
    return released
