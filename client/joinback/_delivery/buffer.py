"""The bounded buffer between the caller's threads and the sender's, and the counts of all events.

A caller waits for no lock: `deque.append` is atomic, and CPython switches threads only at calls and backward jumps, so
no thread comes between the two halves of `counter += 1` on a plain attribute. So `logged = sent + buffered + dropped`
holds at every moment, seen from any thread.
"""

import threading
from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from joinback import wire
from joinback.drops import DROP_REASONS, LOST, WANTED, DropReason, NotLogged
from joinback.patience import Patience
from joinback.timeouts import STEP_S

from .flushed import Flushed
from .places import NOWHERE
from .plain import Buffered, EventIds, Plain, batch_of, size_of, waiting_sizes
from .unwanted import Unwanted
from .wake import Wake

PREDICTION_SHARE = 0.9
"""Predictions may fill this share of the buffer. The rest is for feedback, which is small and irreplaceable. But an
empty buffer takes any event."""
PATIENT_SHARE = 0.75
"""A call that can wait fills this share. The rest is for what other threads log meanwhile. It is more than the share at
which the sender begins to spool."""


class Buffer:
    """A queue of encoded events, bounded by count and by bytes. When it is full it drops the newest.

    Any thread may call the caller's side; only the sender's thread calls the sender's side. Three counters rise in this
    order for each event, and never fall:

    | counter | rises in | counts the events that |
    | --- | --- | --- |
    | `_put` | `put`, `recover` | were accepted |
    | `_freed` | `free`, `recover` | no longer take up memory: they have ended, or are on disk |
    | `_settled` | `settle` | have ended: Redis has them, or they are counted as dropped |

    So `_put - _freed` events are in memory, and `_put - _settled` are buffered. An event that is dropped before it is
    put counts in `_dropped_at_call` alone. Events may settle in any order, so a flush asks `_flushed`.
    """

    def __init__(self, events_max: int, bytes_max: int, wake_at: int) -> None:
        self.events_max = events_max
        self.bytes_max = bytes_max
        self._wake_at = wake_at
        self.start_empty()

    def start_empty(self) -> None:
        """Forget all events and counts. A forked child does so: its parent delivers what its parent buffered."""
        self._events: deque[Buffered | Plain] = deque()
        self._ids = EventIds()
        self.attended = False
        """Whether the sender is awake. If not, each `put` asks to wake it."""
        self.wake = Wake()
        """Wakes the sender: set for the first event and at `wake_at` events, as a wake-up costs more than an event."""
        self.urgent = False
        """Whether somebody waits for the events, so that the sender should not let a batch gather."""
        self._progress = threading.Condition()
        self._dropped_at_call = 0
        self._put = 0
        self._put_bytes = 0
        self._freed = 0
        self._freed_bytes = 0
        self._make_room()
        self._settled = 0
        self._sent = 0
        self._recovered = 0
        self.taken_events = 0
        """How many events the sender has taken, in the order in which they were put."""
        self._flushed = Flushed()
        self._dropped: dict[str, int] = dict.fromkeys(DROP_REASONS, 0)
        self.unwanted = Unwanted()
        self._lost_before = 0

    # --- the caller's side ------------------------------------------------------------------------------

    def put(self, event: Buffered | Plain, size: int, is_prediction: bool) -> bool:
        """Append one event of `size` bytes, or count it as dropped. Never blocks.

        Return whether the sender must be woken for it.
        """
        events_limit, bytes_limit = self._full_for_predictions_at if is_prediction else self._full_at
        if self._put >= events_limit or self._put_bytes + size > bytes_limit:
            self.drop("buffer_full", event[0])
            return False
        self._put += 1
        self._put_bytes += size
        self._events.append(event)
        if len(self._events) == self._wake_at:
            return True
        return not self.attended

    def wait_for_room(self, size: int, is_prediction: bool, patience: Patience) -> None:
        """Wait until there is room for an event of `size` bytes. Raises NotLogged if the patience ends before."""
        while not self._is_below(PATIENT_SHARE, size):
            freed_events = self._freed
            remaining_s = patience.remaining_s(freed_events)
            if remaining_s > 0:
                self.wait_freed(freed_events, min(remaining_s, STEP_S))
            elif self._fits(size, is_prediction):
                return
            else:
                waited = f"and nothing left it for {patience.wait_s:g} s; see that Redis is up, or give a longer wait_s"
                raise NotLogged("buffer_full", f"the buffer is full {waited}")

    def _fits(self, size: int, is_prediction: bool) -> bool:
        """Return whether `put` would accept an event of `size` bytes now."""
        events_limit, bytes_limit = self._full_for_predictions_at if is_prediction else self._full_at
        return self._put < events_limit and self._put_bytes + size <= bytes_limit

    def _is_below(self, share: float, size: int) -> bool:
        """Return whether memory is empty, or at most this share of it is full with one more event of `size` bytes."""
        events = self._put - self._freed
        waiting_bytes = self._put_bytes - self._freed_bytes
        fits = events < self.events_max * share and waiting_bytes + size <= self.bytes_max * share
        return fits or events <= 0

    def wait_freed(self, freed_events: int, timeout_s: float) -> None:
        """Wait until `_freed` is no longer this number, or the time has run out."""
        self.wake.set()
        with self._progress:
            self._progress.wait_for(lambda: self._freed != freed_events, timeout_s)

    def drop(self, reason: DropReason, application: str = "") -> None:
        """Count an event that was logged but will not be sent."""
        self._dropped_at_call += 1
        self._dropped[reason] += 1
        if reason not in WANTED:
            self.unwanted.count(reason, application)

    def stats(self) -> dict[str, Any]:
        """Return `logged`, `sent`, `buffered`, and `dropped` by reason; logged is always the sum of the others.

        `recovered` is the part of the logged that an earlier process logged, and that was found in its spool.
        """
        dropped_at_call, sent, put, settled, recovered, dropped = (
            self._dropped_at_call,
            self._sent,
            self._put,
            self._settled,
            self._recovered,
            self._dropped.copy(),
        )
        return {
            "logged": put + dropped_at_call,
            "sent": sent,
            "buffered": put - settled,
            "recovered": recovered,
            "dropped": dropped,
        }

    def hurry(self) -> None:
        """Ask the sender to deliver at once, without waiting for more events."""
        self.urgent = True
        self.wake.set()

    def wait_settled(self, timeout_s: float) -> bool:
        """Wait until all that was put before this call is settled. Return False if the time ran out first."""
        target = self.put_events
        self.hurry()
        return self._flushed.wait(target, timeout_s)

    def lost_nothing(self) -> bool:
        """Return whether Redis has lost nothing since the last call: no drop for a reason in LOST."""
        lost = sum(self._dropped[reason] for reason in LOST)
        before, self._lost_before = self._lost_before, lost
        return lost == before

    def is_settled(self, target: int) -> bool:
        """Return whether the first `target` events that were put here have all settled, and all that were recovered."""
        return self._flushed.covers(target)

    @property
    def put_events(self) -> int:
        """How many events were ever put here: the target of a flush that begins now."""
        return self._put - self._recovered

    # --- the sender's side ------------------------------------------------------------------------------

    def fullness(self) -> float:
        """Return how full the memory is, as a share of its bounds: 0 to about 1."""
        events = (self._put - self._freed) / self.events_max
        return max(events, (self._put_bytes - self._freed_bytes) / self.bytes_max)

    def has_waiting(self) -> bool:
        """Return whether there is anything to take."""
        return bool(self._events)

    def sleep(self, timeout_s: float) -> None:
        """Sleep until an event waits or somebody is in a hurry, at most `timeout_s` seconds."""
        # In this order: a thread that puts between these lines sees that the sender is not awake, and wakes it.
        self.attended = False
        if not self._events and not self.urgent:
            self.wake.wait(timeout_s)
        self.attended = True
        self.wake.clear()

    def linger(self, linger_s: float) -> None:
        """Let a batch gather for `linger_s` seconds, unless it is large already or somebody waits for it."""
        if self._events and not self.urgent and len(self._events) < self._wake_at:
            self.wake.wait(linger_s)
            self.wake.clear()
        self.urgent = False

    def take(self, events_max: int, bytes_max: int) -> Sequence[Buffered]:
        """Remove and return the oldest events, at most `events_max` and about `bytes_max`. They count as buffered."""
        popleft = self._events.popleft
        taken = [popleft() for _ in range(min(len(self._events), events_max))]
        # Cut before anything is put together: events may have a megabyte each, and most of these go back.
        if self._put_bytes - self._freed_bytes > bytes_max:
            fitting = 1 + bisect_left(list(accumulate(waiting_sizes(taken))), bytes_max)
            self._events.extendleft(reversed(taken[fitting:]))
            del taken[fitting:]
        # The call first: a handler that closes in the middle of it takes events, too.
        count = len(taken)
        self.taken_events += count
        return batch_of(taken, self._ids)

    def free(self, batch: Sequence[Buffered]) -> None:
        """Count a taken batch as no longer in memory: it has ended, or is on disk."""
        self._freed += len(batch)
        self._freed_bytes += size_of(batch)
        self._make_room()
        with self._progress:
            self._progress.notify_all()

    def _make_room(self) -> None:
        """Compute at which totals `put` must refuse. Once per batch, so that `put` only compares."""
        self._full_at = (self._freed + self.events_max, self._freed_bytes + self.bytes_max)
        self._full_for_predictions_at = (
            self._freed + max(1, int(self.events_max * PREDICTION_SHARE)),
            self._freed_bytes + min(self.bytes_max, max(wire.EVENT_BYTES_MAX, int(self.bytes_max * PREDICTION_SHARE))),
        )

    def recover(self, events: int) -> None:
        """Count events from the spool of a process that is gone. They count as logged by this process."""
        # In this order: a thread that puts meanwhile must not find less room, since these events are on disk.
        self._freed += events
        self._make_room()
        self._put += events
        self._recovered += events

    def settle(self, events: int, dropped: dict[DropReason, int], application: str = "") -> None:
        """Count so many taken events of an application as ended: `dropped` by reason, and the rest as sent."""
        sent = events - sum(dropped.values())
        for reason, count in dropped.items():
            self._dropped[reason] += count
            self._settled += count
            if count and reason not in WANTED:
                self.unwanted.count(reason, application, count)
        self._sent += sent
        self._settled += sent

    def note_settled(self, waiting: int = 0, place: float = NOWHERE) -> bool:
        """Compute how far a flush has come. Of the taken events `waiting` wait somewhere, none before `place`.

        Return False, with nothing done, if others have not settled either: they are in hand, and may be older.
        """
        if self._settled + waiting != self.taken_events + self._recovered:
            return False
        self._flushed.reaches(min(place, self.taken_events))
        return True
