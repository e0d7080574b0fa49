"""The background thread: takes batches from the buffer and sees to each of them until Redis has it.

Event ids make a re-send harmless, so whatever may have been lost is sent again; what Redis refuses for good
is dropped and counted. What memory cannot hold meanwhile goes to the spool, if there is one.
"""

import logging
import random
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Literal

from .buffer import WANTED, Buffer, Buffered, DropReason
from .redis_errors import RedisRefusal, advice, is_passing
from .route import Route
from .spool import Frame, Spool
from .writer import Writer

logger = logging.getLogger("joinback")

BATCH_EVENTS_MAX = 1_000
"""Beyond 50 events a script call saves no more CPU; more only helps where the round trip is slow."""
BATCH_BYTES_MAX = 4 << 20
"""One script call must not hold the server for more than some milliseconds."""
BACKOFF_S_MIN, BACKOFF_S_MAX = 0.05, 5.0
PAUSE_CHECK_S = 5.0
"""How often to ask whether Redis is nearly full; the worker answers once a cycle."""
REPORT_S = 60.0
"""One log line a minute says what was dropped; a line an event would be a second outage."""
SPOOL_AT, SPOOL_TO = 0.5, 0.25
"""How full the memory is when events begin to go to disk, and when they cease: room for a burst on either side."""
SPOOL_LOOK_S = 0.1
"""How often to look meanwhile: at 100,000 events a second a tenth of the default buffer comes in that time."""
ADOPT_S = 60.0
"""How often to look for the spool of a process that is gone."""

_PAUSED = "Redis is nearly full, so predictions wait in the buffer; see joinback status"
_WRONG_TYPE = "a record's key holds something that is not a hash; find it with TYPE and delete it"


Dropped = dict[DropReason, int]


class Sender:
    """The work of the thread. `stopping` ends it, after its current attempt; nothing else does."""

    def __init__(
        self,
        route: Route,
        buffer: Buffer,
        told_rates: dict[str, float],
        feedback_rates: dict[str, float],
        stopping: threading.Event,
    ) -> None:
        self._buffer = buffer
        self._stopping = stopping
        self._writer = Writer(route, told_rates, feedback_rates)
        self._spool = _spool(route)
        self._adopt_at = 0.0
        self._spool_at = 0.0
        self._held: list[Buffered] = []
        self._paused = False
        self._ask_at = 0.0
        self._trouble: str | None = None
        self._reported: dict[str, int] = {}
        self._report_at = 0.0

    def run(self, linger_s: float) -> None:
        """Deliver until told to stop; what is left then goes to the spool, or counts as undelivered."""
        while not self._stopping.is_set():
            self._buffer.wake.wait(linger_s)
            self._buffer.wake.clear()
            try:
                self._adopt()
                while not self._stopping.is_set() and self._deliver_next():
                    pass
            except Exception:
                logger.exception("joinback: a fault in the sender")
            self.report()
        while batch := self._take():
            self._put_away(batch)
        self._writer.disconnect()
        if self._spool is not None:
            if self._spool.events:
                logger.warning("joinback: %d events stay in the spool for the next process", self._spool.events)
            self._spool.forget()
        self.report(now=True)

    def abort(self) -> None:
        """From another thread: give up the attempt that is under way."""
        self._writer.abort()

    def _deliver_next(self) -> bool:
        """Deliver the oldest batch; but while Redis is nearly full, its feedback only. Whether it left some behind."""
        if self._is_paused():
            batch = self._buffer.take(BATCH_EVENTS_MAX, BATCH_BYTES_MAX)
            # Feedback is small and irreplaceable; predictions wait.
            self._held += [event for event in batch if event[2].startswith("prediction:")]
            self._count_held()
            self._relieve()
            self._deliver([event for event in batch if not event[2].startswith("prediction:")])
            return bool(batch)
        if self._spool is not None and (frame := self._spool.read()) is not None:
            self._deliver_spooled(self._spool, frame)
            return True
        batch = self._take()
        # What comes while these are on their way waits its linger, or every batch would draw a small one after it.
        left = bool(self._held) or self._buffer.has_waiting()
        self._count_held()
        self._deliver(batch)
        return left

    def _take(self) -> list[Buffered]:
        """The oldest events in memory."""
        if not self._held:
            return self._buffer.take(BATCH_EVENTS_MAX, BATCH_BYTES_MAX)
        batch, self._held = self._held[:BATCH_EVENTS_MAX], self._held[BATCH_EVENTS_MAX:]
        return batch

    def _deliver(self, batch: Sequence[Buffered]) -> None:
        """See to a batch from memory; what a stop leaves of it is put away."""
        for application, events in _by_application(batch).items():
            ended = self._send_until_settled(application, events, from_memory=True)
            if ended == "stopped":
                self._put_away(events)
            elif ended != "spooled":
                self._buffer.leave(events)
                self._buffer.settle(len(events), ended)

    def _deliver_spooled(self, spool: Spool, frame: Frame) -> None:
        all_ended: list[tuple[int, Dropped]] = [(frame.damaged, {"spool_damaged": frame.damaged})]
        for application, events in _by_application(frame.events).items():
            ended = self._send_until_settled(application, events, from_memory=False)
            if ended == "stopped" or ended == "spooled":
                # The file stays as it is, for the next process.
                return
            all_ended.append((len(events), ended))
        spool.delivered(frame)
        self._count_held()
        for number, ended in all_ended:
            self._buffer.settle(number, ended)

    def _send_until_settled(
        self, application: str, events: Sequence[Buffered], *, from_memory: bool
    ) -> Dropped | Literal["stopped", "spooled"]:
        """Try until Redis has them or refuses them for good, or until they are on disk, or the stop comes."""
        attempt = 0
        while not self._stopping.is_set():
            try:
                dropped = self._writer.write(application, events)
            except (RedisRefusal, OSError) as error:
                self._tell(advice(error))
                if not is_passing(error):
                    return {"refused": len(events)}
                self._writer.disconnect()
            except Exception:
                # Ours to mend, but the thread and the other events go on.
                logger.exception("joinback: a fault in the sender dropped %d events", len(events))
                return {"internal_error": len(events)}
            else:
                self._tell(_WRONG_TYPE if "wrong_type" in dropped else None)
                return dropped
            attempt += 1
            if from_memory and self._spool is not None and self._is_crowded() and self._spool.append(events):
                # The oldest go first, or the order would be lost.
                self._buffer.leave(events)
                self._count_held()
                return "spooled"
            # Full jitter: a thousand processes must not come back at once.
            self._wait(random.uniform(0, min(BACKOFF_S_MAX, BACKOFF_S_MIN * 2**attempt)))  # noqa: S311
        return "stopped"

    def _wait(self, delay_s: float) -> None:
        """Let some time pass, and no more events into memory than it can hold."""
        until = time.monotonic() + delay_s
        while (remaining_s := until - time.monotonic()) > 0 and not self._stopping.is_set():
            self._relieve()
            self.report()
            self._stopping.wait(remaining_s if self._spool is None else min(remaining_s, SPOOL_LOOK_S))

    def _relieve(self) -> None:
        """Move the oldest events from memory to disk if there are many."""
        if self._spool is None or not self._is_crowded():
            return
        while self._buffer.fill() > SPOOL_TO and (batch := self._take()):
            if not self._spool.append(batch):
                self._held = batch + self._held
                self._spool_at = time.monotonic() + REPORT_S
                logger.warning("joinback: %s", self._spool.trouble)
                break
            self._buffer.leave(batch)
        self._count_held()

    def _is_crowded(self) -> bool:
        """Whether events should go to disk, as far as the disk takes them."""
        return self._buffer.fill() >= SPOOL_AT and time.monotonic() >= self._spool_at

    def _put_away(self, batch: Sequence[Buffered]) -> None:
        """At the end: to the spool, or to the count of what was not delivered."""
        self._buffer.leave(batch)
        if self._spool is None or not self._spool.append(batch):
            self._buffer.settle(len(batch), {"undelivered": len(batch)})

    def _adopt(self) -> None:
        if self._spool is not None and time.monotonic() >= self._adopt_at:
            self._adopt_at = time.monotonic() + ADOPT_S
            if found := self._spool.adopt():
                self._buffer.recover(found)
                self._count_held()
                logger.warning("joinback: %d events of an earlier process found in the spool", found)

    def _count_held(self) -> None:
        # Before a batch is settled: the settling is what wakes up a flush.
        self._buffer.held = len(self._held) + (0 if self._spool is None else self._spool.events)

    def _is_paused(self) -> bool:
        """Whether the worker found Redis nearly full. Unanswered, the last answer stands."""
        if time.monotonic() >= self._ask_at:
            self._ask_at = time.monotonic() + PAUSE_CHECK_S
            try:
                paused = self._writer.is_paused()
            except (RedisRefusal, OSError):
                self._writer.disconnect()
            else:
                if paused != self._paused:
                    logger.warning("joinback: %s", _PAUSED if paused else "Redis has room again")
                self._paused = paused
        return self._paused

    def _tell(self, trouble: str | None) -> None:
        """Log the beginning of a trouble and its end, not each attempt."""
        if trouble is not None and trouble != self._trouble:
            logger.warning("joinback: %s", trouble)
        elif trouble is None and self._trouble is not None:
            logger.warning("joinback: delivering again")
        self._trouble = trouble

    def report(self, *, now: bool = False) -> None:
        """Log what was dropped unwanted since the last line, at most once a minute."""
        dropped = {reason: n for reason, n in self._buffer.stats()["dropped"].items() if reason not in WANTED}
        if dropped == self._reported or not any(dropped.values()):
            return
        if not now and time.monotonic() < self._report_at:
            return
        news = {reason: count - self._reported.get(reason, 0) for reason, count in dropped.items()}
        lost = ", ".join(f"{reason}={count}" for reason, count in news.items() if count)
        logger.warning("joinback dropped %d events: %s", sum(news.values()), lost)
        self._reported = dropped
        self._report_at = time.monotonic() + REPORT_S


def _spool(route: Route) -> Spool | None:
    if route.spool_dir is None:
        return None
    try:
        return Spool(route.spool_dir, route.spool_bytes_max)
    except OSError as error:
        # It was there when the client was configured.
        logger.warning("joinback: no spool: %s; make %s writable and restart", error.strerror, route.spool_dir)
        return None


def _by_application(batch: Sequence[Buffered]) -> Mapping[str, Sequence[Buffered]]:
    applications = {event[0] for event in batch}
    # Most services log under one name.
    if len(applications) == 1:
        return {applications.pop(): batch}
    groups: defaultdict[str, list[Buffered]] = defaultdict(list)
    for event in batch:
        groups[event[0]].append(event)
    return groups
