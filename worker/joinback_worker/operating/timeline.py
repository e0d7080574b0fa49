"""The evidence of an explanation, ordered by time. Pure."""

from collections.abc import Iterator

import msgspec
from msgspec import Raw

from joinback import wire
from joinback.errors import JoinbackError
from joinback_worker.flat.known import predicted_at
from joinback_worker.law.record import effective_at
from joinback_worker.law.row import Row

from .evidence import time_of
from .explanation import Explanation, Moment
from .spans import in_words, span


def timeline(found: Explanation) -> list[Moment]:
    """Return every event, pending entry and dead letter of a key, the oldest first. What has no time comes last."""
    moments = [*_of_redis(found), *_of_queue(found), *_of_letters(found)]
    if found.row is not None:
        moments += _of_row(found.row, set(found.events))
    return sorted(moments, key=lambda one: (one.at is None, one.at))


def _of_redis(found: Explanation) -> Iterator[Moment]:
    for field, payload in found.events.items():
        yield _event(field, payload.encode(errors="replace"), "redis")


def _event(field: str, payload: bytes, where: str) -> Moment:
    kind, _, event_id = field.partition(":")
    text = payload.decode(errors="backslashreplace")
    if kind == wire.LATE:
        return Moment(at=None, what=f"{event_id} is marked as late", where="redis", detail=in_words(text))
    try:
        at = effective_at(wire.decode_event(kind, payload))
    except JoinbackError:
        at = None
    return Moment(at=at, what=field, where="redis" if where == "redis" else "sink", detail=text)


def _of_queue(found: Explanation) -> Iterator[Moment]:
    for entry in found.pending:
        claim = f"claimed by {entry.consumer} {span(entry.claimed_s or 0)} ago" if entry.consumer else "not yet claimed"
        event = f"{entry.kind}:{entry.event_id}" if entry.event_id else entry.kind
        yield Moment(at=entry.at, what=f"{event} entered the queue", where="queue", detail=f"{entry.id}, {claim}")


def _of_letters(found: Explanation) -> Iterator[Moment]:
    for letter in found.dead:
        what = f"dead letter: {letter.get('reason')} of {letter.get('event') or 'the whole record'}"
        yield Moment(
            at=time_of(letter["id"]),
            what=what,
            where="dead letters",
            detail=f"{letter['id']}  {in_words(letter.get('detail', ''))}",
        )


def _of_row(row: Row, in_redis: set[str]) -> Iterator[Moment]:
    if row.prediction_event_id is not None and f"prediction:{row.prediction_event_id}" not in in_redis:
        detail = f'{{"inputs":{_text(row.inputs)},"outputs":{_text(row.outputs)}}}'
        yield Moment(at=predicted_at(row), what=f"prediction:{row.prediction_event_id}", where="sink", detail=detail)
    for cell in (row.feedback_events, row.conflicts):
        if cell is None:
            continue
        try:
            events = msgspec.json.decode(cell, type=dict[str, Raw])
        except msgspec.DecodeError:
            continue  # somebody edited the cell, which the sink's own error reports
        for field, payload in events.items():
            if field not in in_redis:
                yield _event(field, bytes(payload), "sink")


def _text(cell: bytes | None) -> str:
    return "null" if cell is None else cell.decode(errors="replace")
