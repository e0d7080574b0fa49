"""From an event to the buffer: sample, redact, encode. Or to the count of those that will not be sent."""

import time
from typing import TYPE_CHECKING

from . import events, forks, log, sampling, wire
from .buffer import DropReason
from .delivery import Delivery
from .errors import InvalidEvent
from .events import Refused

if TYPE_CHECKING:
    from .redaction import Hooks

_here = forks.here

COMPLAINT_S = 60.0
"""How often a wrong call is explained in the log."""


class Funnel:
    """The way of every event of one configuration. Any thread may use it; it never blocks."""

    def __init__(
        self, delivery: Delivery, *, environment: str | None = None, hooks: "Hooks | None" = None, strict: bool = False
    ) -> None:
        self.delivery = delivery
        self.environment = environment
        self.hooks = hooks
        self.strict = strict
        self._complaints: dict[str, float] = {}

    def put(self, application: str, join_key: str, field: str, event: wire.Event, rate: float) -> None:
        """Encode now, so that the caller may change its dict after the call, and buffer the bytes.

        `rate` is the share of join keys to keep. With `strict`, raises InvalidEvent.
        """
        if not _here[0]:
            forks.begin()
        buffer = self.delivery.buffer
        try:
            if rate < wire.UNSAMPLED and not sampling.keeps(application, join_key, rate):
                buffer.drop("sampled_out")
                return
            if self.hooks is not None and not self.hooks.apply(application, join_key, field, event):
                buffer.drop("filtered")
                return
            payload = events.encode(event)
        except Exception as error:
            self.refuse(error)
            return
        if buffer.put((application, join_key, field, payload), type(event) is wire.Prediction):
            self.delivery.attend()

    def refuse(self, error: Exception) -> None:
        """Count the event under its reason and say why, at most once a minute; or raise InvalidEvent, if strict."""
        if not _here[0]:
            forks.begin()
        reason: DropReason = error.reason if isinstance(error, Refused) else "internal_error"
        if self.strict:
            raise InvalidEvent(str(error)) from error
        self.delivery.buffer.drop(reason)
        now = time.monotonic()
        if now >= self._complaints.get(reason, 0.0):
            self._complaints[reason] = now + COMPLAINT_S
            fault = error if reason == "internal_error" else None
            log.warning("joinback dropped an event (%s): %s", reason, error, fault=fault)
