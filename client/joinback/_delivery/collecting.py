"""A buffer that sends nothing, for `joinback.testing.capture`: it gives each event to a function at the call."""

import threading
from collections.abc import Callable

from joinback import wire

from .buffer import Buffer
from .plain import Buffered, Plain

NESTED_MAX = 1_000
"""Calls within each other, of signal handlers that interrupt one another: Python's stack holds no more."""


class CollectingBuffer(Buffer):
    """A buffer that settles each event at once, and calls `give_to` with application, join key, field and JSON."""

    def __init__(self, give_to: Callable[[str, str, str, bytes], object]) -> None:
        super().__init__(events_max=NESTED_MAX, bytes_max=NESTED_MAX * wire.EVENT_BYTES_MAX * 2, wake_at=NESTED_MAX + 1)
        self.attended = True
        self._give_to = give_to
        self._one = threading.RLock()

    def put(self, event: Buffered | Plain, size: int, is_prediction: bool) -> bool:
        """Settle the event and pass it on. Return False: no sender is needed."""
        # One thread at a time. If a signal handler logs in this thread meanwhile, it may pass on this event, and this
        # call passes on that of the handler.
        with self._one:
            super().put(event, size, is_prediction)
            (ready,) = batch = self.take(1, 1)
            self.free(batch)
            self.settle(1, {})
            self.note_settled()
        self._give_to(*ready)
        return False
