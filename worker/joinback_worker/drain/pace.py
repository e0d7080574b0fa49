"""How much a worker asks of Redis, and gives to the sink, in one call: less after a slow call, then slowly more."""

SLICE_RECORDS = 1_000
"""The most records of one call to Redis: it serves nobody else during those milliseconds."""
SLICE_BYTES = 8 << 20
"""The most bytes of one call to Redis, and of one merge. Redis answers 8 MiB in some 10 ms, and a link of 30 Mbit/s
brings them within the socket's time-out. Decoded and written, they take the worker about ten times as much memory, so
it stays below 150 MB."""
HALVINGS_MAX = 10
"""How often a slice may be halved: after ten times it is one record. If one does not come in time, the link is not
the reason."""
SUCCESSES = 8
"""So many slices in a row must come in time before a slice doubles again: on a slow link each doubling would cost a
time-out."""
MERGE_ENTRIES_MIN = 1_000
"""The entries of a worker's first merge: few enough for any sink within the lease and any time-out."""
MERGE_ENTRIES_MAX = 10_000
"""The most entries of one merge, which is one transaction of the sink, and is repeated after a crash. A commit, and
each page of a table, is then paid once per ten thousand rows; larger merges gained nothing on any engine."""
MERGE_S = 5.0
"""After a merge that takes longer, the next ones are smaller. It is a twelfth of the lease, and a quarter of the time
that one tag has in a round."""


class Pace:
    """The sizes of slices and merges of one tag. Keep one for the life of a worker, so that it remembers time-outs."""

    def __init__(self, merge_entries: int = MERGE_ENTRIES_MIN) -> None:
        self._halvings = 0
        self._successes = 0
        self.merge_entries = merge_entries
        """About the most entries of one merge: no more are claimed once it has so many."""
        self.record_bytes: int | None = None
        """The mean bytes of a record in the last slice; None: not known."""

    @property
    def records(self) -> int:
        """The most records of one slice."""
        return max(1, SLICE_RECORDS >> self._halvings)

    @property
    def bytes(self) -> int:
        """The most bytes of one slice, unless its first record alone has more."""
        return SLICE_BYTES >> self._halvings

    def shrink(self) -> bool:
        """Halve the slices from now on. Return False, and do nothing, if a slice is one record already."""
        if self._halvings == HALVINGS_MAX:
            return False
        self._halvings += 1
        self._successes = 0
        return True

    def grow(self) -> None:
        """Count a slice that came in time; after SUCCESSES in a row, double the slices."""
        self._successes += 1
        if self._successes == SUCCESSES and self._halvings:
            self._halvings -= 1
            self._successes = 0

    def merged(self, entries: int, took_s: float) -> None:
        """Note how long a merge of so many entries took: halve the merges if it was slow, double them if quick."""
        if took_s > MERGE_S:
            self.merge_failed()
        elif entries >= self.merge_entries and took_s < MERGE_S / 4:
            self.merge_entries = min(2 * self.merge_entries, MERGE_ENTRIES_MAX)

    def merge_failed(self) -> None:
        """Halve the merges from now on, down to MERGE_ENTRIES_MIN: the last may have been too large for the sink."""
        self.merge_entries = max(self.merge_entries // 2, min(self.merge_entries, MERGE_ENTRIES_MIN))
