"""What became of claimed entries, told to Redis in steps, each of some milliseconds in which it serves nobody else."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple

from msgspec import Struct

from joinback_worker.law.record import Rejected

from .group import Entry

STEP_ENTRIES = 1_000
"""As many as one claim of Redis, and as many records."""


class DeadEntry(NamedTuple):
    entry: Entry
    reason: str
    detail: str


class Settlement(Struct, kw_only=True):
    """What became of a batch."""

    in_rows: list[Entry] = []
    unemitted: list[Entry] = []
    erased: list[Entry] = []
    """Of join keys that were erased."""
    dead: list[DeadEntry] = []
    rejected: list[Rejected] = []
    counters: dict[str, int] = {}
    settled: Mapping[str, Collection[str]] = {}
    """Join key -> its fields, of records that the sink has whole and can look up."""
    settled_ttl_s: int = 0
    """How long Redis keeps those."""

    def steps(self) -> Iterator["Settlement"]:
        """Yield it in parts that Redis takes one at a time; an event that is rejected with the entries of its key.

        Whatever comes between two of them, what is settled already is settled rightly.
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
        settled = iter(self.settled.items())
        counters = self.counters
        while True:
            step = Settlement(
                in_rows=list(islice(rows, STEP_ENTRIES)),
                unemitted=list(islice(unemitted, STEP_ENTRIES)),
                erased=list(islice(erased, STEP_ENTRIES)),
                dead=list(islice(dead, STEP_ENTRIES)),
                counters=counters,
                settled=dict(islice(settled, STEP_ENTRIES)),
                settled_ttl_s=self.settled_ttl_s,
            )
            if not (step.in_rows or step.unemitted or step.erased or step.dead or step.counters or step.settled):
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
        # In one argument: no event's field has a line feed, and each argument costs as much as a field.
        settled = [("\n".join(fields),) for fields in self.settled.values()]
        arguments: list[Any] = [self.settled_ttl_s]
        for rows in (self.counters.items(), outcomes, dead, rejected, settled):
            arguments.append(len(rows))
            for row in rows:
                arguments.extend(row)
        return arguments


def _raw(field: str) -> bytes:
    # As it stood there, also where it is no UTF-8.
    return field.encode(errors="surrogateescape")
