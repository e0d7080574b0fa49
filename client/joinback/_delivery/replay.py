"""The last seconds of what was sent, in case the server that had it comes back without it, or another in its place.

Redis acknowledges before it writes to disk (`appendfsync everysec`), and a primary before its replica has it:
after a power cut or a failover some acknowledged events are gone. Sent again, they are there; an event that
did survive is a duplicate, which changes nothing.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from .buffer import Buffered, size_of

REPLAY_S = 5.0
"""Twice the longest loss measured: fsync each second, on a disk that takes 1.5 s for it."""
REPLAY_BYTES_MAX = 16 << 20
"""Five seconds at 5,000 events a second; beyond it memory is worth more."""


class Sent:
    """Events of one application under one tag, and the server that had them: which run of which."""

    __slots__ = ("application", "at", "events", "is_due", "key", "server", "size")

    def __init__(self, application: str, key: bytes, server: str, events: Sequence[Buffered], at: float) -> None:
        self.application = application
        self.key = key
        """One of the tag's, by which its server is found."""
        self.server = server
        self.events = events
        self.at = at
        self.size = size_of(events)
        self.is_due = False
        """Whether it is to be sent again."""


class Replay:
    """A ring of sent batches, bounded by time and by bytes. The oldest go only when newer ones come."""

    def __init__(self) -> None:
        self._ring: deque[Sent] = deque()
        self._bytes = 0

    def __bool__(self) -> bool:
        return bool(self._ring)

    def add(
        self, application: str, key: bytes, server: str, events: Sequence[Buffered], at: float | None = None
    ) -> None:
        """Remember a batch that this server has acknowledged just now; `at`, if it is one that was sent before."""
        sent = Sent(application, key, server, events, time.monotonic() if at is None else at)
        self._ring.append(sent)
        self._bytes += sent.size
        while self._bytes > REPLAY_BYTES_MAX or time.monotonic() - self._ring[0].at > REPLAY_S:
            self._bytes -= self._ring.popleft().size
            if not self._ring:
                break

    def forget(self, sent: Sent) -> None:
        """It was sent again, and added anew."""
        if sent in self._ring:
            self._ring.remove(sent)
            self._bytes -= sent.size

    def lost(self, server_of: Callable[[bytes], str | None]) -> Iterator[Sent]:
        """What another server has than holds its key now, oldest first; None: nobody knows yet who does."""
        servers: dict[bytes, str | None] = {}
        for sent in list(self._ring):
            if sent.is_due:
                continue
            if sent.key not in servers:
                servers[sent.key] = server_of(sent.key)
            if servers[sent.key] not in (None, sent.server):
                yield sent
