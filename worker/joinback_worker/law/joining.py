"""What becomes of a record when events come: its row, and the events that do not count in it. Pure.

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
    """Return the row of what a sink holds and what comes, and the incoming events that do not count in it.

    Those came too late, or found the row full. Raises SinkRefused if no row can be made, AlteredRow (a SinkRefused)
    if the held row does not hold its record any more.
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
    """Return the row of a held row's record under this policy.

    Raises AlteredRow if the held row does not hold its record any more, SinkRefused if no row can be made of it.
    """
    try:
        return project(unfold(row), policy)[0]
    except WorkerError:
        raise
    except Exception as error:
        raise no_row(error) from error


def row_of(record: Record, policy: Policy) -> Row:
    """Return the row of a record. Raises SinkRefused if no row can be made of it."""
    try:
        return project(record, policy)[0]
    except WorkerError:
        raise
    except Exception as error:
        raise no_row(error) from error


class Outcome(NamedTuple):
    """What a drain reports of a row, found without making the row."""

    status: str
    has_conflicts: bool = False
    rejected: Sequence[Rejected] = ()
    overflow: Collection[str] = ()
    """The incoming events that a full record does not take, named as `Record.fields` names them."""


class Outcomes:
    """The outcomes of a batch of records under one policy, for append stores: their view makes the rows."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._plain = PlainStatus(policy)
        # Nearly all records share one of these objects: a batch has ten thousand records.
        self._of_plain = {status: Outcome(status) for status in get_args(Status)}

    def of(self, known: Record | None, incoming: Record) -> Outcome:
        """Return the outcome of what the store holds and what comes. Raises SinkRefused if no row can be made of it.

        `known`: what the store holds; None: nothing.
        """
        try:
            if known is None and (status := self._plain.of(incoming)) is not None:
                return self._of_plain[status]
            record, overflow = admit(known, incoming)
            if not overflow and (status := self._plain.of(record)) is not None:
                return self._of_plain[status]
            verdict = judge(record, self._policy)
        except Exception as error:
            raise no_row(error) from error
        rejected = _rejected(incoming, verdict.late, overflow)
        return Outcome(verdict.status, bool(verdict.others), rejected, overflow)


def _rejected(incoming: Record, late: Iterable[Rejected], overflow: Iterable[str]) -> list[Rejected]:
    return late_news(incoming, late) + _overflowed(incoming, overflow)


def late_news(incoming: Record, late: Iterable[Rejected]) -> list[Rejected]:
    """Return the late feedback to report now: what just came in, or all of it if a prediction came in.

    `late` is the late feedback of the merged record. A prediction can make feedback late that came before it.
    """
    return [
        event for event in late if incoming.predictions or event.field.removeprefix("feedback:") in incoming.feedback
    ]


def _overflowed(incoming: Record, fields: Iterable[str]) -> list[Rejected]:
    """Return the incoming events that a full record did not take, as dead letters."""
    rejected = []
    for field in sorted(fields):
        kind, _, event_id = field.partition(":")
        event = incoming.feedback[event_id] if kind == "feedback" else incoming.retractions[event_id]
        detail = f"the row holds {wire.RECORD_EVENTS_MAX} events already"
        rejected.append(Rejected(incoming.join_key, field, f"{kind}_overflow", detail, wire.encode(event)))
    return rejected
