"""The import itself: it reads lines, looks up their keys, sends events and counts, all in bounded memory."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from joinback.sampling import keeps
from joinback_worker.law.record import Record

from .corrections import Imported, as_imported, corrected, corrections_of, imported_in, same_in
from .label_sender import LabelSender
from .lines import Line, Source
from .lookup import NOTHING, Known, Lookup
from .near import Stray, Strays, hints
from .plan import Label, Plan, Refused
from .report import LISTED_MAX, Entry, Report, ReportFile
from .ruling import Ruling
from .taken_back import is_covered


class Listener(Protocol):
    """What shows to a person how far the import is."""

    def has_done(self, rows: int) -> None:
        """Show that this many more rows are done."""

    def waits(self, why: str) -> None:
        """Show why the import waits."""


class Before(NamedTuple):
    """What Redis, the sink and earlier lines hold of the key of a label."""

    known: Known
    imported: Sequence[Imported]
    """Imported events of the key, if one may be the label itself or contradict it."""
    record: Record | None
    """Feedback and retractions of the key, if they may contradict or cover the label."""
    last_line: Mapping[str, int]
    """Event id -> the last row of this batch that gives it."""

    def is_corrected(self, label: Label, own: Imported, row: int) -> bool:
        """Return whether the label was corrected after it was imported as `own`.

        A correction by a later line of this file does not count: that line is still to come, and then holds.
        """
        corrections = corrections_of(label, own, self.imported)
        return bool(corrections) and not any(self.last_line.get(event_id, 0) > row for event_id in corrections)


class Importing:
    """The second reading of a source, after its survey."""

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
        """`sample_rate` is the published one, which feedback follows. `orphans`: send labels too that match nothing."""
        self._application = application
        self._sample_rate = sample_rate
        self._plan = plan
        self._lookup = lookup
        self._file = file
        self._ruling = ruling
        self._orphans = orphans
        self._strays = Strays()
        self.report = Report(listed=[], hints=[])

    async def run(self, source: Source, sender: LabelSender | None, listener: Listener) -> Report:
        """Import all lines and return the report; without a sender only look up. Raises JoinbackError, and what the
        look-up raises.
        """
        for lines in regrouped(source.batches(self._plan.wanted), self._lookup.at_once):
            labels = self._read(lines)
            if sender is not None:
                await sender.deliver_all_of({label.key for _, label in labels})
            to_send = await self._to_send(labels)
            if sender is not None and to_send:
                await sender.send(to_send, listener.waits)
            listener.has_done(len(lines))
        if sender is not None:
            self.report.told = await sender.finish()
        if self._strays.sample:
            self.report.hints = await hints(self._lookup, self._strays.sample)
        return self.report

    def _read(self, lines: Sequence[Line]) -> list[tuple[Line, Label]]:
        """Return the lines that are labels; count the others."""
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

    async def _to_send(self, labels: Sequence[tuple[Line, Label]]) -> list[Label]:
        """Return the labels to send; count each label. For the lines after it, a label to send counts as sent."""
        labels = await self._without_erased(labels)
        known = await self._lookup.known({label.key for _, label in labels})
        records = await self._feedback_before([label for _, label in labels], known)
        imported = {key: imported_in(record) for key, record in records.items()}
        lines_of = Counter(label.key for _, label in labels)
        last_line = {label.event_id: line.row for line, label in labels}
        to_send = []
        for line, label in labels:
            several = lines_of[label.key] > 1
            history = imported.setdefault(label.key, []) if several else imported.get(label.key, [])
            before = Before(known.get(label.key, NOTHING), history, records.get(label.key), last_line)
            if self._is_to_send(line, label, before):
                label = corrected(label, history)
                to_send.append(label)
                if several:
                    history.append(as_imported(label))
        return to_send

    async def _without_erased(self, labels: Sequence[tuple[Line, Label]]) -> list[tuple[Line, Label]]:
        """Return the labels of keys that are not erased; count the others."""
        erased = await self._lookup.erased({label.key for _, label in labels})
        kept = []
        for line, label in labels:
            if label.key in erased:
                self.report.erased += 1
                why = "it was erased, and a drain would delete the label; joinback explain says until when"
                self._list(Entry(label.row, "erased", why, label.key), self.report.erased)
            else:
                kept.append((line, label))
        return kept

    async def _feedback_before(self, labels: Sequence[Label], known: Mapping[str, Known]) -> dict[str, Record]:
        """Return key -> its feedback and retractions, only for keys where they matter. They do if the key has another
        imported event of the same time, or a retraction; most keys have neither.
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
        return await self._lookup.feedback_of(keys) if keys else {}

    def _is_to_send(self, line: Line, label: Label, before: Before) -> bool:
        """Return whether to send this label; count it."""
        known = before.known
        if known.predicted_at is not None and (why := self._ruling.lateness(label, known.predicted_at)):
            return self._refuse(Refused(label.row, why))
        own = same_in(label, before.imported)
        event_id = label.event_id if own is None else own.event_id
        is_sent = own is not None or event_id in known.event_ids
        if not is_sent and (why := self._ruling.breach(label)):
            return self._refuse(Refused(label.row, why))
        if not known.is_predicted:
            return self._is_orphan_to_send(line, label, is_sent=is_sent)
        if before.record is not None and is_covered(before.record, label, event_id):
            self.report.taken_back += 1
            self._list(Entry(label.row, "taken_back", "a retraction takes it back", label.key), self.report.taken_back)
            return False
        if own is not None and before.is_corrected(label, own, line.row):
            why = f"{label.key} had this label, and it was corrected since; to return to it, give it a later time"
            return self._refuse(Refused(label.row, why))
        if is_sent:
            self.report.already_told += 1
            return False
        if not self._is_sampled(label):
            why = f"{label.key} is not in the published sample of {self._sample_rate:g}; see joinback sample-rate"
            return self._refuse(Refused(label.row, why))
        self.report.matched += 1
        self.report.before_prediction += known.predicted_at is not None and label.at < known.predicted_at
        return True

    def _is_orphan_to_send(self, line: Line, label: Label, *, is_sent: bool) -> bool:
        if not self._is_sampled(label):
            self.report.not_sampled += 1
            self._file.write(Entry(label.row, "not_sampled", "its prediction was not in the sample", label.key))
            return False
        self.report.unmatched += 1
        why = "no prediction has this join key" + ("; it was sent before" if is_sent else "")
        self._list(Entry(label.row, "unmatched", why, label.key), self.report.unmatched)
        self._remember(line, label)
        return self._orphans and not is_sent

    def _is_sampled(self, label: Label) -> bool:
        return keeps(self._application, label.key, self._sample_rate)

    def _refuse(self, refused: Refused) -> bool:
        """Count a refused line. Return False: do not send it."""
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
    """Yield the same lines in batches of this size; the last one may be smaller."""
    held: list[Line] = []
    for lines in batches:
        held += lines
        while len(held) >= size:
            yield held[:size]
            held = held[size:]
    if held:
        yield held
