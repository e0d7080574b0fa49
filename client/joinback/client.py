"""The client: checks a call, encodes it on the spot, and leaves the rest to the buffer and the sender.

Nothing here waits for Redis except `flush`, `close` and `ping`, and those are bounded. Nothing raises into
the caller except `init` (a wrong setting) and, with `strict=True`, an event that cannot be logged.
"""

import atexit
import logging
import os
import random
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import redis

from . import events, wire
from .buffer import Buffer, Buffered, DropReason
from .errors import ConfigurationError, InvalidEvent
from .events import Refused
from .redis_errors import advice
from .sender import Sender, connect
from .settings import check_redis_url, settings_from

logger = logging.getLogger("joinback")

BUFFER_EVENTS_MAX = 100_000
"""Twenty seconds at 5,000 events a second: a Redis restart or a failover."""
BUFFER_BYTES_MAX = 64 << 20
"""What a service can spare; 100,000 events of the usual 600 bytes are as much."""
LINGER_S = 0.05
"""The knee between CPU (a wake-up costs more than an event) and what a SIGKILL may lose."""
WAKE_AT_EVENTS = 500
CLOSE_TIMEOUT_S = 2.0
"""An exit must not hang on a dead Redis; supervisors send SIGKILL after some ten seconds."""
COMPLAINT_S = 60.0
"""How often a wrong call is explained in the log."""


class Client:
    """One buffer, one background thread, one Redis connection. Thread-safe, fork-safe.

    Made without touching the environment or the network. Call `init`, or let the first event configure it
    from JOINBACK_REDIS_URL and its sisters.
    """

    def __init__(self) -> None:
        self._strict = False
        self._environment: str | None = None
        self._redis_url: str | None = None
        self._buffer_ttl_s = 0
        self._linger_s = LINGER_S
        self._closed = False
        self._complaints: dict[str, float] = {}
        self._reset(BUFFER_EVENTS_MAX, BUFFER_BYTES_MAX)
        # The hook outlives the client, so it must not keep it alive.
        this = weakref.WeakMethod(self._after_fork)
        os.register_at_fork(after_in_child=lambda: (method := this()) is not None and method())

    def _reset(self, events_max: int, bytes_max: int) -> None:
        self._lock = threading.RLock()
        self._bounds = (events_max, bytes_max)
        self._buffer = Buffer(events_max, bytes_max, WAKE_AT_EVENTS)
        self._sender: Sender | None = None
        self._random = random.Random()  # noqa: S311 - ids need to be unique, not secret

    def _after_fork(self) -> None:
        """The parent delivers what the parent buffered; the child starts empty, with a thread of its own."""
        self._reset(*self._bounds)

    # --- life cycle -------------------------------------------------------------------------------------

    def init(
        self,
        redis_url: str | None = None,
        *,
        environment: str | None = None,
        buffer_ttl_s: int | None = None,
        strict: bool = False,
        buffer_events_max: int = BUFFER_EVENTS_MAX,
        buffer_bytes_max: int = BUFFER_BYTES_MAX,
    ) -> "Client":
        """Configure the client; what is not given comes from the environment. Does not connect.

        `buffer_ttl_s` is how long Redis keeps a record. `strict` raises InvalidEvent instead of counting a
        drop: for tests and notebooks. Called again, it delivers what was logged under the old settings first.
        Raises ConfigurationError for a wrong setting.
        """
        settings = settings_from()
        if redis_url is not None:
            check_redis_url(redis_url, "redis_url")
        if buffer_ttl_s is not None and not 1 <= buffer_ttl_s <= 31_536_000:
            raise ConfigurationError("buffer_ttl_s must be between one second and one year")
        if buffer_events_max < 1 or buffer_bytes_max < wire.EVENT_BYTES_MAX:
            raise ConfigurationError(
                f"the buffer must hold an event and {wire.EVENT_BYTES_MAX} bytes at least; raise buffer_*_max"
            )
        if self._sender is not None:
            self.close()
        self._reset(buffer_events_max, buffer_bytes_max)
        self._environment = environment or settings.environment
        self._buffer_ttl_s = buffer_ttl_s or settings.buffer_ttl_s
        self._strict = strict
        self._closed = False
        # Last: from here on, other threads may log.
        self._redis_url = redis_url or settings.redis_url
        return self

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Wait until Redis has all that was logged before this call, at most `timeout_s` seconds.

        False if the time ran out; the events stay buffered and the sender goes on. Blocks: in asyncio code
        call it through `asyncio.to_thread`.
        """
        return self._buffer.wait_settled(timeout_s)

    def close(self, timeout_s: float = CLOSE_TIMEOUT_S) -> bool:
        """Deliver what is buffered, at most `timeout_s` seconds, and stop. Runs by itself at interpreter exit.

        True if nothing was left. What was left is counted as `undelivered` and logged; events logged later
        are counted as `closed`, until `init` is called again.
        """
        self._closed = True
        sender, self._sender = self._sender, None
        if sender is None:
            return True
        deadline = time.monotonic() + timeout_s
        delivered = self._buffer.wait_settled(timeout_s)
        sender.stop()
        # A thread that hangs in a socket call is a daemon; the interpreter ends without it.
        sender.join(max(0.1, deadline - time.monotonic()))
        return delivered

    def ping(self) -> bool:
        """Whether Redis answers, within some seconds. Logs why not. Never raises."""
        if not self._configured():
            return False
        assert self._redis_url is not None
        connection = connect(self._redis_url)
        try:
            return bool(connection.ping())
        except (redis.RedisError, OSError) as error:
            logger.warning("joinback: %s", advice(error))
            return False
        finally:
            connection.close()

    def stats(self) -> dict[str, Any]:
        """Counts since start (or `init`, or the fork): logged, sent, buffered, and dropped by reason.

        `logged = sent + buffered + sum(dropped.values())`, at every moment. `sent` means Redis has it.
        """
        return self._buffer.stats()

    # --- events -----------------------------------------------------------------------------------------

    def log_record(
        self,
        application: str,
        *,
        inputs: Any = None,
        outputs: Any = None,
        feedback: Mapping[str, Any] | None = None,
        join_key: str | int | UUID | None = None,
        version: str | int | float | None = None,
        tags: Mapping[str, Any] | None = None,
        timestamp: datetime | None = None,
        event_id: str | None = None,
    ) -> str:
        """Log a prediction (`inputs` and `outputs`), feedback on one (`feedback`), or both at once.

        Returns the join key: the caller's as text, or a new one. It is returned even if the event is dropped.
        `timestamp` is when it happened, now if not given; a naive one is UTC. Feedback is a dict of fields and
        may come before its prediction, more than once, and up to six months late; an explicit None is a value.
        `event_id` makes a repeated call (a retried task) count once; without it each call is an event.
        NaN and infinities become null, as JSON has none. Never blocks; with `strict=True` raises InvalidEvent.
        """
        key = str(join_key) if isinstance(join_key, str | int | UUID) else self._new_id()
        if not self._configured():
            return key
        try:
            events.check_names(application, key, join_key, event_id)
            events.check_sides(inputs, outputs, feedback, join_key)
            shared = events.shared(timestamp, version, self._environment, tags)
        # Whatever a caller's object does when it is looked at, the caller goes on.
        except Exception as error:
            self._refuse(error)
            return key
        identity = event_id or self._new_id()
        if inputs is not None:
            prediction = wire.Prediction(inputs=inputs, outputs=outputs, **shared)
            self._put(application, key, f"prediction:{identity}", prediction)
        if feedback is not None:
            self._put(application, key, f"feedback:{identity}", wire.Feedback(feedback=dict(feedback), **shared))
        return key

    def log_records(
        self,
        application: str,
        *,
        inputs: Sequence[Any] | None = None,
        outputs: Sequence[Any] | None = None,
        feedback: Sequence[Mapping[str, Any] | None] | None = None,
        join_keys: Sequence[str | int | UUID] | None = None,
        version: str | int | float | None = None,
        tags: Mapping[str, Any] | None = None,
        timestamps: Sequence[datetime] | None = None,
    ) -> list[str]:
        """Log many records: the n-th of each list belong together. Returns their join keys.

        Lists of different lengths are one invalid call: nothing of it is logged, and one drop is counted.
        """
        columns = {
            "inputs": inputs,
            "outputs": outputs,
            "feedback": feedback,
            "join_key": join_keys,
            "timestamp": timestamps,
        }
        given = {name: column for name, column in columns.items() if column is not None}
        lengths = {name: len(column) for name, column in given.items()}
        if len(set(lengths.values())) > 1:
            self._refuse(Refused("invalid", f"log_records got lists of different lengths: {lengths}"))
            return []
        return [
            self.log_record(application, version=version, tags=tags, **dict(zip(given, row, strict=True)))
            for row in zip(*given.values(), strict=True)
        ]

    def retract(
        self,
        application: str,
        join_key: str | int | UUID,
        *,
        fields: Sequence[str] | None = None,
        timestamp: datetime | None = None,
        event_id: str | None = None,
    ) -> None:
        """Take feedback back: these fields of it, or all; what was said up to `timestamp`, now if not given.

        The history stays on the row. Feedback with a later time counts again.
        """
        if not self._configured():
            return
        key = str(join_key) if isinstance(join_key, str | int | UUID) else ""
        try:
            events.check_names(application, key, join_key, event_id)
            if isinstance(fields, str):
                raise Refused("invalid", "fields must be a list of names, not one string")
            names = None if fields is None else list(fields)
            event = wire.Retraction(fields=names, **events.shared(timestamp, None, self._environment, None))
        except Exception as error:
            self._refuse(error)
            return
        self._put(application, key, f"retraction:{event_id or self._new_id()}", event)

    # --- the funnel: encode, buffer ---------------------------------------------------------------------

    def _put(self, application: str, join_key: str, field: str, event: wire.Event) -> None:
        """Encode now, so that the caller may change its dict after the call, and buffer the bytes."""
        try:
            payload = events.encode(event)
        except Refused as refusal:
            self._refuse(refusal)
            return
        buffered = Buffered(application, join_key, field, payload)
        self._buffer.put(buffered, prediction=isinstance(event, wire.Prediction))
        if self._sender is None:
            self._start()

    def _start(self) -> None:
        with self._lock:
            if self._sender is not None or self._closed:
                return
            assert self._redis_url is not None
            self._sender = Sender(self._buffer, self._redis_url, self._buffer_ttl_s, self._linger_s)
            self._sender.start()
            atexit.unregister(self._at_exit)
            atexit.register(self._at_exit)

    def _at_exit(self) -> None:
        self.close()

    def _configured(self) -> bool:
        """Whether events have somewhere to go; if not, this one is counted and the log says why."""
        if self._closed:
            self._refuse(Refused("closed", "logged after close(); call joinback.init() to start again"))
            return False
        if self._redis_url is None:
            try:
                with self._lock:
                    if self._redis_url is None:
                        self.init(strict=self._strict)
            except ConfigurationError as error:
                self._refuse(Refused("misconfigured", str(error)))
                return False
        return True

    def _refuse(self, error: Exception) -> None:
        """Count the event under its reason and say why, at most once a minute; or raise, if strict."""
        reason: DropReason = error.reason if isinstance(error, Refused) else "internal_error"
        if self._strict:
            raise InvalidEvent(str(error)) from error
        self._buffer.drop(reason)
        now = time.monotonic()
        if now >= self._complaints.get(reason, 0.0):
            self._complaints[reason] = now + COMPLAINT_S
            fault = error if reason == "internal_error" else None
            logger.warning("joinback dropped an event (%s): %s", reason, error, exc_info=fault)

    def _new_id(self) -> str:
        # 64 bits name an event within its record and a record within its application; uuid4 costs 8 times more.
        return f"{self._random.getrandbits(64):016x}"
