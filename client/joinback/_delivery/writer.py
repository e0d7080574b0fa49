"""What the sender sends to Redis: a batch, the announcement of its application, the replay, and reports of drops.

Nothing here waits longer than the socket's timeout, and nothing is tried twice: the sender decides about retries.
"""

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from joinback import log, sampling, wire
from joinback.drops import DropReason
from joinback.options import Options
from joinback.redis_errors import BrokenReply, NodeDown, RedisRefusal
from joinback.redis_url import redis_url as read_url
from joinback.times import ClockWatch

from .announcer import Announcer
from .command import Command
from .drop_reporter import DropReporter
from .plain import Buffered, PlainBatch
from .rates import Rates
from .replay import Replay, Sent
from .scripts import WRITE, Scripts
from .unwanted import Unwanted

if TYPE_CHECKING:
    from .transport import Transport

LOOK_AGAIN_S = 1.0
"""How often to look which server holds what was sent, while that is not known: a failover takes some seconds."""


def transport_to(options: Options) -> "Transport":
    """Return the way to Redis, not yet connected. Raises ConfigurationError if `redis` is not a client of redis-py."""
    from .transport import transport_of  # imports redis-py, for which `import joinback` must not wait

    target = read_url(options.redis_url, "redis_url") if options.redis is None else options.redis
    return transport_of(target, options.credentials)


class Writer:
    """Writes over one transport. Each method may raise RedisRefusal or OSError; after an OSError call `disconnect`."""

    def __init__(self, options: Options, rates: Rates, unwanted: Unwanted) -> None:
        self._transport = transport_to(options)
        self._scripts = Scripts(self._transport)
        self._announcer = Announcer(self._scripts, rates)
        self._drops = DropReporter(self._scripts, unwanted)
        self._buffer_ttl_s = options.buffer_ttl_s
        self._rates = rates
        self._replay = Replay()
        self._due: dict[str, list[Sent]] = {}
        """Application -> the batches to send again before any other batch of it."""
        self._clock = ClockWatch()
        self._changes = 0
        """The transport's `changes` when `_find_lost` last ran."""
        self._is_unsure = False
        """Whether for some sent batch it is not known which server holds its key."""
        self._look_at = float("inf")
        """The monotonic time to look again for lost batches, if nothing is written before."""

    @property
    def where(self) -> str:
        """The server's address, as a log line may show it."""
        return self._transport.where

    def write(self, application: str, events: Sequence[Buffered]) -> dict[DropReason, int]:
        """Write events of one application. Return how many Redis will never have, by reason."""
        self._connect()
        self._send_again(application)
        return self._write(application, events)

    def is_paused(self) -> bool:
        """Return whether the worker found Redis nearly full."""
        self._connect()
        key = wire.PAUSED_KEY.encode()
        return bool(self._transport.send([b"EXISTS", key], key))

    def disconnect(self) -> None:
        """Disconnect and forget what the server knew: the next one may be another, or restarted."""
        self._transport.disconnect()
        self._scripts.forget()
        self._announcer.forget()

    def renew_at(self) -> float:
        """Return the monotonic time at which to call `renew`."""
        announce_at = self._announcer.renew_at() if self._transport.connected else float("inf")
        return min(self._look_at, self._drops.due_at(), announce_at)

    def renew(self) -> None:
        """Announce again the applications that were written, since Redis may have lost `joinback:applications`.

        Send again what was lost, and report drops, if it is time.
        """
        self._transport.look(closely=True)
        self._connect()
        self._announcer.renew()

    def end(self, *, connect: bool) -> None:
        """Make a last announcement and report, so that a worker finds all that was written. Then disconnect.

        With `connect`, drops that were not reported are worth a new connection.
        """
        if self._transport.connected or (connect and self._drops.has_news()):
            with suppress(RedisRefusal, OSError):
                self._connect()
                self._announcer.renew()
                self._drops.report()
        self._transport.disconnect()

    def abort(self) -> None:
        self._transport.abort()

    def _connect(self) -> None:
        if not self._transport.connected:
            self._transport.connect()
            with suppress(RedisRefusal, NodeDown):
                self._clock.compare(self._transport.send([b"TIME"], wire.PAUSED_KEY.encode()))
        self._transport.look()
        if self._is_unsure or self._changes != self._transport.changes:
            self._find_lost()
        for application in list(self._due):
            try:
                self._send_again(application)
            except NodeDown:
                pass
            except RedisRefusal as refusal:
                # Trouble of one application must not stop the others.
                if refusal.is_server_wide:
                    raise
        self._look_at = time.monotonic() + LOOK_AGAIN_S if self._is_unsure or self._due else float("inf")
        if time.monotonic() >= self._drops.due_at():
            self._drops.report()

    def _find_lost(self) -> None:
        """Note the batches to send again: their server is gone, was restarted, or has handed their slot over."""
        self._changes, self._is_unsure = self._transport.changes, False
        lost = list(self._replay.lost(self._server_of))
        for sent in lost:
            sent.is_due = True
            self._due.setdefault(sent.application, []).append(sent)
        if lost:
            log.info("joinback: another Redis, or a restarted one; sends the last %d batches again", len(lost))

    def _server_of(self, key: bytes) -> str | None:
        try:
            return self._transport.server_of(key)
        except (OSError, RedisRefusal):
            self._is_unsure = True
            return None

    def _send_again(self, application: str) -> None:
        due = self._due.get(application, [])
        while due:
            self._write(application, due[0].events, due[0].at)
            self._replay.forget(due.pop(0))
        self._due.pop(application, None)

    def _write(
        self, application: str, events: Sequence[Buffered], sent_at: float | None = None
    ) -> dict[DropReason, int]:
        """Write the events by tag. `sent_at` is when they were sent before, if they were."""
        announced = self._announcer.announce(application, _predicts(events))
        kept = self._sampled(application, events)
        dropped: dict[DropReason, int] = {"sampled_out": len(events) - len(kept)} if len(kept) < len(events) else {}
        by_tag = _by_tag(application, kept, announced.shards)
        failed = sum(self._run_script(application, tag, tagged, sent_at) for tag, tagged in by_tag.items() if tagged)
        return dropped | {"wrong_type": failed} if failed else dropped

    def _run_script(self, application: str, tag: str, events: Sequence[Buffered], sent_at: float | None) -> int:
        """Return how many of the events could not be stored."""
        key = wire.pending_key(tag).encode()
        reply = self._scripts.call(WRITE, call_of(tag, self._buffer_ttl_s, events), key)
        if not accounts_for(reply, len(events)):
            raise BrokenReply("the answer to a batch does not account for its events")
        self._replay.add(application, key, self._transport.server_of(key), events, sent_at)
        if reply[3]:
            # Redis was perhaps emptied, and `joinback:applications` with it.
            self._announcer.announce_again(application)
        return len(reply) - wire.WRITE_REPLY_MIN

    def _sampled(self, application: str, events: Sequence[Buffered]) -> Sequence[Buffered]:
        """Return the events without feedback on predictions that nobody kept. Predictions were sampled at the call."""
        rate = self._rates.published(application)
        if rate >= wire.UNSAMPLED or isinstance(events, PlainBatch):
            return events
        return [e for e in events if e[2].startswith("prediction:") or sampling.keeps(application, e[1], rate)]


def _predicts(events: Sequence[Buffered]) -> bool:
    """Return whether there are predictions among these events."""
    return isinstance(events, PlainBatch) or any(field.startswith("prediction:") for _, _, field, _ in events)


def _by_tag(application: str, events: Sequence[Buffered], shards: int) -> Mapping[str, Sequence[Buffered]]:
    """Return tag -> its events, in order."""
    if shards == 1:
        return {wire.tag(application): events}
    if isinstance(events, PlainBatch):
        return events.grouped([wire.tag_of(application, key, shards) for key in events.join_keys])
    groups: defaultdict[str, list[Buffered]] = defaultdict(list)
    for event in events:
        groups[wire.tag_of(application, event[1], shards)].append(event)
    return groups


def call_of(tag: str, buffer_ttl_s: int, events: Sequence[Buffered]) -> Command:
    """Return what the write script is called with for these events: the number of its keys, KEYS and ARGV."""
    keys = wire.write_keys(tag, ())
    command = Command([b"%d" % (len(keys) + len(events)), *keys])
    limits = wire.write_arguments(tag, buffer_ttl_s, ())
    if isinstance(events, PlainBatch):
        command.add_texts(wire.record_key(tag, ""), events.join_keys)
        command.add(limits)
        events.add_to(command)
    else:
        _, join_keys, fields, payloads = zip(*events, strict=True)
        command.add_texts(wire.record_key(tag, ""), join_keys)
        command.add(limits)
        command.add([part for pair in zip(map(str.encode, fields), payloads, strict=True) for part in pair])
    return command


def accounts_for(reply: object, count: int) -> bool:
    """Return whether this is an answer of the write script to so many events. A connection out of step gives others."""
    if not isinstance(reply, list) or len(reply) < wire.WRITE_REPLY_MIN:
        return False
    if not all(type(number) is int and number >= 0 for number in reply):
        return False
    accepted, duplicates, overflowed, _, *failed = reply
    return accepted + duplicates + overflowed + len(failed) == count and all(1 <= n <= count for n in failed)
