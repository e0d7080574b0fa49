"""How long `log_records` waits for room in a full buffer. `log_record` never waits: its event is dropped."""

import time

from .drops import NotLogged
from .timeouts import seconds_of

WAIT_S = 30.0
"""A failover of Redis takes some ten seconds, and a restart that loads its data seldom more than twenty."""


class Patience:
    """The patience of one call. It ends when nothing has left the buffer for `wait_s` seconds.

    Then the call goes on without waiting, until something leaves the buffer again.
    Raises NotLogged if `wait_s` is wrong.
    """

    def __init__(self, wait_s: float = WAIT_S) -> None:
        self.wait_s = seconds_of(wait_s)
        if not self.wait_s >= 0:
            raise NotLogged("invalid", "wait_s must be a number of seconds, 0 or more")
        self._freed_events = -1
        self._until = 0.0

    def remaining_s(self, freed_events: int) -> float:
        """Return how many seconds to wait from now on; 0 or less means not to wait.

        `freed_events` is how many events ever left the buffer: if it has changed, the waiting starts anew.
        """
        now = time.monotonic()
        if freed_events != self._freed_events:
            self._freed_events, self._until = freed_events, now + self.wait_s
        return self._until - now
