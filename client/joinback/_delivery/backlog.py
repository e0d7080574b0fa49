"""The events that were taken from the buffer and have not ended.

They wait in three places. Events that could not be written are put aside, per application. Predictions are held back
while Redis is nearly full. What memory cannot hold goes to the spool on disk, if there is one.
"""

import os
import time
from collections.abc import Iterable, Iterator, Sequence

from joinback import log
from joinback.options import Options

from .aside import BATCH_BYTES_MAX, BATCH_EVENTS_MAX, Aside, backoff_s, by_application
from .buffer import Buffer
from .plain import Buffered
from .spool import Spool
from .spool_segment import Frame

SPOOL_AT, SPOOL_TO = 0.5, 0.25
"""How full memory is when events start to go to disk, and when they stop. The rest is room for a burst."""
LOOK_S = 0.1
"""How often to look at memory meanwhile: 100,000 events per second fill a tenth of the default buffer in this time."""
ADOPT_S = 60.0
"""How often to look for spool files of processes that are gone."""
RETRY_S = 60.0
"""How long to wait after the disk refused a write or a read."""


class Backlog:
    """Used by the sender's thread. The buffer counts these events as buffered, and no flush passes them over."""

    def __init__(self, options: Options, buffer: Buffer) -> None:
        self._buffer = buffer
        self._aside: dict[str, Aside] = {}
        self._held_back = Aside()
        self._spool = _spool(options)
        self._place = 0.0
        """The place of what comes here next: nothing that is in hand has a smaller one."""
        self._adopt_at = 0.0
        self._append_at = 0.0
        self._read_at = 0.0
        self._attempt = 0
        self._is_relieving = False

    def __bool__(self) -> bool:
        return self.is_in_memory or self._spooled > 0

    @property
    def is_in_memory(self) -> bool:
        """Whether some of these events are in memory."""
        return bool(self._aside or self._held_back)

    @property
    def _spooled(self) -> int:
        return 0 if self._spool is None else self._spool.events

    def note_settled(self) -> None:
        """Tell the buffer how many of the first events have settled. It passes on no event that is in hand."""
        queues = [self._held_back, *self._aside.values()]
        places = [queue.smallest_place() for queue in queues]
        if self._spool is not None:
            places.append(self._spool.smallest_place())
        if self._buffer.note_settled(sum(map(len, queues)) + self._spooled, min(places)):
            self._place = self._buffer.taken_events

    def due_at(self, pause_at: float) -> float:
        """Return the monotonic time to look again if nothing comes. Events held back wait until `pause_at`."""
        due = [queue.due_at for queue in self._aside.values()]
        if self._held_back:
            due.append(pause_at)
        if self._spool is not None:
            due.append(self._adopt_at)
            if self._spool.events:
                due.append(self._read_at)
        return min(due, default=float("inf"))

    def look_s(self, remaining_s: float) -> float:
        """Return how long to wait before the next look at memory."""
        return remaining_s if self._spool is None else min(remaining_s, LOOK_S)

    # --- in memory --------------------------------------------------------------------------------------

    def aside(self, application: str) -> Aside | None:
        """Return the queue of an application; None if none of its events are aside."""
        return self._aside.get(application)

    def put_aside(self, application: str, events: Sequence[Buffered]) -> Aside:
        """Add events to the queue of their application, and return the queue."""
        queue = self._aside.setdefault(application, Aside())
        queue.add(events, self._place)
        return queue

    def due(self) -> Iterator[tuple[str, Aside]]:
        """Yield each application and its queue where it is time to try the first events."""
        for application, queue in list(self._aside.items()):
            if queue.is_due():
                yield application, queue

    def ended(self, application: str, queue: Aside, count: int) -> None:
        """Remove the first `count` events of a queue: they have ended, or go elsewhere."""
        self._place = min(self._place, queue.done(count))
        if not queue:
            self._aside.pop(application, None)

    def hold_back(self, events: Iterable[Buffered]) -> None:
        """Add predictions to those that wait until Redis has room."""
        self._held_back.add(events, self._place)

    @property
    def holds_back(self) -> bool:
        """Whether predictions wait until Redis has room."""
        return bool(self._held_back)

    def take_held_back(self) -> list[Buffered]:
        """Remove and return the oldest predictions that were held back. They count as buffered until settled."""
        batch = self._held_back.batch()
        self._place = min(self._place, self._held_back.done(len(batch)))
        return batch

    # --- to the disk ------------------------------------------------------------------------------------

    def relieve(self) -> None:
        """Move the oldest events from memory to disk while memory is too full."""
        while self._is_crowded() and (batch := self._oldest()):
            if not self._append(batch):
                # Put them where they are found again.
                for application, events in by_application(batch).items():
                    self.put_aside(application, events)
                break

    def _oldest(self) -> Sequence[Buffered]:
        for application, queue in list(self._aside.items()):
            batch = queue.batch()
            self.ended(application, queue, len(batch))
            return batch
        return self.take_held_back() or self._buffer.take(BATCH_EVENTS_MAX, BATCH_BYTES_MAX)

    def _is_crowded(self) -> bool:
        """Return whether events should go to disk now. False for a while after the disk refused some."""
        if self._spool is None or time.monotonic() < self._append_at:
            self._is_relieving = False
        else:
            self._is_relieving = self._buffer.fullness() > (SPOOL_TO if self._is_relieving else SPOOL_AT)
        return self._is_relieving

    def _append(self, batch: Sequence[Buffered]) -> bool:
        """Move events from memory to disk. Return False if there is no spool, or if that failed, which is logged."""
        if self._spool is None:
            return False
        if not self._spool.append(batch, self._place):
            self._append_at = time.monotonic() + RETRY_S
            log.warning("joinback: %s", self._spool.trouble)
            return False
        self._buffer.free(batch)
        return True

    # --- and back ---------------------------------------------------------------------------------------

    def read(self) -> Frame | None:
        """Return the oldest frame of the spool; None if there is none, or it is not yet time for it."""
        if self._spool is None or time.monotonic() < self._read_at:
            return None
        frame = self._spool.read()
        if frame is None and self._spool.events:
            log.warning("joinback: %s", self._spool.trouble)
            self._read_at = time.monotonic() + RETRY_S
        return frame

    def delivered(self, frame: Frame, refused: Sequence[Buffered] = ()) -> bool:
        """Note that the frame that was read last has ended, but for the events in it that were refused.

        These go to the end of the spool, so that they do not hold up those of other applications. Return False, with
        nothing done, if the disk has no room for them.
        """
        spool = self._spool
        if spool is None or (refused and not spool.append(refused, spool.smallest_place())):
            return False
        missing = spool.delivered(frame)
        if missing < 0:
            self._buffer.recover(-missing)
        else:
            self._buffer.settle(missing, {"spool_damaged": missing})
        if len(refused) < len(frame.events) or not frame.events:
            self._attempt = 0
        else:
            self.postpone()
        return True

    def postpone(self) -> None:
        """Wait before the next look at the spool."""
        self._attempt += 1
        self._read_at = time.monotonic() + backoff_s(self._attempt)

    def adopt(self) -> None:
        """Take over the spool files of processes that are gone, if it is time to look for them."""
        if self._spool is None or time.monotonic() < self._adopt_at:
            return
        self._adopt_at = time.monotonic() + ADOPT_S
        if found := self._spool.adopt():
            self._buffer.recover(found)
            self.note_settled()
            log.warning("joinback: %d events of an earlier process found in the spool", found)

    # --- the end ----------------------------------------------------------------------------------------

    def put_away(self) -> None:
        """Move all events in memory to the spool, or count them as `undelivered`."""
        while batch := self._oldest():
            if not self._append(batch):
                self._buffer.free(batch)
                for application, events in by_application(batch).items():
                    self._buffer.settle(len(events), {"undelivered": len(events)}, application)
        self.note_settled()

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
        # The directory was there when the client was configured; or this system has no file locks.
        why = error.strerror or os.strerror(error.errno or 0)
        log.warning("joinback: no spool: %s; make %s writable and restart", why, options.spool_dir)
        return None
