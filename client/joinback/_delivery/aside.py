"""The events of one application that could not be written just now: they wait here, and nobody else's with them.

What is refused as a batch is tried again in halves, down to one event, and what was refused last is tried last:
so an event that is refused for ever, for a reason nobody knows, holds back itself alone. The order of events is
of no matter to the join.
"""

import random
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

from .buffer import Buffered

BATCH_EVENTS_MAX = 1_000
"""Beyond 50 events a script call saves no more CPU; more only helps where the round trip is slow."""
BATCH_BYTES_MAX = 4 << 20
"""One script call must not hold the server for more than some milliseconds."""
BACKOFF_S_MIN, BACKOFF_S_MAX = 0.05, 5.0
FAULTS_MAX = 5
"""A fault of ours may pass (no memory left, an interpreter that ends); what came so often for one event does not."""


# The system's: forked processes must not wait alike, and what a host seeds is the host's.
_random = random.SystemRandom()


def backoff_s(attempt: int) -> float:
    """How long to wait after so many attempts. Full jitter: a thousand processes must not come back at once."""
    return _random.uniform(0, min(BACKOFF_S_MAX, BACKOFF_S_MIN * 2 ** min(attempt, 16)))


class Aside:
    """A queue of events, of which the first some are tried again when it is time."""

    def __init__(self) -> None:
        self._events: deque[Buffered] = deque()
        self._size = BATCH_EVENTS_MAX
        self._attempt = 0
        self._faults: dict[tuple[str, str], int] = {}
        """Of events that met a fault of ours alone, how often."""
        self.due_at = 0.0

    def __len__(self) -> int:
        return len(self._events)

    def add(self, events: Iterable[Buffered]) -> None:
        self._events.extend(events)

    def is_due(self) -> bool:
        return time.monotonic() >= self.due_at

    def batch(self) -> list[Buffered]:
        """The events to try next. They stay in the queue until `done`."""
        batch: list[Buffered] = []
        size = 0
        for event in islice(self._events, self._size):
            size += len(event[3])
            if batch and size > BATCH_BYTES_MAX:
                break
            batch.append(event)
        return batch

    def done(self, count: int) -> None:
        """The first so many have ended."""
        for _ in range(count):
            _, join_key, field, _ = self._events.popleft()
            self._faults.pop((join_key, field), None)
        self._size = min(self._size * 2, BATCH_EVENTS_MAX)
        self._attempt = 0
        self.due_at = 0.0

    def refused(self, count: int) -> None:
        """The first so many were refused; the others come first now."""
        self._events.rotate(-count)
        self._size = max(1, count // 2)
        self._attempt += 1
        self.due_at = time.monotonic() + backoff_s(self._attempt)

    def failed(self, count: int) -> bool:
        """A fault of ours met the first so many. Returns whether that is final: one event alone, and often enough."""
        if count == 1:
            _, join_key, field, _ = self._events[0]
            faults = self._faults[join_key, field] = self._faults.get((join_key, field), 0) + 1
            if faults >= FAULTS_MAX:
                return True
        self.refused(count)
        return False


def by_application(batch: Sequence[Buffered]) -> Mapping[str, Sequence[Buffered]]:
    applications = {event[0] for event in batch}
    # Most services log under one name.
    if len(applications) == 1:
        return {applications.pop(): batch}
    groups: defaultdict[str, list[Buffered]] = defaultdict(list)
    for event in batch:
        groups[event[0]].append(event)
    return groups
