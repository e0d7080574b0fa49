"""What append stores share: write a record's events, and leave the union and the fold to who reads.

No row depends on what the store holds, so two writers cannot lose what the other one wrote, and a repetition
only adds rows that count once. What is looked up is for telling: whether feedback whose prediction Redis
has let go joins, comes too late, or finds its record full.
"""

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

from joinback_worker.errors import SinkUnavailable, WorkerError, no_row
from joinback_worker.fold import Record, admit
from joinback_worker.row import Row, late_news, overflowed, project
from joinback_worker.rules import Policy
from joinback_worker.verdict import judge

from . import Merged
from .event_log import EventRow, Stored, records_from, rows_of, whole_records
from .gathering import gathered
from .on_thread import SAMPLE_ROWS, SinkOnThread


class MergeOnRead(SinkOnThread):
    """See `Sink` for the promise. A store fills in `_append` and `_stored`."""

    @abstractmethod
    def _append(self, rows: Sequence[EventRow]) -> None:
        """Add these rows: all or none, durable when it returns."""

    @abstractmethod
    def _stored(self, application: str, join_keys: Sequence[str]) -> Iterable[Stored]:
        """All rows of these keys, repeated ones too."""

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
            try:
                yield [project(record, policy)[0] for record in records]
            except WorkerError:
                raise
            except Exception as error:
                raise no_row(error) from error

    def _sample(self, application: str) -> Iterator[list[Row]]:
        """Whatever comes first: files lie in the order of their contents. A row may lack events that lie elsewhere."""
        policy, events = self._readers_policy(application), 0
        for _, some in self._everything(application):
            rows = list(some)
            yield [project(record, policy)[0] for record in records_from(application, rows).values()]
            if (events := events + len(rows)) >= 2 * SAMPLE_ROWS:
                return

    def _readers_policy(self, application: str) -> Policy:
        """What the view of this application folds by."""
        return self._policy

    def _merge(self, records: Sequence[Record]) -> Merged:
        merged = Merged()
        held = self._held(records)
        now = datetime.now(UTC)
        rows: list[EventRow] = []
        for incoming in records:
            try:
                record, overflow = admit(held.get((incoming.application, incoming.join_key)), incoming)
                verdict = judge(record, self._policy)
            except Exception as error:
                raise no_row(error) from error
            rejected = late_news(incoming, verdict.late) + overflowed(incoming, overflow)
            merged.count(verdict.status, bool(verdict.others), rejected)
            rows += [row for row in rows_of(incoming, now) if f"{row.kind}:{row.event_id}" not in overflow]
        if rows:
            self._append(rows)
        return merged

    def _held(self, records: Sequence[Record]) -> dict[tuple[str, str], Record]:
        """What the store has of those records whose prediction did not come with them.

        Nothing where that is not cheap: a batch is then told by what it holds itself.
        """
        if not self.looks_up:
            return {}
        cold: defaultdict[str, list[str]] = defaultdict(list)
        for record in records:
            if not record.predictions:
                cold[record.application].append(record.join_key)
        return {
            (application, key): record
            for application, keys in cold.items()
            for key, record in self._records(application, keys).items()
        }

    def _rows(self, application: str, join_keys: Sequence[str]) -> dict[str, Row]:
        try:
            return {
                key: project(record, self._policy)[0] for key, record in self._records(application, join_keys).items()
            }
        except WorkerError:
            raise
        except Exception as error:
            raise no_row(error) from error

    def _records(self, application: str, join_keys: Sequence[str]) -> dict[str, Record]:
        """What the store has of these keys. What somebody edited so that it is no event is left out, and stays."""
        stored = list(self._stored(application, join_keys))
        try:
            return records_from(application, stored)
        except (TypeError, ValueError, AttributeError) as error:
            raise no_row(error) from error

    def _close_matured(self, application: str) -> None:
        """Nothing to write: a row is closed when it is read after its time."""
