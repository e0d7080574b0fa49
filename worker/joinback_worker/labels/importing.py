"""The import itself: lines in, look-ups, events out, a report; a batch at a time, so memory does not grow."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from joinback.sampling import keeps

from .corrections import Told, as_told, corrected, corrections_of, same_in, told_in
from .lines import Line, Source
from .lookup import NOTHING, Known, Lookup
from .near import Stray, Strays, hints
from .plan import Label, Plan, Refused
from .report import LISTED_MAX, Entry, Report, ReportFile
from .teller import Teller


class Listener(Protocol):
    """Who is told how far it is."""

    def has_done(self, rows: int) -> None:
        """So many more rows are done."""

    def waits(self, why: str) -> None: ...


class Importing:
    """One run over a source that has been surveyed."""

    def __init__(
        self, application: str, sample_rate: float, plan: Plan, lookup: Lookup, file: ReportFile, *, orphans: bool
    ) -> None:
        """`sample_rate` is the published one, which feedback follows; `orphans` tells what matches nothing, too."""
        self._application = application
        self._sample_rate = sample_rate
        self._plan = plan
        self._lookup = lookup
        self._file = file
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
        told = await self._told_before([label for _, label in labels], known)
        lines_of = Counter(label.key for _, label in labels)
        last_line = {label.event_id: line.row for line, label in labels}
        to_tell = []
        for line, label in labels:
            history = told.setdefault(label.key, []) if lines_of[label.key] > 1 else told.get(label.key, [])
            if self._is_to_tell(line, label, known.get(label.key, NOTHING), history, last_line):
                label = corrected(label, history)
                to_tell.append(label)
                if lines_of[label.key] > 1:
                    history.append(as_told(label))
        return to_tell

    async def _told_before(self, labels: Sequence[Label], known: Mapping[str, Known]) -> dict[str, list[Told]]:
        """What earlier imports told of keys of which another line was told at the same time; of most none was."""
        keys = {
            label.key
            for label in labels
            for event_id in known.get(label.key, NOTHING).event_ids
            if event_id.startswith(label.moment) and event_id != label.event_id
        }
        return {key: told_in(record) for key, record in (await self._lookup.told(keys)).items()} if keys else {}

    def _is_to_tell(
        self, line: Line, label: Label, known: Known, history: Sequence[Told], last_line: Mapping[str, int]
    ) -> bool:
        own = same_in(label, history)
        if own is not None or label.event_id in known.event_ids:
            corrections = [] if own is None else corrections_of(label, own, history)
            # Where a later line of this file is the correction, the file says what holds.
            if corrections and not any(last_line.get(event_id, 0) > line.row for event_id in corrections):
                why = f"{label.key} was told so, and corrected since; to go back to it, give it a later time"
                self._refuse(Refused(label.row, why))
            else:
                self.report.already_told += 1
            return False
        is_sampled = keeps(self._application, label.key, self._sample_rate)
        if known.is_predicted:
            if not is_sampled:
                why = f"{label.key} is not in the published sample of {self._sample_rate:g}; see joinback sample-rate"
                self._refuse(Refused(label.row, why))
                return False
            self.report.matched += 1
            return True
        self.report.unmatched += 1
        self.report.not_sampled += not is_sampled
        why = "no prediction has this join key" if is_sampled else "its prediction was not in the sample"
        self._list(Entry(label.row, "unmatched", why, label.key), self.report.unmatched)
        if is_sampled:
            self._remember(line, label)
        return self._orphans and is_sampled

    def _refuse(self, refused: Refused) -> None:
        self.report.refused += 1
        self._list(Entry(refused.row, "refused", refused.why), self.report.refused)

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
