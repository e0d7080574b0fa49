"""The last seconds of what was sent, in case the server that had it comes back without it.

Redis acknowledges before it writes to disk (`appendfsync everysec`), and a primary before its replica has it:
after a power cut or a failover some acknowledged events are gone. Sent again, they are there; an event that
did survive is a duplicate, which changes nothing.
"""

import time
from collections import deque
from collections.abc import Sequence

from .buffer import Buffered, size_of

REPLAY_S = 5.0
"""Twice the longest loss measured: fsync each second, on a disk that takes 1.5 s for it."""
REPLAY_BYTES_MAX = 16 << 20
"""Five seconds at 5,000 events a second; beyond it memory is worth more."""


class Replay:
    """A ring of sent batches, bounded by time and by bytes. The oldest go only when newer ones come."""

    def __init__(self) -> None:
        self._batches: deque[tuple[float, int, str, Sequence[Buffered]]] = deque()
        self._bytes = 0

    def add(self, application: str, batch: Sequence[Buffered]) -> None:
        """Remember a batch that Redis has acknowledged just now."""
        size = size_of(batch)
        self._batches.append((time.monotonic(), size, application, batch))
        self._bytes += size
        while self._bytes > REPLAY_BYTES_MAX or time.monotonic() - self._batches[0][0] > REPLAY_S:
            self._bytes -= self._batches.popleft()[1]

    def batches(self) -> list[tuple[str, Sequence[Buffered]]]:
        """By application, oldest first."""
        return [(application, batch) for _, _, application, batch in self._batches]
