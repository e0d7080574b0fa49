"""How long a call of many records waits for the sender, where one of a single record would be dropped."""

import time

from .drops import NotLogged

WAIT_S = 30.0
"""A failover of Redis takes some ten seconds, and a restart that loads its data seldom more than twenty."""


class Patience:
    """Of one call: it ends when nothing has left the buffer for `wait_s` seconds.

    Then the call goes on without waiting, until something leaves again.
    """

    def __init__(self, wait_s: float = WAIT_S) -> None:
        if not isinstance(wait_s, int | float) or not wait_s >= 0:
            raise NotLogged("invalid", "wait_s must be a number of seconds, 0 or more")
        self.wait_s = wait_s
        self._left_events = -1
        self._until = 0.0

    def remaining_s(self, left_events: int) -> float:
        """Return how long to wait yet, now that so many events ever left the buffer; 0 or less if no longer."""
        now = time.monotonic()
        if left_events != self._left_events:
            self._left_events, self._until = left_events, now + self.wait_s
        return self._until - now
