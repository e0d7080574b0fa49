"""The bounded buffer between the caller's threads and the sender's, and the count of every event.

No lock stands in the caller's way: `deque.append` is atomic, and CPython changes threads only at calls and
backward jumps, so `counter += 1` on a plain attribute is not torn either. That is what lets the identity
`logged = sent + buffered + dropped` hold at every moment, seen from any thread.
"""

import threading
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from operator import itemgetter
from typing import Any, TypeAlias

from joinback import wire
from joinback.drops import DROP_REASONS, LOST, WANTED, DropReason, NotLogged
from joinback.patience import Patience

from .unwanted import Unwanted

PREDICTION_SHARE = 0.9
"""Predictions may fill this much of the buffer; the rest is for feedback, which is small and irreplaceable."""
PATIENT_SHARE = 0.75
"""Calls that can wait fill this much of it; the rest is for what other threads log meanwhile. More than where the
sender begins to spool."""
LOOK_S = 60.0
"""The longest single wait: a condition takes no infinity."""

Buffered: TypeAlias = tuple[str, str, str, bytes]
"""One encoded event on its way: application, join key, field in the record's hash (`<kind>:<event_id>`), JSON.

A plain tuple: a named one takes five times as long to make.
"""

_payload = itemgetter(3)


def size_of(batch: Iterable[Buffered]) -> int:
    """The bytes of JSON in these events."""
    return sum(map(len, map(_payload, batch)))


class Buffer:
    """A FIFO of encoded events, bounded by count and by bytes; when full it drops the newest.

    Any thread may `put` and `drop`; one thread, the sender's, does everything else but look.
    """

    def __init__(self, events_max: int, bytes_max: int, wake_at: int) -> None:
        self.events_max = events_max
        self.bytes_max = bytes_max
        self._wake_at = wake_at
        self.start_empty()

    def start_empty(self) -> None:
        """Forget everything: a forked child begins so, since its parent still delivers what it buffered."""
        self._events: deque[Buffered] = deque()
        self.attended = False
        """Whether somebody empties the buffer and is awake; if not, every `put` asks for it."""
        self.wake = threading.Event()
        """Set for the first event, and when `wake_at` wait: a wake-up per event would cost more than the event."""
        self.urgent = False
        """Whether somebody waits for what is in the buffer, so that it should not linger there."""
        self._progress = threading.Condition()
        self._refused = 0
        self._put = 0
        self._put_bytes = 0
        self._left = 0
        self._left_bytes = 0
        self._make_room()
        self._settled = 0
        self._sent = 0
        self._recovered = 0
        self.held = 0
        """Taken events that the sender keeps back for now, in memory or on disk; they count as buffered."""
        self._dropped: dict[str, int] = dict.fromkeys(DROP_REASONS, 0)
        self.unwanted = Unwanted()
        self._lost_told = 0

    # --- the caller's side ------------------------------------------------------------------------------

    def put(self, event: Buffered, is_prediction: bool) -> bool:
        """Append one event, or count it as dropped. Never blocks. Whether somebody must be called for it."""
        events_until, bytes_until = self._predictions_until if is_prediction else self._until
        size = len(event[3])
        if self._put >= events_until or self._put_bytes + size > bytes_until:
            self.drop("buffer_full", event[0])
            return False
        self._put += 1
        self._put_bytes += size
        self._events.append(event)
        if len(self._events) == self._wake_at:
            return True
        return not self.attended

    def wait_for_room(self, size: int, is_prediction: bool, patience: Patience) -> None:
        """Wait until there is room for an event of so many bytes. Raises NotLogged if none came."""
        while not self._is_below(PATIENT_SHARE, size):
            left_events = self._left
            remaining_s = patience.remaining_s(left_events)
            if remaining_s > 0:
                self.wait_left(left_events, min(remaining_s, LOOK_S))
            elif self._fits(size, is_prediction):
                return
            else:
                waited = f"and nothing left it for {patience.wait_s:g} s; see that Redis is up, or give a longer wait_s"
                raise NotLogged("buffer_full", f"the buffer is full {waited}")

    def _fits(self, size: int, is_prediction: bool) -> bool:
        """Whether `put` would take an event of so many bytes now."""
        events_until, bytes_until = self._predictions_until if is_prediction else self._until
        return self._put < events_until and self._put_bytes + size <= bytes_until

    def _is_below(self, share: float, size: int) -> bool:
        """Whether memory is empty, or would be no fuller than this with one more event of so many bytes."""
        events = self._put - self._left
        waiting_bytes = self._put_bytes - self._left_bytes
        fits = events < self.events_max * share and waiting_bytes + size <= self.bytes_max * share
        return fits or events <= 0

    def wait_left(self, left_events: int, timeout_s: float) -> None:
        """Wait until another number of events than this ever left memory, or the time has run out."""
        self.wake.set()
        with self._progress:
            self._progress.wait_for(lambda: self._left != left_events, timeout_s)

    def drop(self, reason: DropReason, application: str = "") -> None:
        """Count an event that was logged and will not be sent."""
        self._refused += 1
        self._dropped[reason] += 1
        if reason not in WANTED:
            self.unwanted.count(reason, application)

    def stats(self) -> dict[str, Any]:
        """`logged`, `sent`, `buffered` and `dropped` by reason; logged is always the sum of the others.

        Of the logged, `recovered` were logged by an earlier process and found in its spool.
        """
        refused, sent, put, settled, recovered, dropped = (
            self._refused,
            self._sent,
            self._put,
            self._settled,
            self._recovered,
            self._dropped.copy(),
        )
        return {
            "logged": put + refused,
            "sent": sent,
            "buffered": put - settled,
            "recovered": recovered,
            "dropped": dropped,
        }

    def hurry(self) -> None:
        """Ask the sender not to wait for more."""
        self.urgent = True
        self.wake.set()

    def wait_settled(self, timeout_s: float) -> bool:
        """Wait until all that was put before this call is settled. False if the time ran out first."""
        target = self._put
        deadline = time.monotonic() + timeout_s
        self.hurry()
        with self._progress:
            while not self.is_settled(target):
                remaining_s = deadline - time.monotonic()
                if remaining_s <= 0:
                    return False
                self._progress.wait(remaining_s)
        return True

    def lost_nothing(self) -> bool:
        """Whether nothing was dropped, that Redis should have, since this was last asked."""
        lost = sum(self._dropped[reason] for reason in LOST)
        told, self._lost_told = self._lost_told, lost
        return lost == told

    def is_settled(self, target: int) -> bool:
        """Whether so many events have ended."""
        # Held events are older than some that are settled.
        return self._settled >= target and not self.held

    @property
    def put_events(self) -> int:
        """How many were ever put: the target of a flush that begins now."""
        return self._put

    # --- the sender's side ------------------------------------------------------------------------------

    def fill(self) -> float:
        """How full the memory is, of its bounds: 0 to about 1."""
        events = (self._put - self._left) / self.events_max
        return max(events, (self._put_bytes - self._left_bytes) / self.bytes_max)

    def has_waiting(self) -> bool:
        """Whether there is anything to take."""
        return bool(self._events)

    def sleep(self, timeout_s: float) -> None:
        """Sleep until an event waits or somebody is in a hurry, at most so long."""
        # In this order: whoever puts between the two lines sees that nobody is awake.
        self.attended = False
        if not self._events and not self.urgent:
            self.wake.wait(timeout_s)
        self.attended = True
        self.wake.clear()

    def linger(self, linger_s: float) -> None:
        """Let a batch gather, unless it is large already or somebody waits for it."""
        if self._events and not self.urgent and len(self._events) < self._wake_at:
            self.wake.wait(linger_s)
            self.wake.clear()
        self.urgent = False

    def take(self, events_max: int, bytes_max: int) -> list[Buffered]:
        """The oldest events, at most so many and about so many bytes. They count as buffered until settled."""
        popleft = self._events.popleft
        batch = [popleft() for _ in range(min(len(self._events), events_max))]
        if size_of(batch) <= bytes_max:
            return batch
        sizes = accumulate(map(len, map(_payload, batch)))
        fitting = 1 + bisect_left(list(sizes), bytes_max)
        self._events.extendleft(reversed(batch[fitting:]))
        return batch[:fitting]

    def leave(self, batch: Sequence[Buffered]) -> None:
        """A taken batch is no longer in memory: settled, or on disk."""
        self._left += len(batch)
        self._left_bytes += size_of(batch)
        self._make_room()
        with self._progress:
            self._progress.notify_all()

    def _make_room(self) -> None:
        """Say up to which counts of events and bytes ever put there is room: a sum a batch, not one an event."""
        self._until = (self._left + self.events_max, self._left_bytes + self.bytes_max)
        self._predictions_until = (
            self._left + int(self.events_max * PREDICTION_SHARE),
            self._left_bytes + int(self.bytes_max * PREDICTION_SHARE),
        )

    def recover(self, events: int) -> None:
        """Take over events from the spool of a process that is gone: logged once more, by this one."""
        # In this order: nobody who puts now must think that they take up room.
        self._left += events
        self._make_room()
        self._put += events
        self._recovered += events

    def settle(self, events: int, dropped: dict[DropReason, int], application: str = "") -> None:
        """End so many taken events of an application: Redis acknowledged each, or it is counted under its reason."""
        sent = events - sum(dropped.values())
        for reason, count in dropped.items():
            self._dropped[reason] += count
            self._settled += count
            if count and reason not in WANTED:
                self.unwanted.count(reason, application, count)
        self._sent += sent
        self._settled += sent
        with self._progress:
            self._progress.notify_all()


class Collecting(Buffer):
    """A buffer that settles each event on the spot, and gives it to `give_to`: application, join key, field, JSON."""

    def __init__(self, give_to: Callable[[str, str, str, bytes], object]) -> None:
        # Room for one of any size.
        super().__init__(events_max=1, bytes_max=wire.EVENT_BYTES_MAX * 2, wake_at=2)
        self.attended = True
        self._give_to = give_to
        self._one = threading.Lock()

    def put(self, event: Buffered, is_prediction: bool) -> bool:
        # One thread at a time; a share of the room for predictions would be none.
        with self._one:
            super().put(event, False)
            self.leave(self.take(1, 1))
            self.settle(1, {})
        self._give_to(*event)
        return False
