"""The client: checks a call, encodes it on the spot, and leaves the rest to the delivery.

Nothing here waits for Redis except `flush`, `close` and `ping`, and those are bounded. Nothing raises into
the caller except `init` (a wrong setting) and, with `strict=True`, an event that cannot be logged.
"""

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from . import events, wire
from .buffer import Buffered, DropReason
from .delivery import CLOSE_TIMEOUT_S, Delivery
from .errors import ConfigurationError, InvalidEvent
from .events import Refused
from .settings import Settings, check_redis_url, settings_from

logger = logging.getLogger("joinback")

BUFFER_EVENTS_MAX = 100_000
"""Twenty seconds at 5,000 events a second: a Redis restart or a failover."""
BUFFER_BYTES_MAX = 64 << 20
"""What a service can spare; 100,000 events of the usual 600 bytes are as much."""
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
        # Until configured it only counts.
        self._delivery = Delivery(Settings().redis_url, Settings().buffer_ttl_s, BUFFER_EVENTS_MAX, BUFFER_BYTES_MAX)
        self._configuring = threading.Lock()
        self._complaints: dict[str, float] = {}

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
        drop: for tests and notebooks. Call it at start-up, before other threads log; called again, it
        delivers what was logged under the old settings and counts from zero.
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
        self._delivery.close()
        url = redis_url or settings.redis_url
        self._delivery = Delivery(url, buffer_ttl_s or settings.buffer_ttl_s, buffer_events_max, buffer_bytes_max)
        self._environment = environment or settings.environment
        self._strict = strict
        self._redis_url = url
        return self

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Wait until Redis has all that was logged before this call, at most `timeout_s` seconds.

        False if the time ran out; the events stay buffered and the sender goes on. Blocks: in asyncio code
        call it through `asyncio.to_thread`.
        """
        return self._delivery.flush(timeout_s)

    def close(self, timeout_s: float = CLOSE_TIMEOUT_S) -> bool:
        """Deliver what is buffered, at most `timeout_s` seconds, and stop. Runs by itself at interpreter exit.

        True if nothing was left. What was left is counted as `undelivered` and logged; events logged later
        are counted as `closed`, until `init` is called again.
        """
        return self._delivery.close(timeout_s)

    def ping(self) -> bool:
        """Whether Redis answers, within some seconds. Logs why not. Never raises."""
        try:
            self._configure_once()
        except ConfigurationError as error:
            logger.warning("joinback: %s", error)
            return False
        # As the sender does: an import of joinback alone stays light.
        from .sender import trouble_with

        assert self._redis_url is not None
        trouble = trouble_with(self._redis_url)
        if trouble is not None:
            logger.warning("joinback: %s", trouble)
        return trouble is None

    def stats(self) -> dict[str, Any]:
        """Counts since `init` (or the fork): logged, sent, buffered, and dropped by reason.

        `logged = sent + buffered + sum(dropped.values())`, at every moment. `sent` means Redis has it.
        """
        return self._delivery.stats()

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
        key = str(join_key) if isinstance(join_key, str | int | UUID) else events.new_id()
        if not self._ready():
            return key
        try:
            events.check_names(application, key, join_key, event_id)
            events.check_sides(inputs, outputs, feedback, join_key)
            shared = events.shared(timestamp, version, self._environment, tags)
        # Whatever a caller's object does when it is looked at, the caller goes on.
        except Exception as error:
            self._refuse(error)
            return key
        identity = event_id or events.new_id()
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
        if not self._ready():
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
        self._put(application, key, f"retraction:{event_id or events.new_id()}", event)

    # --- the funnel: encode, buffer ---------------------------------------------------------------------

    def _put(self, application: str, join_key: str, field: str, event: wire.Event) -> None:
        """Encode now, so that the caller may change its dict after the call, and buffer the bytes."""
        try:
            payload = events.encode(event)
        except Refused as refusal:
            self._refuse(refusal)
            return
        buffered = Buffered(application, join_key, field, payload)
        self._delivery.put(buffered, prediction=isinstance(event, wire.Prediction))

    def _ready(self) -> bool:
        """Whether events have somewhere to go; if not, this one is counted and the log says why."""
        if self._redis_url is None:
            try:
                self._configure_once()
            except ConfigurationError as error:
                self._refuse(Refused("misconfigured", str(error)))
                return False
        if self._delivery.closed:
            self._refuse(Refused("closed", "logged after close(); call joinback.init() to start again"))
            return False
        return True

    def _configure_once(self) -> None:
        with self._configuring:
            if self._redis_url is None:
                self.init(strict=self._strict)

    def _refuse(self, error: Exception) -> None:
        """Count the event under its reason and say why, at most once a minute; or raise, if strict."""
        reason: DropReason = error.reason if isinstance(error, Refused) else "internal_error"
        if self._strict:
            raise InvalidEvent(str(error)) from error
        self._delivery.drop(reason)
        now = time.monotonic()
        if now >= self._complaints.get(reason, 0.0):
            self._complaints[reason] = now + COMPLAINT_S
            fault = error if reason == "internal_error" else None
            logger.warning("joinback dropped an event (%s): %s", reason, error, exc_info=fault)
