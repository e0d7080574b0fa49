"""The events of a batch as columns of the table `events`: a store that writes columns takes them as they are. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from typing import TypeVar

from joinback import wire
from joinback_worker.law.record import Record, digest, effective_at

from .event_log import content_id, microseconds

E = TypeVar("E", bound=wire.Event)
T = TypeVar("T")


class EventColumns:
    """The events of some records: one attribute per column of `event_log.COLUMNS`, each with one cell per event.

    The cells of all columns have the same order: first predictions, then feedback, then retractions. JSON is text as it
    was logged. A cell is None if its event has no such value. A property makes its column anew each time it is read, so
    the largest columns need not be in memory at once; read each once. Each time has its zone.
    """

    def __init__(self, records: Sequence[Record], written_at: datetime) -> None:
        self.application: list[str] = []
        self.join_key: list[str] = []
        self.event_id: list[str] = []
        self.predictions: list[wire.Prediction] = self._placed(records, attrgetter("predictions"))
        self.feedback: list[wire.Feedback] = self._placed(records, attrgetter("feedback"))
        self.retractions: list[wire.Retraction] = self._placed(records, attrgetter("retractions"))
        self.events: list[wire.Event] = [*self.predictions, *self.feedback, *self.retractions]
        encoded = list(map(wire.encode, self.events))
        self.digest = list(map(digest, encoded))
        self.event_encoded = _headers(self.predictions, encoded)
        """JSON of each event, as bytes; of a prediction without `inputs`, `outputs` and `sample_rate`."""
        self._written_at = written_at

    def _placed(self, records: Sequence[Record], of: Callable[[Record], Mapping[str, E]]) -> list[E]:
        """Note the places of the events of one kind, and return the events."""
        placed: list[E] = []
        for record in records:
            if events := of(record):
                for event_id, event in events.items():
                    self.application.append(record.application)
                    self.join_key.append(record.join_key)
                    self.event_id.append(event_id)
                    placed.append(event)
        return placed

    def __len__(self) -> int:
        return len(self.events)

    @property
    def content_id(self) -> str:
        """The name of the batch, as `event_log.content_id` makes it: the same events have the same name."""
        first, last = len(self.predictions), len(self.predictions) + len(self.feedback)

        def turned(cells: list[T]) -> list[T]:
            # Feedback first, as its kind sorts first: what is nearly in order is sorted sooner.
            return cells[first:last] + cells[:first] + cells[last:]

        columns = turned(self.application), turned(self.join_key), turned(self.kind), turned(self.event_id)
        return content_id(zip(*columns, turned(self.digest), strict=True))

    @property
    def kind(self) -> list[str]:
        return (
            ["prediction"] * len(self.predictions)
            + ["feedback"] * len(self.feedback)
            + ["retraction"] * len(self.retractions)
        )

    @property
    def is_ahead(self) -> bool:
        """Whether any event's time is ahead of its client's clock. Else `ordered_at` is `event_at`."""
        return any(event.at > event.logged_at for event in self.events)

    @property
    def ordered_at(self) -> list[datetime]:
        """The time that orders events: `event_at`, or `logged_at` if the producer's `event_at` lies too far ahead."""
        return list(map(effective_at, self.events)) if self.is_ahead else self.event_at

    @property
    def ordered_at_us(self) -> list[int]:
        """`ordered_at` in microseconds since 1970. It holds any year, which the times of some stores do not."""
        return list(map(microseconds, self.ordered_at))

    @property
    def event_at(self) -> list[datetime]:
        return [event.at for event in self.events]

    @property
    def logged_at(self) -> list[datetime]:
        return [event.logged_at for event in self.events]

    @property
    def version(self) -> list[str | None]:
        return [event.version for event in self.events]

    @property
    def environment(self) -> list[str | None]:
        return [event.environment for event in self.events]

    @property
    def tags(self) -> list[str | None]:
        return [wire.encode(event.tags).decode() if event.tags else None for event in self.events]

    @property
    def event(self) -> list[str]:
        """JSON of each event; that of a prediction lacks `inputs`, `outputs` and `sample_rate`."""
        return list(map(bytes.decode, self.event_encoded))

    @property
    def inputs(self) -> list[str | None]:
        return self.of_predictions(bytes(event.inputs).decode() for event in self.predictions)

    @property
    def outputs(self) -> list[str | None]:
        return self.of_predictions(bytes(event.outputs).decode() for event in self.predictions)

    @property
    def sample_rate(self) -> list[float | None]:
        return self.of_predictions(event.sample_rate for event in self.predictions)

    def of_predictions(self, cells: Iterable[T]) -> list[T | None]:
        """Return a column from one cell per prediction; the cells of other events are None."""
        return [*cells, *[None] * (len(self) - len(self.predictions))]

    @property
    def fields(self) -> list[list[str]]:
        """The names of the fields that a feedback event gives, or that a retraction takes back."""
        given = [list(event.feedback) for event in self.feedback]
        return [*[[]] * len(self.predictions), *given, *(event.fields or [] for event in self.retractions)]

    @property
    def field_values(self) -> list[list[str]]:
        """JSON of the value of each field of a feedback event, in the order of `fields`."""
        return self.of_feedback([bytes(value).decode() for value in event.feedback.values()] for event in self.feedback)

    def of_feedback(self, cells: Iterable[list[T]]) -> list[list[T]]:
        """Return a column from one cell per feedback event; the cells of other events are empty lists."""
        return [*[[]] * len(self.predictions), *cells, *[[]] * len(self.retractions)]

    @property
    def all_fields(self) -> list[bool]:
        """Whether the event is a retraction of all fields; its `fields` is empty then."""
        others = len(self.predictions) + len(self.feedback)
        return [False] * others + [event.fields is None for event in self.retractions]

    @property
    def written_at(self) -> list[datetime]:
        return [self._written_at] * len(self)


def _headers(predictions: Sequence[wire.Prediction], encoded: list[bytes]) -> list[bytes]:
    """Return the JSON of each event; of predictions, which come first, as `EventColumns.event_encoded` says."""
    # `inputs`, `outputs` and `sample_rate` stand last. But one of the tags may be called `inputs`.
    return [
        _shared(event) if event.tags else text.partition(b',"inputs":')[0] + b"}"
        for event, text in zip(predictions, encoded, strict=False)
    ] + encoded[len(predictions) :]


def _shared(event: wire.Event) -> bytes:
    """Return the JSON of the fields that all events share."""
    return wire.encode(wire.Event(**{name: getattr(event, name) for name in wire.Event.__struct_fields__}))
