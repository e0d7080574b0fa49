"""From an event to the buffer: sample, redact, encode. Or to the count of those that will not be sent."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from . import events, forks, ids, log, nesting, sampling, values, wire
from .complaints import Complaints, words_of
from .delivery import Delivery
from .drops import DropReason
from .errors import InvalidEvent
from .events import Refused

if TYPE_CHECKING:
    from .redaction import Hooks
    from .room import Room

_here = forks.here


class Funnel:
    """The way of every event of one configuration. Any thread may use it; it never blocks without a `Room`."""

    def __init__(
        self, delivery: Delivery, *, environment: str | None = None, hooks: "Hooks | None" = None, strict: bool = False
    ) -> None:
        self.delivery = delivery
        self.environment = environment
        self.hooks = hooks
        self.strict = strict
        self._complaints = Complaints()

    def stored_key(self, join_key: str) -> str:
        """Return the join key as it leaves the process, by which it is sampled too."""
        return join_key if self.hooks is None else self.hooks.stored_key(join_key)

    def put_plain(
        self, application: object, join_key: str, inputs: Any, outputs: Any, version: object, tags: object
    ) -> bool:
        """Log a prediction of which nothing else is said and to which nothing is done, as of nearly all.

        False, and nothing was done, if it needs more than that: a check, a hook, a sample, another encoding, a word on
        what is wrong. Then `put` has it. All in one place, since what it saves are the calls.
        """
        delivery = self.delivery
        if (
            type(application) is not str
            or application not in events.checked_applications
            or application in delivery.told_rates
            or not 0 < len(join_key) <= events.KEY_LENGTH_SURE
            or not join_key.isprintable()
            or (version is not None and type(version) is not str)
            or (tags is not None and type(tags) is not dict)
            or self.hooks is not None
            or not _here[0]
        ):
            return False
        at = datetime.now(UTC)
        try:
            payload = values.encode(
                wire.Prediction(
                    v=wire.PLAIN_VERSION,
                    at=at,
                    logged_at=at,
                    version=version,
                    environment=self.environment,
                    tags=events.NO_TAGS if tags is None else tags,
                    inputs=inputs,
                    outputs=outputs,
                )
            )
        except Exception:
            return False
        field = f"prediction:{ids.process}{next(ids.numbers)}"
        if (
            len(payload) > wire.EVENT_BYTES_MAX
            or (len(payload) > nesting.BYTES_MIN and nesting.is_too_deep(payload))
            or (payload.find(b"T", events.HEADER_BYTES) >= 0 and values.has_naive(payload, events.HEADER_BYTES))
        ):
            return False
        if delivery.buffer.put((application, join_key, field, payload), True):
            delivery.attend()
        return True

    def put(
        self,
        application: str,
        join_key: str,
        field: str,
        event: wire.Event,
        rate: float,
        room: "Room | None" = None,
    ) -> None:
        """Encode now, so that the caller may change its dict after the call, and buffer the bytes.

        `rate` is the share of join keys to keep; `room`, if given, waits while the buffer is full. With `strict`,
        raises InvalidEvent.
        """
        if not _here[0]:
            forks.begin()
        buffer = self.delivery.buffer
        try:
            if self.hooks is not None:
                # First: sample and shard go by the key as it is stored.
                join_key = self.hooks.stored_key(join_key)
            if rate < wire.UNSAMPLED and not sampling.keeps(application, join_key, rate):
                buffer.drop("sampled_out")
                return
            if self.hooks is not None and not self.hooks.apply(application, join_key, field, event):
                buffer.drop("filtered")
                return
            payload = events.encode(event)
            if room is not None:
                room.wait(buffer, len(payload), type(event) is wire.Prediction)
        except Exception as error:
            self.refuse(error, application)
            return
        if buffer.put((application, join_key, field, payload), type(event) is wire.Prediction):
            self.delivery.attend()

    def refuse(self, error: Exception, application: object = None) -> None:
        """Count the event under its reason and say why, each message once a minute; if strict, raise InvalidEvent.

        `application` is what the caller gave as one.
        """
        if not _here[0]:
            forks.begin()
        reason: DropReason = error.reason if isinstance(error, Refused) else "internal_error"
        words = words_of(error)
        if self.strict:
            raise InvalidEvent(words) from error
        self.delivery.buffer.drop(reason, application if type(application) is str else "")
        self.delivery.tell_drops()
        if self._complaints.is_due(f"{reason}: {words}"):
            fault = error if reason == "internal_error" else None
            log.warning("joinback dropped an event (%s): %s", reason, words, fault=fault)
