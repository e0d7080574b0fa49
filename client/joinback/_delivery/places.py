"""The places of the events in a queue: how many events at most were taken from the buffer before each of them.

Events are taken in the order in which they were put. So the smallest place of all events that wait says how many of the
first events have settled: a flush needs no more. The events of one batch share a place, so a queue keeps few.
"""

from collections import deque

NOWHERE = float("inf")
"""The smallest place in an empty queue."""
OLDEST = -1.0
"""The place of events that an earlier process logged. They are before all of this one, so each flush waits for them."""


class Places:
    """The places in a queue, as runs of neighbours with the same place. The queue itself holds the events."""

    def __init__(self) -> None:
        self._runs: deque[tuple[float, int]] = deque()

    def add(self, place: float, events: int) -> None:
        """Note that so many events with this place came to the end of the queue."""
        if self._runs and self._runs[-1][0] == place:
            events += self._runs.pop()[1]
        if events:
            self._runs.append((place, events))

    def remove(self, events: int) -> float:
        """Note that the first `events` left the queue. Return the smallest of their places."""
        return min((place for place, _ in self._removed(events)), default=NOWHERE)

    def rotate(self, events: int) -> None:
        """Note that the first `events` went to the end of the queue."""
        for place, moved in self._removed(events):
            self.add(place, moved)

    def smallest(self) -> float:
        """Return the smallest place in the queue."""
        return min((place for place, _ in self._runs), default=NOWHERE)

    def _removed(self, events: int) -> list[tuple[float, int]]:
        removed = []
        while events:
            place, length = self._runs.popleft()
            if length > events:
                self._runs.appendleft((place, length - events))
                length = events
            removed.append((place, length))
            events -= length
        return removed
