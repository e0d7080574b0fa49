"""What became of claimed entries. It is written to Redis in steps, so that each blocks Redis for milliseconds only."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import chain, islice
from typing import Any, NamedTuple

from msgspec import Struct

from joinback_worker.law.record import Rejected

from .group import Entry

STEP_ENTRIES = 1_000
"""The most entries of one outcome in one step: as many as one claim."""


class DeadEntry(NamedTuple):
    """An entry whose record cannot become a row, and why."""

    entry: Entry
    reason: str
    detail: str


class Settlement(Struct, kw_only=True):
    """What became of the entries of a batch. Each is in one of the first four lists, unless it is left pending."""

    in_rows: list[Entry] = []
    unemitted: list[Entry] = []
    erased: list[Entry] = []
    """Entries of erased join keys."""
    dead: list[DeadEntry] = []
    rejected: list[Rejected] = []
    """Events that become dead letters. Their entries are in `in_rows` too; settle.lua subtracts them there."""
    counters: dict[str, int] = {}
    """Counter of the stats hash -> how much to add."""

    def entries(self) -> Iterator[Entry]:
        """Yield every entry that it settles."""
        return chain(self.in_rows, self.unemitted, self.erased, (dead.entry for dead in self.dead))

    def steps(self) -> Iterator["Settlement"]:
        """Yield it in parts, one per call to Redis. A rejected event is in the same part as the entries of its key.

        So if the worker dies between two parts, the counters are right for what is settled.
        """
        rejected: defaultdict[str, list[Rejected]] = defaultdict(list)
        for event in self.rejected:
            rejected[event.join_key].append(event)
        rows, unemitted, dead = iter(self.in_rows), iter(self.unemitted), iter(self.dead)
        erased = iter(self.erased)
        if rejected:
            yield from self._with_rejected(rejected)
            rows, unemitted = (
                (entry for entry in entries if entry.join_key not in rejected) for entries in (rows, unemitted)
            )
        counters = self.counters
        while True:
            step = Settlement(
                in_rows=list(islice(rows, STEP_ENTRIES)),
                unemitted=list(islice(unemitted, STEP_ENTRIES)),
                erased=list(islice(erased, STEP_ENTRIES)),
                dead=list(islice(dead, STEP_ENTRIES)),
                counters=counters,
            )
            if not (step.in_rows or step.unemitted or step.erased or step.dead or step.counters):
                return
            yield step
            counters = {}

    def _with_rejected(self, rejected: Mapping[str, list[Rejected]]) -> Iterator["Settlement"]:
        step = Settlement()
        entries: defaultdict[str | None, tuple[list[Entry], list[Entry]]] = defaultdict(lambda: ([], []))
        for which, outcome in enumerate((self.in_rows, self.unemitted)):
            for entry in outcome:
                if entry.join_key in rejected:
                    entries[entry.join_key][which].append(entry)
        for join_key, events in rejected.items():
            in_rows, unemitted = entries[join_key]
            step.in_rows += in_rows
            step.unemitted += unemitted
            step.rejected += events
            if len(step.in_rows) + len(step.unemitted) + len(step.rejected) >= STEP_ENTRIES:
                yield step
                step = Settlement()
        if step.rejected:
            yield step

    def arguments(self) -> list[Any]:
        """Return ARGV of settle.lua from the fifth on."""
        outcomes = [
            (outcome, len(entries), *(entry.id for entry in entries))
            for outcome, entries in (("in_rows", self.in_rows), ("unemitted", self.unemitted), ("erased", self.erased))
            if entries
        ]
        dead = [(d.entry.id, d.entry.join_key or "", d.reason, d.detail) for d in self.dead]
        rejected = [(e.join_key, _raw(e.field), e.reason, e.detail, e.payload, e.mark) for e in self.rejected]
        arguments: list[Any] = []
        for rows in (self.counters.items(), outcomes, dead, rejected):
            arguments.append(len(rows))
            for row in rows:
                arguments.extend(row)
        return arguments


def _raw(field: str) -> bytes:
    # The same bytes as in Redis, also where they are not UTF-8.
    return field.encode(errors="surrogateescape")
