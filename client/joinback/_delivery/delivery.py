"""The life of a delivery: a buffer, and the thread that empties it, from the first event to the last.

The first event starts the thread. A forked child starts with an empty buffer, because its parent delivers what the
parent buffered. The exit of the interpreter closes the delivery.
"""

import atexit
import sys
import threading
import time
import weakref
from typing import Any

from joinback import forks, log, wire
from joinback.options import CLOSE_TIMEOUT_S, Options
from joinback.timeouts import timeout_of

from . import uwsgi
from .buffer import Buffer
from .rates import Rates
from .sender import Sender
from .writer import transport_to

LINGER_S = 0.05
"""How long a batch gathers: a wake-up costs more CPU than an event, but a SIGKILL loses what has gathered."""
WAKE_AT_EVENTS = 500
"""Half a batch is worth a wake-up, so a burst need not wait for the linger."""
FINALIZER_PRIORITY = 0
"""Among multiprocessing's finalizers: the last that runs before its child processes are joined."""
JOIN_S_MIN = 0.2
"""Time for the thread to spool or count what is left, even if waiting took all of the timeout."""
STUCK_S = 0.5
"""An attempt that takes so long at half of a close's timeout gets a new connection: the old one may be half open."""
FLUSH_POLL_S = 0.005
"""How often `aflush` looks: a tenth of the linger."""


class Delivery:
    """Takes encoded events from any thread and brings them to one Redis. Putting an event never blocks.

    `Funnel` puts events into the buffer, and calls `_attend` when the sender must be woken.
    """

    def __init__(self, options: Options, rates: Rates, buffer: Buffer | None = None) -> None:
        self.options = options
        self._rates = rates
        self._buffer = buffer or Buffer(options.buffer_events_max, options.buffer_bytes_max, WAKE_AT_EVENTS)
        self.is_open = True
        """Whether events are accepted. Each event reads it directly, to save a call."""
        self._start_threadless()
        forks.renewed_in_children(self._begin_in_child)

    def _begin_in_child(self) -> None:
        self._rates.renew_lock()
        # Where the parent could start no thread, nobody else delivers what it logged.
        inherits = not self._has_sender and uwsgi.is_heir(uwsgi.here())
        left = self._buffer.take(self._buffer.events_max, self._buffer.bytes_max) if inherits else []
        self._buffer.start_empty()
        for event in left:
            self._buffer.put(event, len(event[3]), False)
        self._start_threadless()

    def _start_threadless(self) -> None:
        # Re-entrant: a signal handler, or a `__del__`, may log in the thread that holds it.
        self._lock = threading.RLock()
        self._is_starting = False
        # Re-entrant: a handler that closes in the middle of a close does all of it, and the interrupted one the rest.
        self._closing = threading.RLock()
        self._sending = threading.Lock()
        """Held by the thread that sends, so that there is only one."""
        self._stopping = threading.Event()
        self._closed_well = False
        """What the last close returned."""
        self._thread: threading.Thread | None = None
        self._has_sender = False
        self._complain_at = 0.0
        self._sender: Sender | None = None

    def begin(self) -> None:
        """Prepare what the first event should not wait for. Raises ConfigurationError for a wrong `redis`.

        It imports redis-py: if the sender's thread did, a fork could come in the middle of the import.
        """
        # Registered before the first event: exit hooks that are registered later run earlier, and may still log.
        atexit.register(self.close)
        try:
            transport_to(self.options)
        except BaseException:
            atexit.unregister(self.close)
            raise

    def trouble(self) -> str | None:
        """Return why Redis does not answer, in one line; None if it does."""
        from .transport import trouble_with  # imports redis-py, as `begin` does

        return trouble_with(transport_to(self.options), wire.APPLICATIONS_KEY.encode())

    def _attend(self) -> None:
        """Start the thread if it does not run, and wake it."""
        if self._thread is None or self._died():
            self._start()
        self._buffer.wake.set()

    def _died(self) -> bool:
        """Return whether the thread was started, but ended by itself.

        A thread that a signal handler starts in a forked child, before `threading` has renewed its own state there,
        ends at its birth. Or it lives, and `threading` holds it for dead.
        """
        thread = self._thread
        return thread is not None and not thread.is_alive() and not self._sending.locked()

    def _start_for_drops(self) -> None:
        """Start the thread if it does not run: it reports drops too, each minute, so nobody wakes it."""
        if self._thread is None and self.is_open:
            self._start()

    def stats(self) -> dict[str, Any]:
        forks.begin()
        return self._buffer.stats()

    def flush(self, timeout_s: float) -> bool:
        """Wait until all events logged before have settled. Return False if time ran out, or any was lost."""
        timeout_s = timeout_of(timeout_s)
        forks.begin()
        self._revive()
        # Both are evaluated: a loss is reported by this flush, and by no later one.
        return self._buffer.wait_settled(timeout_s) & self._buffer.lost_nothing()

    async def aflush(self, timeout_s: float) -> bool:
        import asyncio  # the service that awaits has it already; others need not pay for it

        timeout_s = timeout_of(timeout_s)
        forks.begin()
        self._revive()
        # By polling: if a thread waited, a cancelled flush would leave it behind.
        target = self._buffer.put_events
        self._buffer.hurry()
        deadline = time.monotonic() + timeout_s
        while not self._buffer.is_settled(target):
            if time.monotonic() >= deadline:
                break
            await asyncio.sleep(FLUSH_POLL_S)
        return self._buffer.is_settled(target) & self._buffer.lost_nothing()

    def close(self, timeout_s: float = CLOSE_TIMEOUT_S) -> bool:
        """Deliver what is buffered, in at most `timeout_s` seconds, and stop. Spool what is left, or count it.

        Return whether Redis has all of it, and nothing was lost since the last flush. During a close of another thread
        wait for that one, and return what it returns, or False if the time runs out first.
        """
        timeout_s = timeout_of(timeout_s)
        forks.begin()
        if self._closing.acquire(blocking=False):
            try:
                return self._close(timeout_s)
            finally:
                self._closing.release()
        if not self._closing.acquire(timeout=min(timeout_s, threading.TIMEOUT_MAX)):
            return False
        self._closing.release()
        return self._closed_well

    def _close(self, timeout_s: float) -> bool:
        self._revive()
        self.is_open = False
        self._closed_well = False
        with self._lock:
            thread = self._thread
        if thread is not None:
            self._end_thread(thread, timeout_s)
        with self._lock:
            self._thread = None
            self._abandon()
        # Last: an exception that a signal handler raises into this close leaves the rest of it to the exit.
        atexit.unregister(self.close)
        self._closed_well = self._buffer.is_settled(self._buffer.put_events) & self._buffer.lost_nothing()
        return self._closed_well

    def _end_thread(self, thread: threading.Thread, timeout_s: float) -> None:
        """Let the thread deliver what is buffered, and end it."""
        deadline = time.monotonic() + timeout_s
        delivered = self._buffer.wait_settled(timeout_s / 2)
        if not delivered:
            if self._sender is not None:
                self._sender.abort(STUCK_S)
            delivered = self._buffer.wait_settled(deadline - time.monotonic())
        self._stopping.set()
        self._buffer.wake.set()
        if self._sender is not None and not delivered:
            # The sender may hang in a socket call, and must still spool or count what it holds.
            self._sender.abort()
        # If it hangs even then: it is a daemon thread, and the interpreter ends without it.
        thread.join(min(max(JOIN_S_MIN, deadline - time.monotonic()), threading.TIMEOUT_MAX))
        self._buffer.attended = False
        self._has_sender = thread.is_alive()

    def _revive(self) -> None:
        if self._died():
            self._start()

    def _abandon(self) -> None:
        """Drop what was logged while `close` ran, or while no thread could start."""
        # Only one thread takes events and says how far a flush has come.
        if self._has_sender:
            return
        while late := self._buffer.take(WAKE_AT_EVENTS, self.options.buffer_bytes_max):
            self._buffer.free(late)
            self._buffer.settle(len(late), {"closed": len(late)})
        self._buffer.note_settled()

    def _start(self) -> None:
        # Whoever is starting the thread goes on, and the thread finds the event. To wait for it would be a deadlock
        # for a handler that interrupts it, and for a `__del__` in the new thread, whose birth it waits for.
        if self._is_starting:
            return
        with self._lock:
            if not self.is_open:
                self._abandon()
                return
            self._is_starting = True
            try:
                # Looked at after the flag is set: a handler may have started the thread just before.
                if (self._thread is None or self._died()) and not uwsgi.is_before_fork(uwsgi.here()):
                    self._start_thread()
            finally:
                self._is_starting = False

    def _start_thread(self) -> None:
        if (thread := self._new_thread()) is None:
            return
        self._thread = thread
        self._has_sender = True
        if (advice := uwsgi.advice(uwsgi.here())) is not None:
            log.warning("joinback: %s", advice)
        # A child of multiprocessing runs its finalizers and then os._exit, which runs no exit hooks.
        if (util := sys.modules.get("multiprocessing.util")) is not None:
            util.Finalize(self, _close, args=(weakref.ref(self),), exitpriority=FINALIZER_PRIORITY)

    def _new_thread(self) -> threading.Thread | None:
        """Return the sender's thread, running; None if the system has no thread left, or the interpreter is ending."""
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
        if not self._sending.acquire(blocking=False):
            return
        # Not by who starts the thread: one that ended at its birth wakes for nothing.
        self._buffer.attended = True
        try:
            self._sender = Sender(self.options, self._buffer, self._rates, self._stopping)
            self._sender.run(LINGER_S)
        finally:
            self._buffer.attended = False
            self._sending.release()


def _close(reference: "weakref.ref[Delivery]") -> None:
    if (delivery := reference()) is not None:
        delivery.close()
