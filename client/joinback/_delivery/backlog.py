"""What was taken from the buffer, or would not stay there, and has not ended: aside, held back, or on disk.

Events of an application that could not be written wait aside, predictions are held back while Redis is nearly full,
and what memory cannot hold goes to the spool, if there is one.
"""

import os
import time
from collections.abc import Iterable, Iterator, Sequence

from joinback import log
from joinback.options import Options

from .aside import BATCH_BYTES_MAX, BATCH_EVENTS_MAX, Aside, backoff_s, by_application
from .buffer import Buffer, Buffered
from .spool import Spool
from .spool_segment import Frame

SPOOL_AT, SPOOL_TO = 0.5, 0.25
"""How full the memory is when events begin to go to disk, and when they cease: room for a burst on either side."""
LOOK_S = 0.1
"""How often to look meanwhile: at 100,000 events per second a tenth of the default buffer comes in that time."""
ADOPT_S = 60.0
"""How often to look for the spool of a process that is gone."""
RETRY_S = 60.0
"""How long a disk that took nothing is left alone."""


class Backlog:
    """The sender's; one thread uses it. They count as held by the buffer, and so as buffered."""

    def __init__(self, options: Options, buffer: Buffer) -> None:
        self._buffer = buffer
        self._aside: dict[str, Aside] = {}
        self._held = Aside()
        self._spool = _spool(options)
        self._adopt_at = 0.0
        self._append_at = 0.0
        self._read_at = 0.0
        self._attempt = 0
        self._is_relieving = False

    def __bool__(self) -> bool:
        return self.is_in_memory or self._spooled > 0

    @property
    def is_in_memory(self) -> bool:
        """Whether some of these take up room in memory."""
        return bool(self._aside or self._held)

    @property
    def _spooled(self) -> int:
        return 0 if self._spool is None else self._spool.events

    def count(self) -> None:
        """Tell the buffer how many these are."""
        self._buffer.held = len(self._held) + sum(map(len, self._aside.values())) + self._spooled

    def due_at(self, pause_at: float) -> float:
        """Return when to look again though nothing came. What is held back waits until `pause_at`."""
        due = [queue.due_at for queue in self._aside.values()]
        if self._held:
            due.append(pause_at)
        if self._spool is not None:
            due.append(self._adopt_at)
            if self._spool.events:
                due.append(self._read_at)
        return min(due, default=float("inf"))

    def look_s(self, remaining_s: float) -> float:
        """How long to wait before looking at the memory again."""
        return remaining_s if self._spool is None else min(remaining_s, LOOK_S)

    # --- in memory --------------------------------------------------------------------------------------

    def aside(self, application: str) -> Aside | None:
        """Return the queue of an application, if any of its events wait."""
        return self._aside.get(application)

    def put_aside(self, application: str, events: Sequence[Buffered]) -> Aside:
        """Let these wait behind those of their application that wait already; return its queue."""
        queue = self._aside.setdefault(application, Aside())
        queue.add(events)
        self.count()
        return queue

    def due(self) -> Iterator[tuple[str, Aside]]:
        """Yield each application and queue of which it is time to try the first events."""
        for application, queue in list(self._aside.items()):
            if queue.is_due():
                yield application, queue

    def ended(self, application: str, queue: Aside, count: int) -> None:
        """The first so many of a queue have ended."""
        queue.done(count)
        if not queue:
            self._aside.pop(application, None)

    def hold_back(self, events: Iterable[Buffered]) -> None:
        """Let predictions wait until Redis has room."""
        self._held.add(events)

    @property
    def holds_back(self) -> bool:
        """Whether predictions wait until Redis has room."""
        return bool(self._held)

    def take_held(self) -> list[Buffered]:
        """Return the oldest that were held back. They count as buffered until settled."""
        batch = self._held.batch()
        self._held.done(len(batch))
        return batch

    # --- to the disk ------------------------------------------------------------------------------------

    def relieve(self) -> None:
        """Move the oldest events from memory to disk if there are many."""
        while self._is_crowded() and (batch := self._oldest()):
            if not self._append(batch):
                # Back where they can be found.
                for application, events in by_application(batch).items():
                    self.put_aside(application, events)
                break
        self.count()

    def _oldest(self) -> list[Buffered]:
        for application, queue in list(self._aside.items()):
            batch = queue.batch()
            self.ended(application, queue, len(batch))
            return batch
        return self.take_held() or self._buffer.take(BATCH_EVENTS_MAX, BATCH_BYTES_MAX)

    def _is_crowded(self) -> bool:
        """Whether events should go to disk, as far as the disk takes them."""
        if self._spool is None or time.monotonic() < self._append_at:
            self._is_relieving = False
        else:
            self._is_relieving = self._buffer.fill() > (SPOOL_TO if self._is_relieving else SPOOL_AT)
        return self._is_relieving

    def _append(self, batch: Sequence[Buffered]) -> bool:
        """Move events from memory to disk. False if there is no disk, or it does not take them; says so."""
        if self._spool is None:
            return False
        if not self._spool.append(batch):
            self._append_at = time.monotonic() + RETRY_S
            log.warning("joinback: %s", self._spool.trouble)
            return False
        self._buffer.leave(batch)
        return True

    # --- and back ---------------------------------------------------------------------------------------

    def read(self) -> Frame | None:
        """The oldest frame, if it is time for it."""
        if self._spool is None or time.monotonic() < self._read_at:
            return None
        frame = self._spool.read()
        if frame is None and self._spool.events:
            log.warning("joinback: %s", self._spool.trouble)
            self._read_at = time.monotonic() + RETRY_S
        return frame

    def delivered(self, frame: Frame) -> None:
        """The frame that was read last has ended."""
        self._attempt = 0
        if self._spool is not None:
            self._spool.delivered(frame)

    def refused(self) -> None:
        """The frame that was read last stays, for some time."""
        self._attempt += 1
        self._read_at = time.monotonic() + backoff_s(self._attempt)

    def adopt(self) -> None:
        """Take over what processes left that are gone, if it is time to look."""
        if self._spool is None or time.monotonic() < self._adopt_at:
            return
        self._adopt_at = time.monotonic() + ADOPT_S
        if found := self._spool.adopt():
            self._buffer.recover(found)
            self._buffer.held += found
            log.warning("joinback: %d events of an earlier process found in the spool", found)

    # --- the end ----------------------------------------------------------------------------------------

    def put_away(self) -> None:
        """Move all that is in memory to the spool, or to the count of what was not delivered."""
        while batch := self._oldest():
            if not self._append(batch):
                self._buffer.leave(batch)
                for application, events in by_application(batch).items():
                    self._buffer.settle(len(events), {"undelivered": len(events)}, application)

    def end(self) -> None:
        """Leave the files for the next process."""
        if self._spool is not None:
            if self._spool.events:
                log.warning("joinback: %d events stay in the spool for the next process", self._spool.events)
            self._spool.forget()


def _spool(options: Options) -> Spool | None:
    if options.spool_dir is None:
        return None
    try:
        return Spool(options.spool_dir, options.spool_bytes_max)
    except OSError as error:
        # It was there when the client was configured, unless this system has no locks.
        why = error.strerror or os.strerror(error.errno or 0)
        log.warning("joinback: no spool: %s; make %s writable and restart", why, options.spool_dir)
        return None
