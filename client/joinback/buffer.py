"""The bounded buffer between the caller's threads and the sender's, and the count of every event.

No lock stands in the caller's way: `deque.append` is atomic, and CPython changes threads only at calls and
backward jumps, so `counter += 1` on a plain attribute is not torn either. That is what lets the identity
`logged = sent + buffered + dropped` hold at every moment, seen from any thread.
"""

import threading
import time
from collections import deque
from typing import Literal, NamedTuple, get_args

DropReason = Literal[
    # The buffer held `buffer_events_max` events or `buffer_bytes_max` bytes.
    "buffer_full",
    # The call was wrong: no such kind of event, a bad join key, a naive mistake. The log line says which.
    "invalid",
    # A value that JSON cannot express.
    "unencodable",
    # The event is larger than wire.EVENT_BYTES_MAX.
    "too_large",
    # The environment or a URL is wrong, so there is nowhere to send to.
    "misconfigured",
    # Something that is not a hash stands at the record's key in Redis.
    "wrong_type",
    # Redis refused the batch for good: no permission, a wrong type at one of our keys.
    "refused",
    # Still undelivered when the client was closed.
    "undelivered",
    # Logged after close().
    "closed",
    # A fault of ours; the log has the traceback.
    "internal_error",
]
DROP_REASONS: tuple[DropReason, ...] = get_args(DropReason)

PREDICTION_SHARE = 0.9
"""Predictions may fill this much of the buffer; the rest is for feedback, which is small and irreplaceable."""


class Buffered(NamedTuple):
    """One encoded event on its way. `field` is its name in the record's hash, `<kind>:<event_id>`."""

    application: str
    join_key: str
    field: str
    payload: bytes


class Buffer:
    """A FIFO of encoded events, bounded by count and by bytes; when full it drops the newest.

    Any thread may `put` and `drop`; one thread takes and settles.
    """

    def __init__(self, events_max: int, bytes_max: int, wake_at: int) -> None:
        self._events: deque[Buffered] = deque()
        self._events_max = events_max
        self._bytes_max = bytes_max
        self._wake_at = wake_at
        self.wake = threading.Event()
        """Set once when `wake_at` events wait: a wake-up an event would cost more than the event."""
        self._progress = threading.Condition()
        self._put_bytes = 0
        self._settled_bytes = 0
        self._put = 0
        self._settled = 0
        self._logged = 0
        self._sent = 0
        self.held = 0
        """Taken events that the sender keeps back for now; they count as buffered."""
        self._dropped: dict[str, int] = dict.fromkeys(DROP_REASONS, 0)

    def put(self, event: Buffered, *, prediction: bool) -> bool:
        """Append one event, or count it as dropped and return False. Never blocks."""
        size = len(event.payload)
        share = PREDICTION_SHARE if prediction else 1.0
        if (
            self._put - self._settled >= self._events_max * share
            or self._put_bytes - self._settled_bytes + size > self._bytes_max * share
        ):
            self.drop("buffer_full")
            return False
        self._logged += 1
        self._put += 1
        self._put_bytes += size
        self._events.append(event)
        if len(self._events) == self._wake_at:
            self.wake.set()
        return True

    def drop(self, reason: DropReason) -> None:
        """Count an event that was logged and will not be sent."""
        self._logged += 1
        self._dropped[reason] += 1

    def stats(self) -> dict[str, int | dict[str, int]]:
        """`logged`, `sent`, `buffered` and `dropped` by reason; logged is always the sum of the others."""
        logged, sent, put, settled, dropped = (
            self._logged,
            self._sent,
            self._put,
            self._settled,
            self._dropped.copy(),
        )
        return {"logged": logged, "sent": sent, "buffered": put - settled, "dropped": dropped}

    def take(self, events_max: int, bytes_max: int) -> list[Buffered]:
        """The oldest events, at most so many and about so many bytes. They count as buffered until settled."""
        batch: list[Buffered] = []
        size = 0
        while self._events and len(batch) < events_max and size < bytes_max:
            event = self._events.popleft()
            batch.append(event)
            size += len(event.payload)
        return batch

    def settle(self, batch: list[Buffered], dropped: dict[DropReason, int]) -> None:
        """End a taken batch: each event was acknowledged by Redis, or is counted under its reason."""
        sent = len(batch) - sum(dropped.values())
        size = sum(len(event.payload) for event in batch)
        for reason, count in dropped.items():
            self._dropped[reason] += count
            self._settled += count
        self._sent += sent
        self._settled += sent
        self._settled_bytes += size
        with self._progress:
            self._progress.notify_all()

    def wait_settled(self, timeout_s: float) -> bool:
        """Wait until all that was put before this call is settled. False if the time ran out first."""
        target = self._put
        deadline = time.monotonic() + timeout_s
        self.wake.set()
        with self._progress:
            # Held events are older than some that are settled.
            while self._settled < target or self.held:
                remaining_s = deadline - time.monotonic()
                if remaining_s <= 0:
                    return False
                self._progress.wait(remaining_s)
        return True
