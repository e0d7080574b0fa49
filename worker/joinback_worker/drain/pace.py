"""How much a worker asks of Redis and of the sink in one call: less when that took too long, and by and by more."""

SLICE_RECORDS = 1_000
"""Of one call to Redis: some milliseconds in which it serves nobody else."""
SLICE_BYTES = 8 << 20
"""Of one call to Redis, and of one merge: Redis answers this in some 10 ms, a link of 30 Mbit/s brings it within the
socket's time-out, and a worker needs about ten times of it, decoded and written: it stays below 150 MB."""
HALVINGS_MAX = 10
"""Then a slice is one record; if that does not come in time either, something else is wrong."""
SUCCESSES = 8
"""In a row, before a slice doubles again: a link that is slow today would cost a time-out each time."""
MERGE_ENTRIES_MIN = 1_000
"""Of one merge to begin with: what a sink that nobody has measured yet takes within any lease and any time-out."""
MERGE_ENTRIES_MAX = 10_000
"""One sink transaction, and what a crash repeats: a commit, and each page of a table, is then paid for once in ten
thousand rows; more gained nothing on any engine."""
MERGE_S = 5.0
"""A merge that takes longer is followed by smaller ones: a twelfth of the lease, and a quarter of a tick's budget."""


class Pace:
    """Keep one for the life of a worker: what a time-out taught outlives the connection, and the tick."""

    def __init__(self, merge_entries: int = MERGE_ENTRIES_MIN) -> None:
        self._halvings = 0
        self._successes = 0
        self.merge_entries = merge_entries
        """Of one merge, at most, give or take a claim."""
        self.record_bytes: int | None = None
        """Of a record in the last slice, on average; None: not known."""

    @property
    def records(self) -> int:
        """Of one slice, at most."""
        return max(1, SLICE_RECORDS >> self._halvings)

    @property
    def bytes(self) -> int:
        """Of one slice, unless its first record alone has more."""
        return SLICE_BYTES >> self._halvings

    def shrink(self) -> bool:
        """Half as much from now on. False, and nothing done, if a slice is one record already."""
        if self._halvings == HALVINGS_MAX:
            return False
        self._halvings += 1
        self._successes = 0
        return True

    def grow(self) -> None:
        """A slice came in time."""
        self._successes += 1
        if self._successes == SUCCESSES and self._halvings:
            self._halvings -= 1
            self._successes = 0

    def merged(self, entries: int, took_s: float) -> None:
        """A merge of so many took so long: half as many from now on if it was slow, twice as many if it was quick."""
        if took_s > MERGE_S:
            self.merge_failed()
        elif entries >= self.merge_entries and took_s < MERGE_S / 4:
            self.merge_entries = min(2 * self.merge_entries, MERGE_ENTRIES_MAX)

    def merge_failed(self) -> None:
        """The sink took none of it: maybe it was too much at once."""
        self.merge_entries = max(self.merge_entries // 2, min(self.merge_entries, MERGE_ENTRIES_MIN))
