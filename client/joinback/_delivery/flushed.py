"""How many of the first events have all settled: what a flush waits for. Events may settle in any order."""

import threading
import time

from joinback.timeouts import STEP_S


class Flushed:
    """Any thread may ask or wait; one thread at a time tells how far it is."""

    def __init__(self) -> None:
        self._events = 0.0
        self._progress = threading.Condition()

    def covers(self, target: int) -> bool:
        """Return whether the first `target` events have all settled."""
        return self._events >= target

    def reaches(self, events: float) -> None:
        """Note that the first `events` events have all settled, and wake whoever waits."""
        self._events = events
        with self._progress:
            self._progress.notify_all()

    def wait(self, target: int, timeout_s: float) -> bool:
        """Wait until the first `target` events have settled. Return False if the time ran out first."""
        deadline = time.monotonic() + timeout_s
        with self._progress:
            while not self.covers(target):
                remaining_s = deadline - time.monotonic()
                if remaining_s <= 0:
                    return False
                self._progress.wait(min(remaining_s, STEP_S))
        return True
