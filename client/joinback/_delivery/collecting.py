"""A buffer that sends nothing, for `joinback.testing.capture`: it gives each event to a function at the call."""

import threading
from collections.abc import Callable

from joinback import wire

from .buffer import Buffer
from .plain import Buffered, Plain


class CollectingBuffer(Buffer):
    """A buffer that settles each event at once, and calls `give_to` with application, join key, field and JSON."""

    def __init__(self, give_to: Callable[[str, str, str, bytes], object]) -> None:
        # Room for one event of any size.
        super().__init__(events_max=1, bytes_max=wire.EVENT_BYTES_MAX * 2, wake_at=2)
        self.attended = True
        self._give_to = give_to
        self._one = threading.Lock()

    def put(self, event: Buffered | Plain, size: int, is_prediction: bool) -> bool:
        """Settle the event and pass it on. Return False: no sender is needed."""
        # One thread at a time, because there is room for one event. Not as a prediction: their share of it is none.
        with self._one:
            super().put(event, size, False)
            (ready,) = batch = self.take(1, 1)
            self.free(batch)
            self.settle(1, {})
        self._give_to(*ready)
        return False
