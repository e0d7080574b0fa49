"""Drain one batch: merge its records into the sink, then settle its entries."""

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from msgspec import Raw

from joinback import wire
from joinback_worker.errors import SinkRefused, SinkUnavailable
from joinback_worker.law.record import Record, Rejected
from joinback_worker.law.record_hash import ReadHash
from joinback_worker.law.row import unfold
from joinback_worker.notes.fields_seen import FieldsSeen
from joinback_worker.sinks import Sink

from .batch import Batch
from .drained import Drained
from .group import Entry
from .pace import Pace
from .refusals import get_each, merge_each
from .settlement import DeadEntry, Settlement
from .shortening import Shortening
from .source import Source


class Work(NamedTuple):
    """What the drain of one tag works with."""

    source: Source
    sink: Sink
    application: str
    emit_joined_only: bool
    shortening: Shortening | None
    """Of records that the sink has whole. None: their TTL stays as clients set it."""
    fields_seen: FieldsSeen


async def drain_batch(work: Work, batch: Batch, pace: Pace) -> Drained:
    """Merge the records of a batch into the sink, then settle its entries. Return the counts.

    Raises what the sink and redis-py raise; the entries stay claimed then.
    """
    await _erase(work, batch)
    records = [found.record for found in batch.read.values() if found.record.has_events]
    emitted = await _emitted(work, records) if work.emit_joined_only else records
    started = time.monotonic()
    try:
        merged, refused = await merge_each(work.sink, emitted)
    except SinkUnavailable:
        pace.merge_failed()
        raise
    pace.merged(batch.size, time.monotonic() - started)

    # Again: a key may have been erased while its record was merged, and the sink holds a row of it again.
    await _erase(work, batch)
    settlement = Settlement(dead=batch.dead, erased=batch.erased)
    await _settle_gone(work, batch.gone, settlement)
    drained = Drained(erased=len(batch.erased))
    unemitted: set[str] = set()
    if work.emit_joined_only:
        unemitted = {record.join_key for record in records} - {record.join_key for record in emitted}
    newer: list[Entry] = []
    for key, found in batch.read.items():
        if found.newer:
            newer += batch.by_key[key]
        elif key in unemitted:
            settlement.unemitted += batch.by_key[key]
        else:
            # Counted in rows even if the event becomes a dead letter below: settle.lua then subtracts it.
            settlement.in_rows += batch.by_key[key]
        if found.bad or key in refused:
            settlement.rejected += _bad_events(found, refused.get(key))
    settlement.rejected += [event for event in merged.rejected if event.join_key in batch.read]
    settlement.counters = {
        "rows": merged.rows,
        "joined": merged.joined,
        "orphans": merged.orphans,
        "conflicts": merged.conflicts,
    }
    drained.newer = len(newer)
    drained.dead = await work.source.settle(settlement)
    if work.shortening is not None:
        await work.shortening.begin(_settled(batch, settlement.rejected))
    await work.source.group.park(newer)
    await _note_fields(work, batch)
    for name, amount in settlement.counters.items():
        setattr(drained, name, amount)
    return drained


async def _erase(work: Work, batch: Batch) -> None:
    """Delete what the batch, Redis and the sink hold of erased keys.

    In the sink always: a worker that was killed after its merge may have left a row. The entries are settled only
    after that: until then they lead the next drain here again.
    """
    erased = await work.source.erased(work.application, batch.join_keys())
    if erased:
        await work.source.forget(erased)
        # Nobody can take back what went to a pipe; `joinback erase` has reported that.
        if work.sink.erases:
            await work.sink.erase(work.application, sorted(erased))
        batch.erase(erased)


async def _note_fields(work: Work, batch: Batch) -> None:
    with_feedback = ((key, found.record.feedback) for key, found in batch.read.items() if found.record.feedback)
    brought = list(_brought_by(with_feedback, batch.by_key))
    await work.source.note_fields(work.fields_seen, work.application, brought)


async def _settle_gone(work: Work, gone: Mapping[str, Sequence[Entry]], settlement: Settlement) -> None:
    """Count entries without a record as in rows if the sink holds their event, else as dead entries.

    Redis keeps a settled record for a short time only, so an entry that is drained again may find none.
    """
    asked = [key for key, entries in gone.items() if any(entry.field for entry in entries)]
    rows = (await get_each(work.sink, work.application, asked))[0] if asked and work.sink.looks_up else {}
    for key, entries in gone.items():
        held: set[str] = set()
        if key in rows:
            # If somebody edited the row, it cannot be known which events it holds.
            with suppress(SinkRefused):
                held = unfold(rows[key]).fields
        for entry in entries:
            if entry.field in held:
                settlement.in_rows.append(entry)
            else:
                detail = "expired or evicted before it was drained"
                settlement.dead.append(DeadEntry(entry, "record_missing", detail))


def _bad_events(found: ReadHash, refusal: str | None) -> list[Rejected]:
    """Return the events of a record that become dead letters: the bad ones, and all readable ones if the sink refused.

    `refusal` is why the sink refused the record; None if it did not.
    """
    key = found.record.join_key
    rejected = [Rejected(key, field, *why, found.payloads[field]) for field, why in found.bad.items()]
    if refusal is not None:
        good = found.payloads.keys() - found.bad.keys() - found.newer
        rejected += [Rejected(key, field, "sink_refused", refusal, found.payloads[field]) for field in sorted(good)]
    return rejected


def _settled(batch: Batch, rejected: Sequence[Rejected]) -> dict[str, Collection[str]]:
    """Return the records of a batch that the sink has whole: join key -> the fields that this tag holds of it.

    A record with late feedback is not among them: the late mark in Redis must last, or it would be reported twice.
    """
    trouble = {event.join_key for event in rejected}
    return {
        key: found.payloads.keys() - batch.foreign[key] if key in batch.foreign else found.payloads
        for key, found in batch.read.items()
        if not (found.newer or key in trouble)
    }


async def _emitted(work: Work, records: Sequence[Record]) -> list[Record]:
    """Return the records to write with JOINBACK_EMIT=joined: the two-sided ones, and those that the sink has a row of.

    A row that cannot be read counts as one that is there.
    """
    one_sided = [record.join_key for record in records if not record.two_sided]
    held, unreadable = await get_each(work.sink, work.application, one_sided) if one_sided else ({}, set())
    return [
        record for record in records if record.two_sided or record.join_key in held or record.join_key in unreadable
    ]


def _brought_by(
    feedback: Iterable[tuple[str, Mapping[str, wire.Feedback]]], entries: Mapping[str, Sequence[Entry]]
) -> Iterator[Mapping[str, Raw]]:
    """Yield the feedback (field -> value) of each feedback event that these entries announce.

    `feedback`: (join key, its feedback events by id); `entries`: by join key.
    """
    for key, events in feedback:
        for entry in entries[key]:
            if entry.kind == b"feedback" and entry.event_id is not None:
                event = events.get(entry.event_id.decode(errors="replace"))
                if event is not None:
                    yield event.feedback
