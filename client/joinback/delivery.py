"""The life of a delivery: a buffer and the thread that empties it, from the first event to the last.

The thread starts with the first event. A forked child starts anew and empty, since its parent still delivers
what its parent buffered. The interpreter's exit closes what is open.
"""

import atexit
import os
import threading
import time
import weakref
from typing import Any

from .buffer import Buffer, Buffered, DropReason

LINGER_S = 0.05
"""The knee between CPU (a wake-up costs more than an event) and what a SIGKILL may lose."""
WAKE_AT_EVENTS = 500
"""A burst need not wait for the linger; half a batch is worth a wake-up."""
CLOSE_TIMEOUT_S = 2.0
"""An exit must not hang on a dead Redis; supervisors send SIGKILL after some ten seconds."""


class Delivery:
    """Takes encoded events from any thread and brings them to one Redis. Never blocks in `put`."""

    def __init__(self, redis_url: str, buffer_ttl_s: int, events_max: int, bytes_max: int) -> None:
        self._redis_url = redis_url
        self._buffer_ttl_s = buffer_ttl_s
        self._bounds = (events_max, bytes_max)
        self._start_empty()
        # The hook outlives the delivery, so it must not keep it alive.
        this = weakref.WeakMethod(self._start_empty)
        os.register_at_fork(after_in_child=lambda: (method := this()) is not None and method())

    def _start_empty(self) -> None:
        self._lock = threading.Lock()
        self._buffer = Buffer(*self._bounds, WAKE_AT_EVENTS)
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self.closed = False

    def put(self, event: Buffered, *, prediction: bool) -> None:
        """Buffer one event, or count it as dropped."""
        self._buffer.put(event, prediction=prediction)
        if self._thread is None:
            self._start()

    def drop(self, reason: DropReason) -> None:
        self._buffer.drop(reason)

    def stats(self) -> dict[str, Any]:
        return self._buffer.stats()

    def flush(self, timeout_s: float) -> bool:
        return self._buffer.wait_settled(timeout_s)

    def close(self, timeout_s: float = CLOSE_TIMEOUT_S) -> bool:
        """Deliver what is buffered, at most `timeout_s` seconds, and stop; count what is left as undelivered."""
        self.closed = True
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is None:
            return True
        atexit.unregister(self.close)
        deadline = time.monotonic() + timeout_s
        delivered = self._buffer.wait_settled(timeout_s)
        self._stopping.set()
        self._buffer.wake.set()
        # A thread that hangs in a socket call is a daemon; the interpreter ends without it.
        thread.join(max(0.1, deadline - time.monotonic()))
        return delivered

    def _start(self) -> None:
        with self._lock:
            if self._thread is None and not self.closed:
                self._thread = threading.Thread(target=self._send, name="joinback-sender", daemon=True)
                self._thread.start()
                atexit.register(self.close)

    def _send(self) -> None:
        # Here, because redis-py takes longer to import than all of us, and a caller must not wait for it.
        from .sender import Sender

        Sender(self._buffer, self._redis_url, self._buffer_ttl_s, LINGER_S, self._stopping).run()
