"""One drain of one tag: claim -> load -> fold -> merge into the sink -> settle.

The order is the promise: nothing is acknowledged before the sink has it, and whatever stops a cycle, wherever,
leaves entries that the next one claims again. The fold makes the repetition harmless.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence

import structlog
from msgspec import Struct, structs

from .errors import SinkRefused, SinkUnavailable
from .fold import Folded, Record, Rejected, fold
from .sinks import Merged, Sink
from .source import DeadEntry, Entry, Settlement, Source

log = structlog.get_logger("joinback")


class Drained(Struct, kw_only=True):
    """What one cycle did; its log line."""

    claimed: int = 0
    rows: int = 0
    joined: int = 0
    orphans: int = 0
    conflicts: int = 0
    unlabelled: int = 0
    """Predictions that matured without feedback and were closed."""
    dead: int = 0
    released: int = 0
    newer: int = 0
    """Entries left pending because a newer client wrote their events."""
    unfinished: bool = False
    """The time budget ran out before the pending entries did."""
    error: str | None = None
    """Why the cycle stopped early, if it did; the next tick tries again."""
    redis_lost: bool = False
    """Redis was the reason: its return is looked for before the next tick."""
    duration_s: float = 0.0
    oldest_pending_s: float = 0.0

    def __add__(self, other: "Drained") -> "Drained":
        total = Drained()
        for name in ("claimed", "rows", "joined", "orphans", "conflicts", "unlabelled", "dead", "released", "newer"):
            setattr(total, name, getattr(self, name) + getattr(other, name))
        total.unfinished = self.unfinished or other.unfinished
        total.error = self.error or other.error
        total.redis_lost = self.redis_lost or other.redis_lost
        total.duration_s = self.duration_s + other.duration_s
        total.oldest_pending_s = max(self.oldest_pending_s, other.oldest_pending_s)
        return total


async def drain(
    source: Source,
    sink: Sink,
    application: str,
    *,
    emit_joined_only: bool = False,
    budget_s: float = float("inf"),
    conditions: Mapping[str, str] | None = None,
) -> Drained:
    """Drain what is pending, chunk by chunk, until none is left or the budget is spent.

    `conditions` are named troubles of Redis, for the log line. Raises what Redis raises; a sink that is
    unavailable ends the cycle and is told in the result.
    """
    drained = Drained()
    started = time.monotonic()
    async for entries in source.claims():
        drained.claimed += len(entries)
        try:
            await _drain_chunk(source, sink, application, entries, emit_joined_only, drained)
        except asyncio.CancelledError:
            # SIGTERM: whoever comes next need not wait for the lease.
            await source.release(entries)
            raise
        except SinkUnavailable as error:
            await source.release(entries)
            drained.released += len(entries)
            drained.error = str(error)
            break
        if time.monotonic() - started > budget_s:
            drained.unfinished = True
            break
    await source.retire()
    try:
        drained.unlabelled = await sink.close_unlabelled(application)
    except SinkUnavailable as error:
        drained.error = str(error)
    drained.oldest_pending_s = (await source.accounting()).oldest_pending_s
    drained.duration_s = round(time.monotonic() - started, 3)
    tell = log.warning if conditions or drained.error or drained.dead else log.info
    tell("cycle_finished", application=application, **structs.asdict(drained), conditions=dict(conditions or {}))
    return drained


async def _drain_chunk(
    source: Source,
    sink: Sink,
    application: str,
    entries: Sequence[Entry],
    emit_joined_only: bool,
    drained: Drained,
) -> None:
    settlement = Settlement()
    by_key: defaultdict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        if entry.join_key is None:
            settlement.dead.append(DeadEntry(entry, "unreadable_entry", "no join key in UTF-8"))
        else:
            by_key[entry.join_key].append(entry)
    folded = await _load(source, application, by_key, settlement)
    records = [found.record for found in folded.values() if found.record.has_events]
    emitted = await _emitted(sink, application, records) if emit_joined_only else records
    merged, refused = await _merge(sink, emitted)

    unemitted = {record.join_key for record in records} - {record.join_key for record in emitted}
    for key, found in folded.items():
        if found.newer:
            drained.newer += len(by_key[key])
        elif key in unemitted:
            settlement.unemitted += by_key[key]
        else:
            # Of an event that is buried too: burying takes the count back.
            settlement.in_rows += by_key[key]
        settlement.rejected += _bad_events(found, refused.get(key))
    settlement.rejected += merged.rejected
    settlement.counters = {
        "rows": merged.rows,
        "joined": merged.joined,
        "orphans": merged.orphans,
        "conflicts": merged.conflicts,
    }
    drained.dead += await source.settle(settlement)
    for name, amount in settlement.counters.items():
        setattr(drained, name, getattr(drained, name) + amount)


def _bad_events(found: Folded, refusal: str | None) -> list[Rejected]:
    """The events of a record that cannot become a part of a row: the bad ones, or all if the sink refused it."""
    key = found.record.join_key
    rejected = [Rejected(key, field, "undecodable", why, found.payloads[field]) for field, why in found.bad.items()]
    if refusal is not None:
        good = found.payloads.keys() - found.bad.keys() - found.newer
        rejected += [Rejected(key, field, "sink_refused", refusal, found.payloads[field]) for field in sorted(good)]
    return rejected


async def _load(
    source: Source, application: str, by_key: dict[str, list[Entry]], settlement: Settlement
) -> dict[str, Folded]:
    """The chunk's records, each folded once; entries whose record is gone or is no hash are settled as dead."""
    keys = list(by_key)
    folded = {}
    for key, found in zip(keys, await source.load(keys) if keys else [], strict=True):
        if isinstance(found, str):
            detail = f"a {found} stands at the record's key"
            settlement.dead += [DeadEntry(entry, "wrong_type", detail) for entry in by_key[key]]
        elif not found:
            detail = "expired or evicted before it was drained"
            settlement.dead += [DeadEntry(entry, "record_missing", detail) for entry in by_key[key]]
        else:
            folded[key] = fold(application, key, found)
    return folded


async def _emitted(sink: Sink, application: str, records: Sequence[Record]) -> list[Record]:
    """With JOINBACK_EMIT=joined: the two-sided records, and those whose row the sink holds already."""
    one_sided = [record.join_key for record in records if not record.two_sided]
    held = await sink.get(application, one_sided) if one_sided else {}
    return [record for record in records if record.two_sided or record.join_key in held]


async def _merge(sink: Sink, records: Sequence[Record]) -> tuple[Merged, dict[str, str]]:
    """Merge all that the sink takes; bisect to the records it refuses. Returns their keys and why."""
    try:
        return await sink.merge(records), {}
    except SinkRefused as error:
        if len(records) == 1:
            return Merged(), {records[0].join_key: str(error)}
    middle = len(records) // 2
    first, refused = await _merge(sink, records[:middle])
    second, also_refused = await _merge(sink, records[middle:])
    return first + second, refused | also_refused
