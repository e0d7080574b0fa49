"""The background thread: it takes batches from the buffer, and tries to write each until Redis has it.

Event ids make a second send harmless, so whatever may have been lost is sent again. Whatever Redis answers, the events
wait: the people who run Redis can fix it. There is one exception: an event is dropped as `wrong_type` if the key of its
record is not a hash. What memory cannot hold meanwhile goes to the spool, if there is one.
"""

import threading
import time
from collections.abc import Sequence

from joinback import log
from joinback.drops import WANTED
from joinback.options import Options

from .aside import BATCH_BYTES_MAX, BATCH_EVENTS_MAX, Aside, backoff_s, by_application
from .attempts import Attempts, Dropped, Trouble
from .backlog import Backlog
from .buffer import Buffer
from .plain import Buffered
from .rates import Rates

IDLE_S_MAX = 60.0
"""The longest sleep: so often drops at the call are logged, even if nothing else comes."""

FAULT_S = 1.0
"""How long to rest after a fault of Joinback outside a batch, which may come again at once."""


class Sender:
    """The work of the thread. Only `stopping` ends it, after the attempt that is under way."""

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
        self._backlog = Backlog(options, buffer)
        self._losses = log.Losses()

    def run(self, linger_s: float) -> None:
        """Deliver until `stopping` is set. What is left then goes to the spool, or counts as `undelivered`."""
        while not self._stopping.is_set():
            self._buffer.sleep(self._idle_s())
            self._buffer.linger(linger_s)
            try:
                self._backlog.adopt()
                while not self._stopping.is_set() and self._deliver_next():
                    pass
                self._attempts.renew()
                self._report()
            except Exception as error:
                self._attempts.fault("it goes on", error)
                self._stopping.wait(FAULT_S)
        self._end()

    def _end(self) -> None:
        self._backlog.put_away()
        self._attempts.end()
        self._backlog.end()
        self._report(now=True)

    def abort(self, after_s: float = 0.0) -> None:
        """From another thread: end the attempt that is under way, if it has taken `after_s` seconds."""
        self._attempts.abort(after_s)

    def _idle_s(self) -> float:
        """Return how long to sleep if nothing comes."""
        due_at = min(self._backlog.due_at(self._attempts.pause_at), self._attempts.renew_at())
        return max(0.0, min(due_at - time.monotonic(), IDLE_S_MAX))

    # --- what comes next --------------------------------------------------------------------------------

    def _deliver_next(self) -> bool:
        """Deliver the oldest events; while Redis is nearly full, feedback only. Return whether to go on at once."""
        if self._backlog.is_in_memory:
            self._backlog.relieve()
        if not (self._backlog or self._buffer.has_waiting()):
            return False
        paused = self._attempts.is_paused()
        if self._stopping.is_set():
            return False
        if paused:
            batch = self._buffer.take(BATCH_EVENTS_MAX, BATCH_BYTES_MAX)
            # Feedback is small and irreplaceable; predictions wait.
            self._backlog.hold_back(event for event in batch if event[2].startswith("prediction:"))
            self._try_again()
            self._deliver([event for event in batch if not event[2].startswith("prediction:")])
            return bool(batch)
        if self._deliver_spooled():
            return True
        self._try_again()
        batch = self._backlog.take_held_back() or self._buffer.take(BATCH_EVENTS_MAX, BATCH_BYTES_MAX)
        # Events that come during this attempt wait for the linger: otherwise a small batch would follow each batch.
        left = self._backlog.holds_back or self._buffer.has_waiting()
        self._deliver(batch)
        return left or any(self._backlog.due())

    def _deliver(self, batch: Sequence[Buffered]) -> None:
        """Write a batch from memory. What cannot be written now is put aside, by application."""
        for application, events in by_application(batch).items():
            queue = self._backlog.aside(application)
            # No attempt if events of this application wait already, or if Redis was not reached: these wait behind.
            ended: Dropped | Trouble | None = None
            if queue is None and not self._attempts.failed:
                ended = self._attempts.write(application, events)
            if isinstance(ended, dict):
                self._buffer.free(events)
                self._buffer.settle(len(events), ended, application)
                continue
            queue = self._backlog.put_aside(application, events)
            if ended is not None:
                self._postpone(queue, len(events), ended)
        self._backlog.note_settled()

    def _try_again(self) -> None:
        """Try the events that were put aside, where it is time."""
        for application, queue in self._backlog.due():
            if self._stopping.is_set():
                break
            events = queue.batch()
            ended = self._attempts.write(application, events)
            if not isinstance(ended, dict):
                if not self._postpone(queue, len(events), ended):
                    if ended == "unreachable":
                        break
                    continue
                ended = {"internal_error": len(events)}
            self._backlog.ended(application, queue, len(events))
            self._buffer.free(events)
            self._buffer.settle(len(events), ended, application)
            self._backlog.note_settled()

    def _postpone(self, queue: Aside, count: int, trouble: Trouble) -> bool:
        """Choose when to try the first `count` events of a queue again. Return whether to give them up."""
        if trouble == "unreachable":
            self._wait(backoff_s(self._attempts.failed))
        elif trouble == "refused":
            queue.refused(count)
        else:
            return queue.failed(count)
        return False

    def _deliver_spooled(self) -> bool:
        """Deliver the oldest frame on disk. Return whether to go on at once."""
        frame = self._backlog.read()
        if frame is None:
            return False
        all_ended: list[tuple[int, Dropped, str]] = [(frame.damaged, {"spool_damaged": frame.damaged}, "")]
        refused: list[Buffered] = []
        for application, events in by_application(frame.events).items():
            ended = self._attempts.write(application, events)
            if isinstance(ended, dict):
                all_ended.append((len(events), ended, application))
            elif ended == "unreachable":
                # The file stays for a later try or the next process. Events in memory are tried meanwhile.
                self._backlog.postpone()
                self._wait(backoff_s(self._attempts.failed))
                return True
            else:
                refused += events
        if not self._backlog.delivered(frame, refused):
            # What has ended is then sent once more, which is harmless.
            self._backlog.postpone()
            return False
        for number, ended, application in all_ended:
            self._buffer.settle(number, ended, application)
        self._backlog.note_settled()
        return True

    # --- what waits -------------------------------------------------------------------------------------

    def _wait(self, delay_s: float) -> None:
        """Wait so long, and meanwhile move events to disk if memory becomes too full."""
        until = time.monotonic() + delay_s
        while (remaining_s := until - time.monotonic()) > 0 and not self._stopping.is_set():
            self._backlog.relieve()
            self._report()
            self._stopping.wait(self._backlog.look_s(remaining_s))

    def _report(self, *, now: bool = False) -> None:
        dropped = self._buffer.stats()["dropped"]
        self._losses.report({reason: n for reason, n in dropped.items() if reason not in WANTED}, now=now)
