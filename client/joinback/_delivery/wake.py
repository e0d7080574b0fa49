"""What wakes the sender: as `threading.Event`, but a thread may set it in the middle of setting it or waiting for it.

A signal handler that logs interrupts its own thread anywhere, and so does a `__del__` that logs. An Event holds a lock
meanwhile, which the interrupted thread would never release.
"""

import threading
from contextlib import suppress


class Wake:
    """One thread waits for it; any thread may set it, at any time."""

    def __init__(self) -> None:
        # Held while it is not set. The interpreter takes and releases it in one step each.
        self._unset = threading.Lock()
        self._unset.acquire()

    def set(self) -> None:
        """Wake the thread that waits, or else the one that waits next."""
        # A lock that is free refuses: it is set.
        with suppress(RuntimeError):
            self._unset.release()

    def clear(self) -> None:
        """Forget that it was set."""
        self._unset.acquire(blocking=False)

    def wait(self, timeout_s: float) -> bool:
        """Wait until it is set, at most `timeout_s` seconds, and clear it. Return whether it was set."""
        return self._unset.acquire(timeout=timeout_s)
