"""What sinks that store events share: they append a row per event, and the reader makes the union and folds it.

What a merge writes does not depend on what the store holds. So no writer can lose what another one wrote, and a
repeated merge only adds rows that count once.
A merge still looks up the keys of which no prediction comes with it, but only to report what becomes of them: the
feedback joins a prediction that Redis no longer holds, comes too late, or its record is full.
"""

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from joinback_worker.errors import SinkUnavailable, no_row
from joinback_worker.law.joining import Outcome, Outcomes, row_of
from joinback_worker.law.record import Record, without
from joinback_worker.law.row import Row
from joinback_worker.law.rules import Policy

from . import Merged
from .event_columns import EventColumns
from .event_log import Header, Stored, records_from, records_of_headers, whole_records
from .gathering import gathered
from .on_thread import SAMPLE_ROWS, SinkOnThread

HELD_BYTES = 64 << 20
"""Of text that one look-up may read; as Python objects it takes some four times as much. 64 MiB are some 100,000
feedback events, which is ten per key for a batch of 10,000 keys."""
T = TypeVar("T")
_ROW_BYTES = 500
"""Memory that the objects of a row take in addition to its text."""


class MergeOnRead(SinkOnThread):
    """A sink that stores events, in a table with the columns `event_log.COLUMNS`. See `Sink` for what it keeps.

    The worker reads back only `application` and the columns of `event_log.Stored`. The others are for people's SQL.
    A store must fill in `_open`, `_close`, `_translated` and `_erase` of `SinkOnThread`, and here `_append` and
    `_stored`. It should fill in `_everything`, without which nobody can read the sink or copy it. If it cannot find the
    rows of a key without reading all, it sets `looks_up = False`; if it can, it may fill in the cheaper `_headers`.
    """

    @abstractmethod
    def _append(self, events: EventColumns) -> None:
        """Add a row per event: all or none, durable when it returns. There is at least one event.

        The same events may come again, from anybody; their rows may then be stored twice, or once.
        """

    @abstractmethod
    def _stored(self, application: str, join_keys: Sequence[str]) -> Iterable[Stored]:
        """Return all rows of these keys, in any order. A row that is stored twice may come twice."""

    def _headers(self, application: str, join_keys: Sequence[str]) -> Iterable[Header]:
        """Return the columns `HEADER` of the same rows.

        Called only if the sink `looks_up`. Return an iterator that reads as it goes: its reader stops where the rows
        become too many. By default it reads the whole rows.
        """
        return (row[:5] for row in self._stored(application, join_keys))

    def _everything(self, application: str | None) -> Iterator[tuple[str, Iterable[Stored]]]:
        """Yield (application, rows) of one application, or of all (None), in batches that fit into memory.

        The rows of one batch are of one application. The rows of one record may be in several batches.
        """
        raise SinkUnavailable("nothing can be copied from this sink")

    def _pages(self, application: str | None) -> Iterator[list[Record]]:
        for name, rows in self._everything(application):
            yield whole_records(name, rows)

    def _whole(self, application: str) -> Iterator[list[Record]]:
        return gathered(application, (whole_records(application, rows) for _, rows in self._everything(application)))

    def _whole_rows(self, application: str) -> Iterator[list[Row]]:
        policy = self._readers_policy(application)
        for records in self._whole(application):
            yield [row_of(record, policy) for record in records]

    def _sample(self, application: str) -> Iterator[list[Row]]:
        """As `Sink.sample`, but it reads what comes first, as nothing shows where the newest rows are.

        A row may lack events that come later.
        """
        policy, events = self._readers_policy(application), 0
        for _, some in self._everything(application):
            rows = list(some)
            yield [row_of(record, policy) for record in records_from(application, rows).values()]
            if (events := events + len(rows)) >= 2 * SAMPLE_ROWS:
                return

    def _readers_policy(self, application: str) -> Policy:
        """Return the policy by which the view folds this application."""
        return self._policy

    def _merge(self, records: Sequence[Record]) -> Merged:
        outcomes = Outcomes(self._policy)
        found: list[Outcome] = []
        admitted: list[Record] = []
        for incoming, known in self._with_known(records):
            outcome = outcomes.of(known, incoming)
            found.append(outcome)
            admitted.append(without(incoming, outcome.overflow) if outcome.overflow else incoming)
        events = EventColumns(admitted, datetime.now(UTC))
        if len(events):
            self._append(events)
        return Merged.of(found)

    def _with_known(self, records: Sequence[Record]) -> Iterator[tuple[Record, Record | None]]:
        """Yield each record with what the store holds of its key, or None if nothing was looked up.

        A record that brings its prediction is not looked up. If the sink does not look up, no record is: the outcome is
        then reported by the batch alone.
        """
        cold: defaultdict[str, list[Record]] = defaultdict(list)
        for record in records:
            if self.looks_up and not record.predictions:
                cold[record.application].append(record)
            else:
                yield record, None
        for application, some in cold.items():
            parts = [some]
            while parts:
                part = parts.pop()
                rows = self._bounded_headers(application, part)
                if rows is None:
                    half = len(part) // 2
                    parts += [part[half:], part[:half]]
                    continue
                held = _read(records_of_headers, application, rows)
                yield from ((record, held.get(record.join_key)) for record in part)

    def _bounded_headers(self, application: str, records: Sequence[Record]) -> list[Header] | None:
        """Return the rows that the store holds of these records; None if they are too many for the memory.

        The rows of a single record are never too many.
        """
        rows = []
        size = 0
        for row in self._headers(application, [record.join_key for record in records]):
            size += _ROW_BYTES + len(row[4])
            if size > HELD_BYTES and len(records) > 1:
                return None
            rows.append(row)
        return rows

    def _rows(self, application: str, join_keys: Sequence[str]) -> dict[str, Row]:
        records = _read(records_from, application, list(self._stored(application, join_keys)))
        return {key: row_of(record, self._policy) for key, record in records.items()}

    def _close_matured(self, application: str) -> None:
        """Return None: there is nothing to write, as a reader of a row sees it closed after its time."""


def _read(
    records_of: Callable[[str, Sequence[T]], dict[str, Record]], application: str, rows: Sequence[T]
) -> dict[str, Record]:
    """Return join key -> record of these rows. A row that somebody edited so that it is not an event is left out."""
    try:
        return records_of(application, rows)
    except (TypeError, ValueError, AttributeError) as error:
        raise no_row(error) from error
