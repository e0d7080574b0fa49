"""What append stores share: write a record's events, and leave the union and the fold to who reads.

No row depends on what the store holds, so two writers cannot lose what the other one wrote, and a repetition
only adds rows that count once. What is looked up is for telling: whether feedback whose prediction Redis
has let go joins, comes too late, or finds its record full.
"""

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

from joinback_worker.errors import SinkUnavailable, no_row
from joinback_worker.law.joining import Outcome, Outcomes, row_of
from joinback_worker.law.record import Record, without
from joinback_worker.law.row import Row
from joinback_worker.law.rules import Policy

from . import Merged
from .event_columns import EventColumns
from .event_log import Stored, records_from, whole_records
from .gathering import gathered
from .on_thread import SAMPLE_ROWS, SinkOnThread

HELD_BYTES = 64 << 20
"""Of looked-up text at once; its objects in Python take some four times as much. It is as much as 100,000 feedback
events: of ten each for a batch's 10,000 keys."""
_ROW_BYTES = 500
"""What the objects of a row take beside its text."""


class MergeOnRead(SinkOnThread):
    """See `Sink` for the promise. A store fills in `_append` and `_stored`, and `_headers` if it looks up."""

    @abstractmethod
    def _append(self, events: EventColumns) -> None:
        """Add a row for each event, of which there is one at least: all or none, durable when it returns."""

    @abstractmethod
    def _stored(self, application: str, join_keys: Sequence[str]) -> Iterable[Stored]:
        """All rows of these keys, repeated ones too."""

    def _headers(self, application: str, join_keys: Sequence[str]) -> Iterable[Stored]:
        """The same without inputs and outputs, one by one, each as `header_of` makes it."""
        raise NotImplementedError

    def _everything(self, application: str | None) -> Iterator[tuple[str, Iterable[Stored]]]:
        """All rows, or those of one application, in bounded batches of one each; a record's may be in several."""
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
        """Whatever comes first: files lie in the order of their contents. A row may lack events that lie elsewhere."""
        policy, events = self._readers_policy(application), 0
        for _, some in self._everything(application):
            rows = list(some)
            yield [row_of(record, policy) for record in records_from(application, rows).values()]
            if (events := events + len(rows)) >= 2 * SAMPLE_ROWS:
                return

    def _readers_policy(self, application: str) -> Policy:
        """What the view of this application folds by."""
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
        """Each record, and what the store has of it if its prediction did not come with it.

        Nothing where that is not cheap: a batch is then told by what it holds itself.
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
                held = _records_of(application, rows)
                yield from ((record, held.get(record.join_key)) for record in part)

    def _bounded_headers(self, application: str, records: Sequence[Record]) -> list[Stored] | None:
        """What the store has of these, or None if that is too much at once."""
        rows = []
        size = 0
        for row in self._headers(application, [record.join_key for record in records]):
            size += _ROW_BYTES + len(row.event)
            if size > HELD_BYTES and len(records) > 1:
                return None
            rows.append(row)
        return rows

    def _rows(self, application: str, join_keys: Sequence[str]) -> dict[str, Row]:
        records = _records_of(application, list(self._stored(application, join_keys)))
        return {key: row_of(record, self._policy) for key, record in records.items()}

    def _close_matured(self, application: str) -> None:
        """Nothing to write: a row is closed when it is read after its time."""


def _records_of(application: str, rows: Sequence[Stored]) -> dict[str, Record]:
    """The records of these rows. What somebody edited so that it is no event is left out, and stays."""
    try:
        return records_from(application, rows)
    except (TypeError, ValueError, AttributeError) as error:
        raise no_row(error) from error
