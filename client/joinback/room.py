"""How a call of many records waits for the sender, where one of a single record would be dropped."""

import time

from .buffer import Buffer
from .events import Refused

WAIT_S = 30.0
"""A failover of Redis takes some ten seconds, and a restart that loads its data seldom more than twenty."""
SHARE = 0.75
"""Of the buffer; the rest is for what other threads log meanwhile. More than where the sender begins to spool."""
LOOK_S = 60.0
"""The longest single wait: a condition takes no infinity."""


class Room:
    """The patience of one call: it ends when nothing has left the buffer for `wait_s` seconds.

    Then the call goes on without waiting, until something leaves again.
    """

    def __init__(self, wait_s: float = WAIT_S) -> None:
        if not isinstance(wait_s, int | float) or not wait_s >= 0:
            raise Refused("invalid", "wait_s must be a number of seconds, 0 or more")
        self.wait_s = wait_s
        self._left = -1
        self._until = 0.0

    def wait(self, buffer: Buffer, size: int, is_prediction: bool) -> None:
        """Wait until there is room for an event of so many bytes. Raises Refused if none came."""
        while not buffer.is_below(SHARE, size):
            now = time.monotonic()
            if buffer.left_events != self._left:
                self._left, self._until = buffer.left_events, now + self.wait_s
            if now < self._until:
                buffer.wait_left(self._left, min(self._until - now, LOOK_S))
            elif buffer.fits(size, is_prediction):
                return
            else:
                waited = f"and nothing left it for {self.wait_s:g} s; see that Redis is up, or give a longer wait_s"
                raise Refused("buffer_full", f"the buffer is full {waited}")
