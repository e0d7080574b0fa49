"""What the sender says to Redis: one attempt at a batch, the announcement of its application, and the replay.

Nothing here waits longer than the socket's timeout, and nothing is tried twice; the sender decides about that.
"""

from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress

from . import log, sampling, wire
from .announcer import Announcer
from .buffer import Buffered, DropReason
from .connection import BrokenReply, Connection
from .redis_errors import RedisRefusal
from .replay import Replay
from .route import Route
from .scripts import WRITE, Scripts
from .times import ClockWatch


class Writer:
    """Every method may raise RedisRefusal or OSError; `disconnect` before the next try after an OSError."""

    def __init__(self, route: Route, told_rates: dict[str, float], feedback_rates: dict[str, float]) -> None:
        self._connection = Connection(route.redis_url)
        self._scripts = Scripts(self._connection)
        self._announcer = Announcer(self._scripts, told_rates, feedback_rates)
        self._buffer_ttl_s = route.buffer_ttl_s
        self._feedback_rates = feedback_rates
        self._replay = Replay()
        self._due: dict[str, list[Sequence[Buffered]]] = {}
        """By application, what is to be sent again before anything else of it."""
        self._run: str | None = None
        self._has_written = False
        self._clock = ClockWatch()

    @property
    def where(self) -> str:
        """The server's address, as a log line may show it."""
        return self._connection.where

    def write(self, application: str, events: Sequence[Buffered]) -> dict[DropReason, int]:
        """Bring events of one application to Redis; returns the number of those it does not have, by reason."""
        self._connect()
        self._send_again(application)
        dropped = self._write(application, events)
        self._replay.add(application, events)
        self._has_written = True
        return dropped

    def is_paused(self) -> bool:
        """Whether the worker found Redis nearly full."""
        self._connect()
        return bool(self._connection.call("EXISTS", wire.PAUSED_KEY))

    def disconnect(self) -> None:
        """After a failover the name leads elsewhere, and a restarted server may know nothing of us."""
        self._connection.disconnect()
        self._scripts.forget()
        self._announcer.forget()

    def renew_at(self) -> float:
        """When to call `renew`."""
        return self._announcer.renew_at() if self._connection.connected else float("inf")

    def renew(self) -> None:
        """Announce what was written since it was last announced: `joinback:applications` may be lost meanwhile."""
        self._announcer.renew()

    def end(self) -> None:
        """Leave Redis so that a worker finds all that was written, if it can be reached."""
        if self._connection.connected:
            with suppress(RedisRefusal, OSError):
                self._announcer.renew()
        self._connection.disconnect()

    def abort(self) -> None:
        self._connection.abort()

    def _connect(self) -> None:
        if self._connection.connected:
            return
        run = self._connection.connect()
        with suppress(RedisRefusal):
            self._clock.compare(self._connection.call("TIME"))
        if self._has_written and (run is None or run != self._run):
            batches = self._replay.batches()
            self._due.clear()
            for application, events in batches:
                self._due.setdefault(application, []).append(events)
            log.info("joinback: another Redis, or a restarted one; sends the last %d batches again", len(batches))
        self._run = run
        for application in list(self._due):
            try:
                self._send_again(application)
            except RedisRefusal as refusal:
                # One application's trouble waits for that application.
                if refusal.is_server_wide:
                    raise

    def _send_again(self, application: str) -> None:
        for events in self._due.get(application, ())[:]:
            self._write(application, events)
            del self._due[application][0]
        self._due.pop(application, None)

    def _write(self, application: str, events: Sequence[Buffered]) -> dict[DropReason, int]:
        announced = self._announcer.announce(
            application, any(field.startswith("prediction:") for _, _, field, _ in events)
        )
        kept = self._sampled(application, events)
        dropped: dict[DropReason, int] = {"sampled_out": len(events) - len(kept)} if len(kept) < len(events) else {}
        by_tag: dict[str, Sequence[Buffered]] = {wire.tag(application): kept}
        if announced.shards > 1:
            groups: defaultdict[str, list[Buffered]] = defaultdict(list)
            for event in kept:
                groups[wire.tag_of(application, event[1], announced.shards)].append(event)
            by_tag = dict(groups)
        failed = sum(self._run_script(application, tag, tagged) for tag, tagged in by_tag.items() if tagged)
        return dropped | {"wrong_type": failed} if failed else dropped

    def _run_script(self, application: str, tag: str, events: Sequence[Buffered]) -> int:
        """Returns how many of the events could not be stored."""
        _, join_keys, fields, payloads = zip(*events, strict=True)
        keys = wire.write_keys(tag, join_keys)
        arguments = wire.write_arguments(tag, self._buffer_ttl_s, zip(fields, payloads, strict=True))
        reply = self._scripts.run(WRITE, keys, arguments)
        if not accounts_for(reply, len(events)):
            raise BrokenReply("the answer to a batch does not account for its events")
        if reply[3]:
            # Redis was emptied, it seems, and `joinback:applications` with it.
            self._announcer.announce_again(application)
        return len(reply) - wire.WRITE_REPLY_MIN

    def _sampled(self, application: str, events: Sequence[Buffered]) -> Sequence[Buffered]:
        """Without the feedback whose predictions nobody kept. Predictions were sampled when they were logged."""
        rate = self._feedback_rates.get(application, wire.UNSAMPLED)
        if rate >= wire.UNSAMPLED:
            return events
        return [e for e in events if e[2].startswith("prediction:") or sampling.keeps(application, e[1], rate)]


def accounts_for(reply: object, count: int) -> bool:
    """Whether this is the write script's answer to so many events: a connection out of step gives others."""
    if not isinstance(reply, list) or len(reply) < wire.WRITE_REPLY_MIN:
        return False
    if not all(type(number) is int and number >= 0 for number in reply):
        return False
    accepted, duplicates, overflowed, _, *failed = reply
    return accepted + duplicates + overflowed + len(failed) == count and all(1 <= n <= count for n in failed)
