"""From an event to the buffer: sample, redact, encode. Or to the count of those that will not be sent."""

from typing import TYPE_CHECKING

from . import events, forks, log, sampling, wire
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
