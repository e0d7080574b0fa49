"""How much a worker asks of Redis in one call: less after a time-out, and by and by as much as before."""

SLICE_RECORDS = 1_000
"""One sink transaction, and what a crash repeats."""
SLICE_BYTES = 8 << 20
"""Redis answers this in some 10 ms, a link of 30 Mbit/s brings it within the socket's time-out, and a worker needs
about ten times of it, decoded and written: it stays below 150 MB."""
HALVINGS_MAX = 10
"""Then a slice is one record; if that does not come in time either, something else is wrong."""
SUCCESSES = 8
"""In a row, before a slice doubles again: a link that is slow today would cost a time-out each time."""


class Pace:
    """Keep one for the life of a worker: what a time-out taught outlives the connection, and the tick."""

    def __init__(self) -> None:
        self._halvings = 0
        self._successes = 0

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
