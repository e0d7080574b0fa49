"""The life of a delivery: a buffer and the thread that empties it, from the first event to the last.

The thread starts with the first event. A forked child starts anew and empty, since its parent still delivers
what its parent buffered. The interpreter's exit closes what is open.
"""

import atexit
import sys
import threading
import time
import weakref
from typing import Any

from . import forks, log, uwsgi, wire
from .buffer import Buffer
from .route import Route
from .sender import Sender

LINGER_S = 0.05
"""The knee between CPU (a wake-up costs more than an event) and what a SIGKILL may lose."""
WAKE_AT_EVENTS = 500
"""A burst need not wait for the linger; half a batch is worth a wake-up."""
CLOSE_TIMEOUT_S = 2.0
"""An exit must not hang on a dead Redis; supervisors send SIGKILL after some ten seconds."""
FINALIZER_PRIORITY = 0
"""Of multiprocessing's finalizers: the last of those that run before its children are joined."""
JOIN_S_MIN = 0.2
"""For the thread to spool or count what is left, when the deadline went by with waiting."""
STUCK_S = 0.5
"""At half of a close's time, an attempt that takes this long gets a fresh connection: the old one may be half open."""
FLUSH_POLL_S = 0.005
"""How often `aflush` looks: a tenth of the linger it waits for."""


class Delivery:
    """Takes encoded events from any thread and brings them to one Redis. Never blocks the caller.

    The caller puts into `buffer` and calls `attend` when told to.
    """

    def __init__(self, route: Route, told_rates: dict[str, float]) -> None:
        self.route = route
        self.told_rates = told_rates
        """Application -> the rate at which this process logs predictions, as its owner said."""
        self.feedback_rates: dict[str, float] = {}
        """Application -> the rate of feedback, as the sender read it from Redis."""
        self.buffer = Buffer(route.buffer_events_max, route.buffer_bytes_max, WAKE_AT_EVENTS)
        self.open = True
        self._start_threadless()
        forks.renewed_in_children(self._begin_in_child)

    def _begin_in_child(self) -> None:
        # Nobody delivers what was logged where no thread could start.
        inherits = not self._has_sender and uwsgi.is_heir(uwsgi.here())
        left = self.buffer.take(self.buffer.events_max, self.buffer.bytes_max) if inherits else []
        self.buffer.start_empty()
        for event in left:
            self.buffer.put(event, False)
        self._start_threadless()

    def _start_threadless(self) -> None:
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._has_sender = False
        self._complain_at = 0.0
        self._sender: Sender | None = None

    def close_at_exit(self) -> None:
        """Registered before the first event, so that whoever logs in an exit hook of its own can still be heard."""
        atexit.register(self.close)

    def feedback_rate(self, application: str) -> float:
        """The share of join keys whose feedback to log; the sender may not yet have read what this process raised."""
        published = self.feedback_rates.get(application, wire.UNSAMPLED)
        return max(published, self.told_rates.get(application, 0.0))

    def attend(self) -> None:
        """See to it that the thread runs, and is awake."""
        if self._thread is None:
            self._start()
        self.buffer.wake.set()

    def tell_drops(self) -> None:
        """See to it that the thread runs, which tells of drops too. It looks at them each minute; nobody wakes it."""
        if self._thread is None and self.open:
            self._start()

    def stats(self) -> dict[str, Any]:
        forks.begin()
        return self.buffer.stats()

    def settle(self, timeout_s: float) -> bool:
        """Wait until all that was logged before has ended, well or not. False if the time ran out."""
        forks.begin()
        return self.buffer.wait_settled(timeout_s)

    def flush(self, timeout_s: float) -> bool:
        """As `settle`; True only if nothing was lost since the last flush."""
        # Both: what was lost is told to this flush, and to no later one.
        return bool(self.settle(timeout_s) & self.buffer.lost_nothing())

    async def aflush(self, timeout_s: float) -> bool:
        import asyncio  # the service that awaits has it already; others need not pay for it

        forks.begin()
        # No thread that waits for us: a cancelled flush would leave it behind.
        target = self.buffer.put_events
        self.buffer.hurry()
        deadline = time.monotonic() + timeout_s
        while not self.buffer.is_settled(target):
            if time.monotonic() >= deadline:
                return False
            await asyncio.sleep(FLUSH_POLL_S)
        return self.buffer.lost_nothing()

    def close(self, timeout_s: float = CLOSE_TIMEOUT_S) -> bool:
        """Deliver what is buffered, at most `timeout_s` seconds, and stop; spool what is left, or count it."""
        forks.begin()
        self.open = False
        atexit.unregister(self.close)
        with self._lock:
            thread, self._thread = self._thread, None
            if thread is None:
                return (self._abandon() == 0) & self.buffer.lost_nothing()
        deadline = time.monotonic() + timeout_s
        delivered = self.buffer.wait_settled(timeout_s / 2)
        if not delivered:
            if self._sender is not None:
                self._sender.abort(STUCK_S)
            delivered = self.buffer.wait_settled(deadline - time.monotonic())
        self._stopping.set()
        self.buffer.wake.set()
        if self._sender is not None and not delivered:
            # It may hang in a socket call, and what it holds is to be put away.
            self._sender.abort()
        # If it hangs all the same: it is a daemon, and the interpreter ends without it.
        thread.join(max(JOIN_S_MIN, deadline - time.monotonic()))
        self.buffer.attended = False
        with self._lock:
            self._has_sender = thread.is_alive()
            self._abandon()
        return delivered & self.buffer.lost_nothing()

    def _abandon(self) -> int:
        """Count what was logged while `close` ran, or never found a thread; nothing while a sender lives."""
        count = 0
        while not self._has_sender and (late := self.buffer.take(WAKE_AT_EVENTS, self.route.buffer_bytes_max)):
            self.buffer.leave(late)
            self.buffer.settle(len(late), {"closed": len(late)})
            count += len(late)
        return count

    def _start(self) -> None:
        with self._lock:
            if not self.open:
                self._abandon()
            elif (
                self._thread is None
                and not uwsgi.is_before_fork(uwsgi.here())
                and (thread := self._new_thread()) is not None
            ):
                self._thread = thread
                if (advice := uwsgi.advice(uwsgi.here())) is not None:
                    log.warning("joinback: %s", advice)
                self._has_sender = self.buffer.attended = True
                # A child of multiprocessing ends by os._exit, which runs its finalizers but no exit hook.
                if (util := sys.modules.get("multiprocessing.util")) is not None:
                    util.Finalize(self, _close, args=(weakref.ref(self),), exitpriority=FINALIZER_PRIORITY)

    def _new_thread(self) -> threading.Thread | None:
        """The sender's, running; None if the system has no thread left, or the interpreter is about to end."""
        thread = threading.Thread(target=self._send, name="joinback-sender", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            if time.monotonic() >= self._complain_at:
                self._complain_at = time.monotonic() + log.REPEAT_S
                log.warning("joinback: %s; events wait in the buffer, and the next one tries again", error)
            return None
        return thread

    def _send(self) -> None:
        self._sender = Sender(self.route, self.buffer, self.told_rates, self.feedback_rates, self._stopping)
        self._sender.run(LINGER_S)


def _close(reference: "weakref.ref[Delivery]") -> None:
    if (delivery := reference()) is not None:
        delivery.close()
