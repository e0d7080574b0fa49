"""A queue for the events of one application that could not be written. Other applications do not wait with them.

A batch that is refused is tried again in halves, down to one event. Events that were refused go to the end of the
queue. So an event that Redis always refuses, whatever the reason, holds up only itself. The join does not depend on the
order of events.
"""

import random
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

from .places import Places
from .plain import Buffered, PlainBatch

BATCH_EVENTS_MAX = 1_000
"""More than 50 events per script call save no CPU; they only help where the round trip is slow."""
BATCH_BYTES_MAX = 4 << 20
"""One script call must not occupy the server for more than some milliseconds."""
BACKOFF_S_MIN, BACKOFF_S_MAX = 0.05, 5.0
FAULTS_MAX = 5
"""A fault of Joinback may pass (no memory left, an interpreter that ends). After so many for one event it will not."""


# The system's random numbers: forked processes must not wait equally long, and a service may seed `random`.
_random = random.SystemRandom()


def backoff_s(attempt: int) -> float:
    """Return how long to wait after so many attempts. With full jitter: many processes must not return at once."""
    return _random.uniform(0, min(BACKOFF_S_MAX, BACKOFF_S_MIN * 2 ** min(attempt, 16)))


class Aside:
    """A queue of events. The first ones, as one batch, are tried when `due_at` has come."""

    def __init__(self) -> None:
        self._events: deque[Buffered] = deque()
        self._places = Places()
        self._size = BATCH_EVENTS_MAX
        self._attempt = 0
        self._faults: dict[tuple[str, str], int] = {}
        """(join key, field) of an event -> how often it alone met a fault of Joinback."""
        self.due_at = 0.0

    def __len__(self) -> int:
        return len(self._events)

    def add(self, events: Iterable[Buffered], place: float) -> None:
        """Add events to the end. `place` is that of the oldest."""
        before = len(self._events)
        self._events.extend(events)
        self._places.add(place, len(self._events) - before)

    def smallest_place(self) -> float:
        """Return the smallest place of the events in the queue."""
        return self._places.smallest()

    def is_due(self) -> bool:
        return time.monotonic() >= self.due_at

    def batch(self) -> list[Buffered]:
        """Return the events to try next. They stay in the queue until `done`."""
        batch: list[Buffered] = []
        size = 0
        for event in islice(self._events, self._size):
            size += len(event[3])
            if batch and size > BATCH_BYTES_MAX:
                break
            batch.append(event)
        return batch

    def done(self, count: int) -> float:
        """Remove the first `count` events: they have ended, or go elsewhere. Return the smallest of their places."""
        for _ in range(count):
            _, join_key, field, _ = self._events.popleft()
            self._faults.pop((join_key, field), None)
        self._size = min(self._size * 2, BATCH_EVENTS_MAX)
        self._attempt = 0
        self.due_at = 0.0
        return self._places.remove(count)

    def refused(self, count: int) -> None:
        """Move the first `count` events to the end, because they were refused, and try fewer next time."""
        self._events.rotate(-count)
        self._places.rotate(count)
        self._size = max(1, count // 2)
        self._attempt += 1
        self.due_at = time.monotonic() + backoff_s(self._attempt)

    def failed(self, count: int) -> bool:
        """Note that a fault of Joinback met the first `count` events. Return whether to give up this one event."""
        if count == 1:
            _, join_key, field, _ = self._events[0]
            faults = self._faults[join_key, field] = self._faults.get((join_key, field), 0) + 1
            if faults >= FAULTS_MAX:
                return True
        self.refused(count)
        return False


def by_application(batch: Sequence[Buffered]) -> Mapping[str, Sequence[Buffered]]:
    """Return application -> its events, in order."""
    if isinstance(batch, PlainBatch):
        return batch.grouped(batch.applications)
    applications = {event[0] for event in batch}
    # Most services log for one application.
    if len(applications) == 1:
        return {applications.pop(): batch}
    groups: defaultdict[str, list[Buffered]] = defaultdict(list)
    for event in batch:
        groups[event[0]].append(event)
    return groups
