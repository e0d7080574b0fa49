"""The import itself: lines in, look-ups, events out, a report; a batch at a time, so memory does not grow."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from joinback.sampling import keeps
from joinback_worker.law.record import Record

from .corrections import Told, as_told, corrected, corrections_of, same_in, told_in
from .lines import Line, Source
from .lookup import NOTHING, Known, Lookup
from .near import Stray, Strays, hints
from .plan import Label, Plan, Refused
from .report import LISTED_MAX, Entry, Report, ReportFile
from .ruling import Ruling
from .taken_back import is_covered
from .teller import Teller


class Listener(Protocol):
    """Who is told how far it is."""

    def has_done(self, rows: int) -> None:
        """So many more rows are done."""

    def waits(self, why: str) -> None: ...


class Before(NamedTuple):
    """What there is of a label's key."""

    known: Known
    told: Sequence[Told]
    """By imports, as far as it matters."""
    record: Record | None
    """What was told and taken back, as far as it matters."""
    last_line: Mapping[str, int]
    """Event id -> the last row that tells it, of those at hand."""

    def holds_another(self, label: Label, own: Told, row: int) -> bool:
        """Whether the label was corrected since, and not by a later line of this file, which then says what holds."""
        corrections = corrections_of(label, own, self.told)
        return bool(corrections) and not any(self.last_line.get(event_id, 0) > row for event_id in corrections)


class Importing:
    """One run over a source that has been surveyed."""

    def __init__(
        self,
        application: str,
        sample_rate: float,
        plan: Plan,
        lookup: Lookup,
        file: ReportFile,
        *,
        ruling: Ruling,
        orphans: bool,
    ) -> None:
        """`sample_rate` is the published one, which feedback follows; `orphans` tells what matches nothing, too."""
        self._application = application
        self._sample_rate = sample_rate
        self._plan = plan
        self._lookup = lookup
        self._file = file
        self._ruling = ruling
        self._orphans = orphans
        self._strays = Strays()
        self.report = Report(listed=[], hints=[])

    async def run(self, source: Source, teller: Teller | None, listener: Listener) -> Report:
        """Import all lines, or without a teller only look. Raises JoinbackError, and what the look-up raises."""
        for lines in regrouped(source.batches(self._plan.wanted), self._lookup.at_once):
            labels = self._read(lines)
            if teller is not None:
                await teller.has_all_of({label.key for _, label in labels})
            to_tell = await self._sorted_out(labels)
            if teller is not None and to_tell:
                await teller.tell(to_tell, listener.waits)
            listener.has_done(len(lines))
        if teller is not None:
            self.report.told = await teller.finish()
        if self._strays.sample:
            self.report.hints = await hints(self._lookup, self._strays.sample)
        return self.report

    def _read(self, lines: Sequence[Line]) -> list[tuple[Line, Label]]:
        """Count each line that is no label; return the others."""
        self.report.rows += len(lines)
        labels = []
        for line in lines:
            read = self._plan.read(line)
            if isinstance(read, Label):
                labels.append((line, read))
            elif isinstance(read, Refused):
                self._refuse(read)
            else:
                self.report.without_a_label += 1
        return labels

    async def _sorted_out(self, labels: Sequence[tuple[Line, Label]]) -> list[Label]:
        """Count each label; return those to tell. A line is seen by those after it, as if it had been told."""
        known = await self._lookup.known({label.key for _, label in labels})
        records = await self._told_before([label for _, label in labels], known)
        told = {key: told_in(record) for key, record in records.items()}
        lines_of = Counter(label.key for _, label in labels)
        last_line = {label.event_id: line.row for line, label in labels}
        to_tell = []
        for line, label in labels:
            history = told.setdefault(label.key, []) if lines_of[label.key] > 1 else told.get(label.key, [])
            before = Before(known.get(label.key, NOTHING), history, records.get(label.key), last_line)
            if self._is_to_tell(line, label, before):
                label = corrected(label, history)
                to_tell.append(label)
                if lines_of[label.key] > 1:
                    history.append(as_told(label))
        return to_tell

    async def _told_before(self, labels: Sequence[Label], known: Mapping[str, Known]) -> dict[str, Record]:
        """What was told of keys of which another line was told at the same time, or something was taken back; of most
        neither was.
        """
        keys = {
            label.key
            for label in labels
            if (found := known.get(label.key)) is not None
            and (
                found.is_retracted
                or any(id_.startswith(label.moment) and id_ != label.event_id for id_ in found.event_ids)
            )
        }
        return await self._lookup.told(keys) if keys else {}

    def _is_to_tell(self, line: Line, label: Label, before: Before) -> bool:
        known = before.known
        if known.predicted_at is not None and (why := self._ruling.lateness(label, known.predicted_at)):
            return self._refuse(Refused(label.row, why))
        own = same_in(label, before.told)
        event_id = label.event_id if own is None else own.event_id
        is_told = own is not None or event_id in known.event_ids
        if not is_told and (why := self._ruling.breach(label)):
            return self._refuse(Refused(label.row, why))
        if not known.is_predicted:
            return self._is_orphan_to_tell(line, label, is_told=is_told)
        if before.record is not None and is_covered(before.record, label, event_id):
            self.report.taken_back += 1
            self._list(Entry(label.row, "taken_back", "it was taken back since", label.key), self.report.taken_back)
            return False
        if own is not None and before.holds_another(label, own, line.row):
            why = f"{label.key} was told so, and corrected since; to go back to it, give it a later time"
            return self._refuse(Refused(label.row, why))
        if is_told:
            self.report.already_told += 1
            return False
        if not self._is_sampled(label):
            why = f"{label.key} is not in the published sample of {self._sample_rate:g}; see joinback sample-rate"
            return self._refuse(Refused(label.row, why))
        self.report.matched += 1
        self.report.before_prediction += known.predicted_at is not None and label.at < known.predicted_at
        return True

    def _is_orphan_to_tell(self, line: Line, label: Label, *, is_told: bool) -> bool:
        if not self._is_sampled(label):
            self.report.not_sampled += 1
            self._file.write(Entry(label.row, "not_sampled", "its prediction was not in the sample", label.key))
            return False
        self.report.unmatched += 1
        why = "no prediction has this join key" + ("; told already" if is_told else "")
        self._list(Entry(label.row, "unmatched", why, label.key), self.report.unmatched)
        self._remember(line, label)
        return self._orphans and not is_told

    def _is_sampled(self, label: Label) -> bool:
        return keeps(self._application, label.key, self._sample_rate)

    def _refuse(self, refused: Refused) -> bool:
        """Return False: it is not to tell."""
        self.report.refused += 1
        self._list(Entry(refused.row, "refused", refused.why), self.report.refused)
        return False

    def _list(self, entry: Entry, number: int) -> None:
        if number <= LISTED_MAX:
            self.report.listed.append(entry)
        self._file.write(entry)

    def _remember(self, line: Line, label: Label) -> None:
        if (place := self._strays.place()) is not None:
            self._strays.put(place, Stray(label.key, self._plan.key_cells(line)))


def regrouped(batches: Iterable[list[Line]], size: int) -> Iterator[list[Line]]:
    """Return the same lines in batches of this size; the last one may be smaller."""
    held: list[Line] = []
    for lines in batches:
        held += lines
        while len(held) >= size:
            yield held[:size]
            held = held[size:]
    if held:
        yield held
