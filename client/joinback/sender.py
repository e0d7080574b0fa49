"""The background thread: takes batches from the buffer and writes them to Redis until Redis has them.

A batch is one EVALSHA a tag. Event ids make a re-send harmless, so whatever may have been lost is sent
again; what Redis refuses for good is dropped and counted.
"""

import contextlib
import logging
import random
import threading
import time
from collections import defaultdict
from typing import cast

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from . import wire
from .buffer import Buffer, Buffered, DropReason
from .link import link_options
from .redis_errors import advice, is_passing

logger = logging.getLogger("joinback")

BATCH_EVENTS_MAX = 1_000
"""Beyond 50 events a script call saves no more CPU; more only helps where the round trip is slow."""
BATCH_BYTES_MAX = 4 << 20
"""One script call must not hold the server for more than some milliseconds."""
SOCKET_TIMEOUT_S = 2.0
"""Long for a network, short for an exit: see delivery.CLOSE_TIMEOUT_S."""
BACKOFF_S_MIN, BACKOFF_S_MAX = 0.05, 5.0
REGISTRATION_S = 60.0
"""How often an application is announced again, in case `joinback:applications` was lost."""
PAUSE_CHECK_S = 5.0
"""How often to ask whether Redis is nearly full; the worker answers once a cycle."""
REPORT_S = 60.0
"""One log line a minute says what was dropped; a line an event would be a second outage."""

_PAUSED = "Redis is nearly full, so predictions wait in the buffer; see joinback status"
_WRONG_TYPE = "a record's key holds something that is not a hash; find it with TYPE and delete it"


class Sender:
    """The work of the thread. `stopping` ends it, after its current attempt; nothing else does."""

    def __init__(
        self, buffer: Buffer, redis_url: str, buffer_ttl_s: int, linger_s: float, stopping: threading.Event
    ) -> None:
        self._buffer = buffer
        self._buffer_ttl_s = buffer_ttl_s
        self._linger_s = linger_s
        self._stopping = stopping
        self._redis = connect(redis_url)
        self._applications: dict[str, tuple[wire.Application, float]] = {}
        self._held: list[Buffered] = []
        self._paused = False
        self._ask_at = 0.0
        self._trouble: str | None = None
        self._reported: dict[str, int] = {}
        self._report_at = 0.0

    def run(self) -> None:
        """Deliver until told to stop; what is left then counts as undelivered."""
        while not self._stopping.is_set():
            self._buffer.wake.wait(self._linger_s)
            self._buffer.wake.clear()
            self._work()
            self.report()
        held, self._held, self._buffer.held = self._held, [], 0
        self._buffer.settle(held, {"undelivered": len(held)})
        while batch := self._buffer.take(BATCH_EVENTS_MAX, BATCH_BYTES_MAX):
            self._buffer.settle(batch, {"undelivered": len(batch)})
        self._redis.close()
        self.report(now=True)

    def _work(self) -> None:
        """Deliver all there is; but while Redis is nearly full, feedback only: it is small and irreplaceable."""
        if self._held and not self._is_paused():
            held, self._held = self._held, []
            while held and not self._stopping.is_set():
                batch = held[:BATCH_EVENTS_MAX]
                del held[:BATCH_EVENTS_MAX]
                # Before the delivery: its end is what wakes up a flush.
                self._buffer.held = len(held)
                self._deliver(batch)
            self._held = held
        while not self._stopping.is_set() and (batch := self._buffer.take(BATCH_EVENTS_MAX, BATCH_BYTES_MAX)):
            if self._is_paused():
                self._held += [event for event in batch if event.field.startswith("prediction:")]
                self._buffer.held = len(self._held)
                batch = [event for event in batch if not event.field.startswith("prediction:")]
            self._deliver(batch)

    def _is_paused(self) -> bool:
        """Whether the worker found Redis nearly full. Unanswered, the last answer stands."""
        if time.monotonic() >= self._ask_at:
            self._ask_at = time.monotonic() + PAUSE_CHECK_S
            with contextlib.suppress(redis.RedisError, OSError):
                paused = bool(self._redis.execute_command("EXISTS", wire.PAUSED_KEY))
                if paused != self._paused:
                    logger.warning("joinback: %s", _PAUSED if paused else "Redis has room again")
                self._paused = paused
        return self._paused

    def _deliver(self, batch: list[Buffered]) -> None:
        by_application: defaultdict[str, list[Buffered]] = defaultdict(list)
        for event in batch:
            by_application[event.application].append(event)
        for application, events in by_application.items():
            try:
                dropped = self._send_until_settled(application, events)
            except Exception:
                # Ours to mend, but the thread and the other events go on.
                logger.exception("joinback: a fault in the sender dropped %d events", len(events))
                dropped = {"internal_error": len(events)}
            self._buffer.settle(events, dropped)

    def _send_until_settled(self, application: str, events: list[Buffered]) -> dict[DropReason, int]:
        attempt = 0
        while True:
            try:
                dropped = self._send(application, events)
            except (redis.RedisError, OSError) as error:
                self._tell(advice(error))
                if not is_passing(error):
                    return {"refused": len(events)}
                # After a failover the name leads elsewhere, and a restarted server may know nothing of us.
                self._redis.connection_pool.disconnect()
                self._applications.clear()
            else:
                self._tell(_WRONG_TYPE if dropped else None)
                return dropped
            attempt += 1
            # Full jitter: a thousand processes must not come back at once.
            delay_s = random.uniform(0, min(BACKOFF_S_MAX, BACKOFF_S_MIN * 2**attempt))  # noqa: S311
            if self._stopping.wait(delay_s):
                return {"undelivered": len(events)}

    def _send(self, application: str, events: list[Buffered]) -> dict[DropReason, int]:
        """One attempt at a batch of one application; it may span several tags."""
        shards = self._register(application).shards
        failed = 0
        by_tag: defaultdict[str, list[Buffered]] = defaultdict(list)
        for event in events:
            by_tag[wire.tag_of(application, event.join_key, shards)].append(event)
        for tag, tagged in by_tag.items():
            keys = wire.write_keys(tag, (event.join_key for event in tagged))
            arguments = wire.write_arguments(
                tag, self._buffer_ttl_s, ((event.field, event.payload) for event in tagged)
            )
            failed += len(self._run_script(keys, arguments)) - 3
        return {"wrong_type": failed} if failed else {}

    def _run_script(self, keys: list[str], arguments: list[str | int | bytes]) -> list[int]:
        try:
            reply = self._redis.execute_command("EVALSHA", wire.WRITE_SHA, len(keys), *keys, *arguments)
        except redis.exceptions.NoScriptError:
            # A new server, a restarted one, or somebody ran SCRIPT FLUSH.
            self._redis.execute_command("SCRIPT LOAD", wire.WRITE_SCRIPT)
            reply = self._redis.execute_command("EVALSHA", wire.WRITE_SHA, len(keys), *keys, *arguments)
        return cast(list[int], reply)

    def _register(self, application: str) -> wire.Application:
        """Announce the application to the worker; what is announced already stands."""
        known, renew_at = self._applications.get(application, (None, 0.0))
        if known is not None and time.monotonic() < renew_at:
            return known
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.hsetnx(wire.APPLICATIONS_KEY, application, wire.encode(wire.Application()).decode())
        pipeline.expire(wire.APPLICATIONS_KEY, wire.STATS_TTL_S)
        pipeline.hget(wire.APPLICATIONS_KEY, application)
        registered = wire.decode_application(pipeline.execute()[-1])
        if registered is None:
            logger.warning(
                "joinback: the field %r of joinback:applications is not valid; HDEL it, meanwhile one shard is used",
                application,
            )
            registered = wire.Application()
        self._applications[application] = (registered, time.monotonic() + REGISTRATION_S)
        return registered

    def _tell(self, trouble: str | None) -> None:
        """Log the beginning of a trouble and its end, not each attempt."""
        if trouble is not None and trouble != self._trouble:
            logger.warning("joinback: %s", trouble)
        elif trouble is None and self._trouble is not None:
            logger.warning("joinback: delivering again")
        self._trouble = trouble

    def report(self, *, now: bool = False) -> None:
        """Log what was dropped since the last line, at most once a minute."""
        dropped: dict[str, int] = self._buffer.stats()["dropped"]  # type: ignore[assignment]
        if dropped == self._reported or not any(dropped.values()):
            return
        if not now and time.monotonic() < self._report_at:
            return
        news = {reason: count - self._reported.get(reason, 0) for reason, count in dropped.items()}
        lost = ", ".join(f"{reason}={count}" for reason, count in news.items() if count)
        logger.warning("joinback dropped %d events: %s", sum(news.values()), lost)
        self._reported = dropped
        self._report_at = time.monotonic() + REPORT_S


def connect(redis_url: str) -> redis.Redis:
    """A redis-py client that never re-sends by itself and never waits for ever; it connects on first use."""
    return redis.Redis.from_url(
        redis_url,
        **link_options(redis_url, SOCKET_TIMEOUT_S),
        # redis-py's own retries differ by version and repeat commands unasked.
        retry=Retry(NoBackoff(), 0),
    )


def trouble_with(redis_url: str) -> str | None:
    """Why Redis does not answer a PING, in one line; None if it does."""
    connection = connect(redis_url)
    try:
        connection.ping()
    except (redis.RedisError, OSError) as error:
        return advice(error)
    finally:
        connection.close()
    return None
