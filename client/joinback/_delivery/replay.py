"""The events of the last seconds, kept to be sent again if the server loses them.

Redis acknowledges before it writes to disk (`appendfsync everysec`), and a primary before its replica has the data. So
a power cut or a failover can lose acknowledged events. They are sent again. An event that survived is then a duplicate,
which changes nothing.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from .plain import Buffered, size_of

REPLAY_S = 5.0
"""Twice the longest loss measured: with fsync each second, on a disk where it takes 1.5 s."""
REPLAY_BYTES_MAX = 16 << 20
"""Five seconds of 5,000 events per second; more would cost the service too much memory."""


class Sent:
    """A sent batch of events under one tag, and the run of the server that acknowledged it."""

    __slots__ = ("application", "at", "events", "is_due", "key", "server", "size")

    def __init__(self, application: str, key: bytes, server: str, events: Sequence[Buffered], at: float) -> None:
        self.application = application
        self.key = key
        """A key of the tag, by which its server is found."""
        self.server = server
        self.events = events
        self.at = at
        self.size = size_of(events)
        self.is_due = False
        """Whether it is going to be sent again."""


class Replay:
    """A ring of sent batches, bounded by time and by bytes. Old ones are removed when a new one comes."""

    def __init__(self) -> None:
        self._ring: deque[Sent] = deque()
        self._bytes = 0

    def __bool__(self) -> bool:
        return bool(self._ring)

    def add(
        self, application: str, key: bytes, server: str, events: Sequence[Buffered], at: float | None = None
    ) -> None:
        """Remember a batch that this server has just acknowledged. `at` is when it was first sent, if it was before."""
        sent = Sent(application, key, server, events, time.monotonic() if at is None else at)
        self._ring.append(sent)
        self._bytes += sent.size
        while self._bytes > REPLAY_BYTES_MAX or time.monotonic() - self._ring[0].at > REPLAY_S:
            self._bytes -= self._ring.popleft().size
            if not self._ring:
                break

    def forget(self, sent: Sent) -> None:
        """Remove a batch that was sent, and so added, again."""
        if sent in self._ring:
            self._ring.remove(sent)
            self._bytes -= sent.size

    def lost(self, server_of: Callable[[bytes], str | None]) -> Iterator[Sent]:
        """Yield, oldest first, the batches whose key is now held by another server than the one that had them.

        `server_of` returns the server that holds a key, or None if that is not known yet.
        """
        servers: dict[bytes, str | None] = {}
        for sent in list(self._ring):
            if sent.is_due:
                continue
            if sent.key not in servers:
                servers[sent.key] = server_of(sent.key)
            if servers[sent.key] not in (None, sent.server):
                yield sent
