"""What becomes of a record when events come: its row, and the events that have no say in it. Pure.

Every sink merges by these functions; a store only reads and writes.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple, get_args

from joinback import wire
from joinback_worker.errors import WorkerError, no_row

from .plain import PlainStatus
from .record import Record, Rejected, admit
from .row import Row, project, unfold
from .rules import Policy
from .verdict import Status, judge


def joined(held: Row | None, incoming: Record, policy: Policy) -> tuple[Row, Sequence[Rejected]]:
    """Return the row of what a sink holds and what comes, and the incoming events that have no say in it.

    Raises SinkRefused if no row can be made of them.
    """
    try:
        record, overflow = admit(None if held is None else unfold(held), incoming)
        row, late = project(record, policy)
    except WorkerError:
        raise
    except Exception as error:
        raise no_row(error) from error
    return row, _rejected(incoming, late, overflow) if late or overflow else ()


def refolded(row: Row, policy: Policy) -> Row:
    """Return what a row says under this policy. Raises SinkRefused if its record cannot be read, or makes no row."""
    try:
        return project(unfold(row), policy)[0]
    except WorkerError:
        raise
    except Exception as error:
        raise no_row(error) from error


def row_of(record: Record, policy: Policy) -> Row:
    """Return the row of a record. Raises SinkRefused if none can be made of it."""
    try:
        return project(record, policy)[0]
    except WorkerError:
        raise
    except Exception as error:
        raise no_row(error) from error


class Outcome(NamedTuple):
    """What a row will say, told without making it."""

    status: str
    has_conflicts: bool = False
    rejected: Sequence[Rejected] = ()
    overflow: Collection[str] = ()
    """The incoming events that found no place, named as `Record.fields` names them."""


class Outcomes:
    """What becomes of the records of a batch under one policy, for stores whose rows are made by whoever reads."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._plain = PlainStatus(policy)
        # One object per status for nearly all records: a batch has ten thousand.
        self._of_plain = {status: Outcome(status) for status in get_args(Status)}

    def of(self, known: Record | None, incoming: Record) -> Outcome:
        """Return the outcome of what is known and what comes. Raises SinkRefused if no row can be made of them."""
        try:
            if known is None and (status := self._plain.of(incoming)) is not None:
                return self._of_plain[status]
            record, overflow = admit(known, incoming)
            if (status := self._plain.of(record)) is not None:
                return self._of_plain[status]
            verdict = judge(record, self._policy)
        except Exception as error:
            raise no_row(error) from error
        rejected = _rejected(incoming, verdict.late, overflow)
        return Outcome(verdict.status, bool(verdict.others), rejected, overflow)


def _rejected(incoming: Record, late: Iterable[Rejected], overflow: Iterable[str]) -> list[Rejected]:
    return late_news(incoming, late) + _overflowed(incoming, overflow)


def late_news(incoming: Record, late: Iterable[Rejected]) -> list[Rejected]:
    """Of a merged record's late feedback, what the incoming events brought or may have made late."""
    return [
        event for event in late if incoming.predictions or event.field.removeprefix("feedback:") in incoming.feedback
    ]


def _overflowed(incoming: Record, fields: Iterable[str]) -> list[Rejected]:
    """The incoming events that a full record did not admit."""
    rejected = []
    for field in sorted(fields):
        kind, _, event_id = field.partition(":")
        event = incoming.feedback[event_id] if kind == "feedback" else incoming.retractions[event_id]
        detail = f"the row holds {wire.RECORD_EVENTS_MAX} events already"
        rejected.append(Rejected(incoming.join_key, field, f"{kind}_overflow", detail, wire.encode(event)))
    return rejected
