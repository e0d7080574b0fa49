"""What the sender says to Redis: one attempt at a batch, the announcement of its application, and the replay.

Nothing here waits longer than the socket's timeout, and nothing is tried twice; the sender decides about that.
"""

import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from joinback import log, sampling, wire
from joinback.drops import DropReason
from joinback.options import Options
from joinback.redis_errors import BrokenReply, NodeDown, RedisRefusal
from joinback.redis_url import redis_url as read_url
from joinback.times import ClockWatch

from .announcer import Announcer
from .buffer import Buffered
from .drop_teller import DropTeller
from .rates import Rates
from .replay import Replay, Sent
from .scripts import WRITE, Scripts
from .unwanted import Unwanted

if TYPE_CHECKING:
    from .transport import Transport

LOOK_AGAIN_S = 1.0
"""While nobody knows yet who holds what was sent: a failover takes some seconds."""


def transport_to(options: Options) -> "Transport":
    """Return the way to Redis, not yet connected. Raises ConfigurationError for a `redis` that is no client."""
    from .transport import transport_of  # brings redis-py, for which `import joinback` does not wait

    target = read_url(options.redis_url, "redis_url") if options.redis is None else options.redis
    return transport_of(target, options.credentials)


class Writer:
    """Every method may raise RedisRefusal or OSError; `disconnect` before the next try after an OSError."""

    def __init__(self, options: Options, rates: Rates, unwanted: Unwanted) -> None:
        self._transport = transport_to(options)
        self._scripts = Scripts(self._transport)
        self._announcer = Announcer(self._scripts, rates)
        self._drops = DropTeller(self._scripts, unwanted)
        self._buffer_ttl_s = options.buffer_ttl_s
        self._rates = rates
        self._replay = Replay()
        self._due: dict[str, list[Sent]] = {}
        """By application, what is to be sent again before anything else of it."""
        self._clock = ClockWatch()
        self._changes = 0
        """Of the transport, when it was last looked at what they mean."""
        self._is_unsure = False
        """Whether the server of something that was sent is not known."""
        self._look_at = float("inf")
        """When to try again to send what may be lost, though nothing else is written."""

    @property
    def where(self) -> str:
        """The server's address, as a log line may show it."""
        return self._transport.where

    def write(self, application: str, events: Sequence[Buffered]) -> dict[DropReason, int]:
        """Bring events of one application to Redis; returns the number of those it does not have, by reason."""
        self._connect()
        self._send_again(application)
        return self._write(application, events)

    def is_paused(self) -> bool:
        """Whether the worker found Redis nearly full."""
        self._connect()
        key = wire.PAUSED_KEY.encode()
        return bool(self._transport.send([b"EXISTS", key], key))

    def disconnect(self) -> None:
        """After a failover the name leads elsewhere, and a restarted server may know nothing of us."""
        self._transport.disconnect()
        self._scripts.forget()
        self._announcer.forget()

    def renew_at(self) -> float:
        """When to call `renew`."""
        announce_at = self._announcer.renew_at() if self._transport.connected else float("inf")
        return min(self._look_at, self._drops.due_at(), announce_at)

    def renew(self) -> None:
        """Announce what was written since it was last announced: `joinback:applications` may be lost meanwhile.

        And tell what was dropped, if it is time.
        """
        self._transport.look(closely=True)
        self._connect()
        self._announcer.renew()

    def end(self, *, connect: bool) -> None:
        """Leave Redis so that a worker finds all that was written, if it can be reached.

        `connect`: what was dropped and not told is worth a connection.
        """
        if self._transport.connected or (connect and self._drops.has_news()):
            with suppress(RedisRefusal, OSError):
                self._connect()
                self._announcer.renew()
                self._drops.tell()
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
                # One application's trouble waits for that application.
                if refusal.is_server_wide:
                    raise
        self._look_at = time.monotonic() + LOOK_AGAIN_S if self._is_unsure or self._due else float("inf")
        if time.monotonic() >= self._drops.due_at():
            self._drops.tell()

    def _find_lost(self) -> None:
        """Note what is to be sent again: the server that had it is gone, has begun anew, or handed the slot over."""
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
        """`sent_at`: when they were sent before, if they were."""
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
        failed = sum(self._run_script(application, tag, tagged, sent_at) for tag, tagged in by_tag.items() if tagged)
        return dropped | {"wrong_type": failed} if failed else dropped

    def _run_script(self, application: str, tag: str, events: Sequence[Buffered], sent_at: float | None) -> int:
        """Returns how many of the events could not be stored."""
        _, join_keys, fields, payloads = zip(*events, strict=True)
        keys = wire.write_keys(tag, join_keys)
        arguments = wire.write_arguments(tag, self._buffer_ttl_s, zip(fields, payloads, strict=True))
        reply = self._scripts.run(WRITE, keys, arguments)
        if not accounts_for(reply, len(events)):
            raise BrokenReply("the answer to a batch does not account for its events")
        self._replay.add(application, keys[0], self._transport.server_of(keys[0]), events, sent_at)
        if reply[3]:
            # Redis was emptied, it seems, and `joinback:applications` with it.
            self._announcer.announce_again(application)
        return len(reply) - wire.WRITE_REPLY_MIN

    def _sampled(self, application: str, events: Sequence[Buffered]) -> Sequence[Buffered]:
        """Without the feedback whose predictions nobody kept. Predictions were sampled when they were logged."""
        rate = self._rates.published(application)
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
