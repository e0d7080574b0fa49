"""Take back wrong feedback: find the events in the sink, show what changes, write retractions.

There is one retraction for each join key. All have the same event id, the receipt, so that they can be undone together.
"""

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import msgspec
from msgspec import Struct, structs

import joinback
from joinback import wire
from joinback.command_line import command_line
from joinback.errors import JoinbackError
from joinback.settings import Settings
from joinback_worker.law.counting import is_taken_back, standing
from joinback_worker.law.record import CLOCK_SKEW_MAX, Record, effective_at, merge
from joinback_worker.law.row import project
from joinback_worker.law.rules import Policy
from joinback_worker.sinks import Sink
from joinback_worker.sinks.lookups import whole

from .delivering import Call, Undelivered, deliver, new_name
from .event_filter import Filter

EXAMPLES = 5
"""How many changed values are shown: enough to see whether the right events were found."""


class Change(Struct, frozen=True):
    """A field of a row whose value changes, decoded from JSON. None: no value, or null."""

    join_key: str
    field: str
    before: Any
    after: Any


class Plan(Struct, kw_only=True):
    """The retractions that would be written, and what they would change."""

    receipt: str
    """The event id of all retractions."""
    fields: Sequence[str] = ()
    """The fields that are taken back; empty: all."""
    events: Mapping[str, Sequence[str]] = {}
    """Join key -> ids of the feedback events that its retraction takes back; in an undo, empty lists."""
    undone: str | None = None
    """In an undo, the receipt that is taken back."""
    at: datetime | None = None
    """The time of the retractions; None: the time when they are written."""
    already: int = 0
    """How many events were found that are taken back already; in an undo, how many retractions."""
    full: Sequence[str] = ()
    """Join keys whose rows are full, so that they take no retraction."""
    rows_changed: int = 0
    values_changed: Counter[str] = msgspec.field(default_factory=Counter)
    """Field -> in how many rows its value changes."""
    examples: list[Change] = []

    @property
    def number(self) -> int:
        """How many feedback events are taken back; 0 in an undo."""
        return sum(map(len, self.events.values()))


async def plan_of(sink: Sink, policy: Policy, application: str, wanted: Filter) -> Plan:
    """Return the plan that takes back the feedback events that the filter finds. Writes nothing.

    It needs memory for the found events only. Raises what sinks raise.
    """
    found: defaultdict[str, list[str]] = defaultdict(list)
    async for records in _read(sink, application, wanted.join_keys):
        for record in records:
            ids = [id_ for id_, event in record.feedback.items() if wanted.holds(record.join_key, id_, event)]
            if ids:
                # A sink may yield a record in pieces, and a piece twice.
                found[record.join_key] += [id_ for id_ in ids if id_ not in found[record.join_key]]
    plan = Plan(receipt=new_name("retract"), fields=wanted.fields)
    events: dict[str, Sequence[str]] = {}

    def retraction_of(record: Record) -> wire.Retraction | None:
        ids = found[record.join_key]
        # The row may have been deleted since: only events that it holds now.
        ids = [id_ for id_ in ids if id_ in record.feedback and not is_taken_back(record, id_, wanted.fields)]
        plan.already += len(found[record.join_key]) - len(ids)
        if not ids:
            return None
        events[record.join_key] = ids
        now = datetime.now(UTC)
        return wire.Retraction(
            v=wire.WIRE_VERSION, at=now, logged_at=now, fields=list(wanted.fields) or None, event_ids=ids
        )

    await _weigh(plan, sink, policy, application, sorted(found), retraction_of)
    return structs.replace(plan, events={key: ids for key, ids in events.items() if key not in set(plan.full)})


async def undo_of(sink: Sink, policy: Policy, application: str, receipt: str) -> Plan:
    """Return the plan that takes back all retractions of a receipt. Writes nothing.

    Raises JoinbackError if the receipt is of a clock that is far ahead of this one, and what sinks raise.
    """
    found: dict[str, datetime] = {}
    async for records in _read(sink, application, ()):
        for record in records:
            if receipt in record.retractions:
                found[record.join_key] = effective_at(record.retractions[receipt])
    plan = Plan(receipt=new_name("retract"), undone=receipt, at=_after(max(found.values(), default=None)))
    keys: dict[str, Sequence[str]] = {}

    def retraction_of(record: Record) -> wire.Retraction | None:
        taken = record.retractions.get(receipt)
        if taken is None or not any(retraction is taken for retraction in standing(record.retractions)):
            plan.already += 1
            return None
        keys[record.join_key] = ()
        now = datetime.now(UTC)
        return wire.Retraction(v=wire.WIRE_VERSION, at=plan.at or now, logged_at=now, retraction_ids=[receipt])

    await _weigh(plan, sink, policy, application, sorted(found), retraction_of)
    return structs.replace(plan, events={key: ids for key, ids in keys.items() if key not in set(plan.full)})


def write(settings: Settings, application: str, plan: Plan) -> int:
    """Log the retractions of a plan, and wait until Redis has them. Return how many.

    Raises Undelivered, which names the receipt, because some retractions may have reached Redis.
    """
    try:
        return deliver(settings, _calls(application, plan))
    except Undelivered as error:
        fix = f"run this again, or: {command_line('retract', application, options=['--undo', plan.receipt])}"
        raise Undelivered(f"{error}. Those have the receipt {plan.receipt}; {fix}") from None


def _calls(application: str, plan: Plan) -> Iterator[Call]:
    for join_key, event_ids in plan.events.items():
        yield partial(_retract, application, join_key, plan, event_ids)


def _retract(application: str, join_key: str, plan: Plan, event_ids: Sequence[str], client: joinback.Client) -> None:
    # Ids get their kind in front, because an id may itself begin like a kind.
    client.retract(
        application,
        join_key,
        fields=list(plan.fields) or None,
        event_ids=None if plan.undone else [f"feedback:{event_id}" for event_id in event_ids],
        retraction_ids=[f"retraction:{plan.undone}"] if plan.undone else None,
        timestamp=plan.at,
        event_id=plan.receipt,
    )


async def _weigh(
    plan: Plan,
    sink: Sink,
    policy: Policy,
    application: str,
    join_keys: Sequence[str],
    retraction_of: Callable[[Record], wire.Retraction | None],
) -> None:
    """Add to the plan what the retractions would change in the rows of these keys.

    `retraction_of` returns the retraction for a record; None: it needs none.
    """
    full = []
    async for records in whole(sink, application, join_keys):
        for record in records:
            retraction = retraction_of(record)
            if retraction is None:
                continue
            # Predictions count too, because Redis counts them while it holds the record.
            if len(record.fields) >= wire.RECORD_EVENTS_MAX:
                full.append(record.join_key)
                continue
            new = Record(application=application, join_key=record.join_key, retractions={plan.receipt: retraction})
            changes = changes_of(record, merge(record, new), policy)
            plan.rows_changed += bool(changes)
            plan.values_changed.update(change.field for change in changes)
            plan.examples += changes[: EXAMPLES - len(plan.examples)]
    plan.full = full


def changes_of(before: Record, after: Record, policy: Policy) -> list[Change]:
    """Return the fields whose value in the row differs between two records of one join key, sorted by name."""
    old, new = _values(before, policy), _values(after, policy)
    return [
        Change(before.join_key, name, old.get(name), new.get(name))
        for name in sorted(old.keys() | new.keys())
        if name not in old or name not in new or msgspec.json.encode(old[name]) != msgspec.json.encode(new[name])
    ]


def _values(record: Record, policy: Policy) -> dict[str, Any]:
    feedback = project(record, policy)[0].feedback
    return {} if feedback is None else msgspec.json.decode(feedback, type=dict[str, Any])


def _read(sink: Sink, application: str, join_keys: Sequence[str]) -> AsyncIterator[list[Record]]:
    """Yield all records of the application in batches, or those of these keys if there are any."""
    return whole(sink, application, sorted(set(join_keys))) if join_keys else sink.records(application)


def _after(latest: datetime | None) -> datetime | None:
    """Return the time for an undo of retractions of which the latest is of this time; None: now is late enough.

    Only a later retraction takes back an earlier one, and clocks differ by a little. Raises JoinbackError if they
    differ by too much.
    """
    now = datetime.now(UTC)
    if latest is None or latest < now:
        return None
    if latest - now >= CLOCK_SKEW_MAX:
        ahead_s = (latest - now).total_seconds()
        raise JoinbackError(f"the receipt is of a clock {ahead_s:.0f} s ahead of this one; correct the clocks, or wait")
    return latest + timedelta(microseconds=1)
