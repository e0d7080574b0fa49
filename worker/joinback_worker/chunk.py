"""What becomes of one slice of a claim: fold its records, merge them into the sink, settle their entries."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from .declared import strict_troubles
from .drained import Drained
from .errors import SinkRefused
from .fields_seen import FieldsSeen, told_by
from .fold import Bad, Folded, Record, Rejected, fold
from .group import Entry
from .refusals import get_each, merge_each
from .row import unfold
from .rules import Rules
from .sinks import Sink
from .source import DeadEntry, Fields, Settlement, Source, Unusable


class Work(NamedTuple):
    """What a drain works with."""

    source: Source
    sink: Sink
    application: str
    emit_joined_only: bool
    settled_ttl_s: int | None
    """How long Redis keeps a record that the sink has whole. None: as long as one that is pending."""
    rules: Rules
    fields_seen: FieldsSeen


ByKey = Mapping[str, Sequence[Entry]]


async def bury_unreadable(work: Work, entries: Sequence[Entry]) -> int:
    """Settle entries that name no record. Returns the number of dead letters written."""
    dead = [DeadEntry(entry, "unreadable_entry", "no join key in UTF-8") for entry in entries]
    return await work.source.settle(Settlement(dead=dead)) if dead else 0


async def drain_slice(work: Work, by_key: ByKey, loaded: Sequence[Fields | Unusable]) -> Drained:
    """Merge the records of these keys, then settle their entries. What it raises leaves them claimed."""
    settlement = Settlement()
    folded, gone = _fold(work, by_key, loaded, settlement)
    await _settle_gone(work, gone, settlement)
    records = [found.record for found in folded.values() if found.record.has_events]
    emitted = await _emitted(work, records) if work.emit_joined_only else records
    merged, refused = await merge_each(work.sink, emitted)

    drained = Drained()
    newer: list[Entry] = []
    unemitted = {record.join_key for record in records} - {record.join_key for record in emitted}
    for key, found in folded.items():
        if found.newer:
            newer += by_key[key]
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
    if work.settled_ttl_s is not None and work.sink.looks_up and not work.emit_joined_only:
        settlement.settled = _settled(folded, settlement.rejected)
        settlement.settled_ttl_s = work.settled_ttl_s
    drained.newer = len(newer)
    drained.dead = await work.source.settle(settlement)
    await work.source.group.park(newer)
    await _note_fields(work, folded, by_key)
    for name, amount in settlement.counters.items():
        setattr(drained, name, amount)
    return drained


async def _note_fields(work: Work, folded: Mapping[str, Folded], by_key: ByKey) -> None:
    told = list(told_by({key: found.record for key, found in folded.items()}, by_key))
    await work.source.note_fields(work.fields_seen, work.application, told)


def _fold(
    work: Work, by_key: ByKey, loaded: Sequence[Fields | Unusable], settlement: Settlement
) -> tuple[dict[str, Folded], dict[str, Sequence[Entry]]]:
    """The slice's records, each folded once, and the entries of those that are gone. Unusable ones are dead."""
    folded, gone = {}, {}
    for (key, entries), fields in zip(by_key.items(), loaded, strict=False):
        if isinstance(fields, Unusable):
            settlement.dead += [DeadEntry(entry, *fields) for entry in entries]
            continue
        found = fold(work.application, key, fields)
        # Of what comes now: what a sink has taken in by former rules is never given up.
        come = {entry.field for entry in entries}
        for event_id, why in strict_troubles(found.record, work.rules).items():
            if (field := f"feedback:{event_id}") in come:
                found.bad[field] = Bad("breaks_declaration", why)
                del found.record.feedback[event_id]
        # A record of late marks alone is gone as well.
        if found.payloads:
            folded[key] = found
        else:
            gone[key] = entries
    return folded, gone


async def _settle_gone(work: Work, gone: ByKey, settlement: Settlement) -> None:
    """Redis keeps a settled record for a short while: what the sink has of it is no loss, the rest is told."""
    asked = [key for key, entries in gone.items() if any(entry.field for entry in entries)]
    rows = (await get_each(work.sink, work.application, asked))[0] if asked and work.sink.looks_up else {}
    for key, entries in gone.items():
        held: set[str] = set()
        if key in rows:
            # Of a row that somebody edited nobody can say what it holds.
            with suppress(SinkRefused):
                held = unfold(rows[key]).fields
        for entry in entries:
            if entry.field in held:
                settlement.in_rows.append(entry)
            else:
                detail = "expired or evicted before it was drained"
                settlement.dead.append(DeadEntry(entry, "record_missing", detail))


def _bad_events(found: Folded, refusal: str | None) -> list[Rejected]:
    """The events of a record that cannot become a part of a row: the bad ones, or all if the sink refused it."""
    key = found.record.join_key
    rejected = [Rejected(key, field, *why, found.payloads[field]) for field, why in found.bad.items()]
    if refusal is not None:
        good = found.payloads.keys() - found.bad.keys() - found.newer
        rejected += [Rejected(key, field, "sink_refused", refusal, found.payloads[field]) for field in sorted(good)]
    return rejected


def _settled(folded: Mapping[str, Folded], rejected: Sequence[Rejected]) -> dict[str, list[str]]:
    """Of the folded records those that are in the sink whole, and their fields.

    Late feedback counts as rejected: its mark in the record is what keeps it from being told twice.
    """
    trouble = {event.join_key for event in rejected}
    return {key: list(found.payloads) for key, found in folded.items() if not (found.newer or key in trouble)}


async def _emitted(work: Work, records: Sequence[Record]) -> list[Record]:
    """With JOINBACK_EMIT=joined: the two-sided records, and those whose row the sink holds already."""
    one_sided = [record.join_key for record in records if not record.two_sided]
    held, unreadable = await get_each(work.sink, work.application, one_sided) if one_sided else ({}, set())
    return [
        record for record in records if record.two_sided or record.join_key in held or record.join_key in unreadable
    ]
