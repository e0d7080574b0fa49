"""The background thread: takes batches from the buffer and sees to each of them until Redis has it.

Event ids make a re-send harmless, so whatever may have been lost is sent again. Nothing is given up for an
answer of Redis, whatever it says, but an event whose own record it calls no record: who runs Redis can mend all
else. What memory cannot hold meanwhile goes to the spool, if there is one.
"""

import threading
import time
from collections.abc import Sequence

from joinback import log
from joinback.drops import WANTED
from joinback.options import Options

from .aside import BATCH_BYTES_MAX, BATCH_EVENTS_MAX, Aside, backoff_s, by_application
from .attempts import Attempts, Dropped, Trouble
from .buffer import Buffer, Buffered
from .overflow import Overflow
from .rates import Rates

IDLE_S_MAX = 60.0
"""What was dropped at the call is told as often, though nothing else comes."""

FAULT_S = 1.0
"""How long to rest after a fault of ours outside a batch; it may be there again at once."""


class Sender:
    """The work of the thread. `stopping` ends it, after its current attempt; nothing else does."""

    def __init__(
        self,
        options: Options,
        buffer: Buffer,
        rates: Rates,
        stopping: threading.Event,
    ) -> None:
        self._buffer = buffer
        self._stopping = stopping
        self._attempts = Attempts(options, rates, buffer.unwanted)
        self._overflow = Overflow(options, buffer)
        self._aside: dict[str, Aside] = {}
        self._held = Aside()
        """Predictions, while Redis is nearly full."""
        self._losses = log.Losses()

    def run(self, linger_s: float) -> None:
        """Deliver until told to stop; what is left then goes to the spool, or counts as undelivered."""
        while not self._stopping.is_set():
            self._buffer.sleep(self._idle_s())
            self._buffer.linger(linger_s)
            try:
                self._overflow.adopt()
                while not self._stopping.is_set() and self._deliver_next():
                    pass
                self._attempts.renew()
                self._report()
            except Exception as error:
                self._attempts.fault("it goes on", error)
                self._stopping.wait(FAULT_S)
        self._end()

    def _end(self) -> None:
        for queue in (*self._aside.values(), self._held):
            while batch := queue.batch():
                queue.done(len(batch))
                self._put_away(batch)
        while batch := self._buffer.take(BATCH_EVENTS_MAX, BATCH_BYTES_MAX):
            self._put_away(batch)
        self._attempts.end()
        self._overflow.end()
        self._report(now=True)

    def abort(self, after_s: float = 0.0) -> None:
        """From another thread: give up the attempt that is under way, if it has been for so long."""
        self._attempts.abort(after_s)

    def _idle_s(self) -> float:
        """For how long to sleep, if nothing comes."""
        due = [queue.due_at for queue in self._aside.values()]
        if self._held:
            due.append(self._attempts.pause_at)
        due += [self._overflow.due_at(), self._attempts.renew_at()]
        return max(0.0, min(min(due) - time.monotonic(), IDLE_S_MAX))

    # --- what comes next --------------------------------------------------------------------------------

    def _deliver_next(self) -> bool:
        """Deliver the oldest events; while Redis is nearly full, feedback only. Returns whether to go on at once."""
        if self._aside or self._held:
            self._relieve()
        if not (self._buffer.has_waiting() or self._held or self._aside or self._overflow.events):
            return False
        paused = self._attempts.is_paused()
        if self._stopping.is_set():
            return False
        if paused:
            batch = self._buffer.take(BATCH_EVENTS_MAX, BATCH_BYTES_MAX)
            # Feedback is small and irreplaceable; predictions wait.
            self._held.add(event for event in batch if event[2].startswith("prediction:"))
            self._try_again()
            self._deliver([event for event in batch if not event[2].startswith("prediction:")])
            return bool(batch)
        if self._deliver_spooled():
            return True
        self._try_again()
        batch = self._held.batch()
        if batch:
            self._held.done(len(batch))
        else:
            batch = self._buffer.take(BATCH_EVENTS_MAX, BATCH_BYTES_MAX)
        # What comes while these are on their way waits its linger, or every batch would draw a small one after it.
        left = bool(self._held) or self._buffer.has_waiting()
        self._deliver(batch)
        return left or any(queue.is_due() for queue in self._aside.values())

    def _deliver(self, batch: Sequence[Buffered]) -> None:
        """See to a batch from memory: what cannot be written now is put aside, by application."""
        self._count_held()
        for application, events in by_application(batch).items():
            queue = self._aside.get(application)
            # Who waits already, or for Redis itself, waits in turn.
            ended: Dropped | Trouble | None = None
            if queue is None and not self._attempts.failed:
                ended = self._attempts.write(application, events)
            if isinstance(ended, dict):
                self._buffer.leave(events)
                self._buffer.settle(len(events), ended, application)
                continue
            if queue is None:
                queue = self._aside[application] = Aside()
            queue.add(events)
            self._count_held()
            if ended is not None:
                self._postpone(queue, len(events), ended)

    def _try_again(self) -> None:
        """Try what is due of what was put aside."""
        for application, queue in list(self._aside.items()):
            if self._stopping.is_set() or not queue.is_due():
                continue
            # They stay counted as held until they are settled: it is the settling that wakes up a flush.
            events = queue.batch()
            ended = self._attempts.write(application, events)
            if not isinstance(ended, dict):
                if not self._postpone(queue, len(events), ended):
                    if ended == "unreachable":
                        break
                    continue
                ended = {"internal_error": len(events)}
            queue.done(len(events))
            if not queue:
                del self._aside[application]
            self._buffer.leave(events)
            self._count_held()
            self._buffer.settle(len(events), ended, application)

    def _postpone(self, queue: Aside, count: int, trouble: Trouble) -> bool:
        """The first so many of a queue were not written. Returns whether they are to be given up."""
        if trouble == "unreachable":
            self._wait(backoff_s(self._attempts.failed))
        elif trouble == "refused":
            queue.refused(count)
        else:
            return queue.failed(count)
        return False

    def _deliver_spooled(self) -> bool:
        """Deliver the oldest frame on disk. Returns whether to go on at once."""
        frame = self._overflow.read()
        if frame is None:
            return False
        all_ended: list[tuple[int, Dropped, str]] = [(frame.damaged, {"spool_damaged": frame.damaged}, "")]
        for application, events in by_application(frame.events).items():
            ended = self._attempts.write(application, events)
            if not isinstance(ended, dict):
                # The file stays as it is, for later or for the next process; what is in memory goes its way.
                self._overflow.refused()
                if ended == "unreachable":
                    self._wait(backoff_s(self._attempts.failed))
                return ended == "unreachable"
            all_ended.append((len(events), ended, application))
        self._overflow.delivered(frame)
        self._count_held()
        for number, ended, application in all_ended:
            self._buffer.settle(number, ended, application)
        return True

    # --- what waits -------------------------------------------------------------------------------------

    def _wait(self, delay_s: float) -> None:
        """Let some time pass, and no more events into memory than it can hold."""
        until = time.monotonic() + delay_s
        while (remaining_s := until - time.monotonic()) > 0 and not self._stopping.is_set():
            self._relieve()
            self._report()
            self._stopping.wait(self._overflow.look_s(remaining_s))

    def _relieve(self) -> None:
        """Move the oldest events from memory to disk if there are many."""
        while self._overflow.is_crowded() and (batch := self._oldest()):
            if not self._overflow.append(batch):
                # Back where they can be found.
                self._deliver_later(batch)
                break
        self._count_held()

    def _oldest(self) -> list[Buffered]:
        for application, queue in list(self._aside.items()):
            batch = queue.batch()
            queue.done(len(batch))
            if not queue:
                del self._aside[application]
            return batch
        if batch := self._held.batch():
            self._held.done(len(batch))
            return batch
        return self._buffer.take(BATCH_EVENTS_MAX, BATCH_BYTES_MAX)

    def _deliver_later(self, batch: Sequence[Buffered]) -> None:
        for application, events in by_application(batch).items():
            self._aside.setdefault(application, Aside()).add(events)

    def _put_away(self, batch: Sequence[Buffered]) -> None:
        """At the end: to the spool, or to the count of what was not delivered."""
        if not self._overflow.append(batch):
            self._buffer.leave(batch)
            for application, events in by_application(batch).items():
                self._buffer.settle(len(events), {"undelivered": len(events)}, application)

    def _count_held(self) -> None:
        aside = sum(len(queue) for queue in self._aside.values())
        self._buffer.held = len(self._held) + aside + self._overflow.events

    def _report(self, *, now: bool = False) -> None:
        dropped = self._buffer.stats()["dropped"]
        self._losses.tell({reason: n for reason, n in dropped.items() if reason not in WANTED}, now=now)
