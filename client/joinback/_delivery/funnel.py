"""The door to the delivery: an event is sampled, redacted, encoded and put into the buffer; or counted as dropped."""

from collections.abc import Callable, Mapping
from time import time_ns
from typing import Any

from msgspec import structs

from joinback import events, forks, log, nesting, sampling, values, wire
from joinback.drops import DropReason, NotLogged
from joinback.errors import InvalidEvent
from joinback.options import Options, checked_rates
from joinback.patience import Patience

from .buffer import Buffer
from .collecting import CollectingBuffer
from .delivery import Delivery
from .plain import FRAME_BYTES, Middles
from .rates import Rates

_here = forks.here
_T = ord("T")
"""In the text of each datetime. To look for a number in bytes takes a fraction of looking for a text."""


class Funnel(Delivery):
    """The way of every event under one configuration. Any thread may use it. It blocks only with a `Patience`.

    Before the client is configured a funnel with `is_configured=False` stands in: it only counts drops.
    """

    def __init__(
        self,
        options: Options,
        *,
        is_configured: bool = True,
        rates: Rates | None = None,
        buffer: Buffer | None = None,
    ) -> None:
        super().__init__(options, rates or Rates(options.sample_rates), buffer)
        self.is_configured = self.is_open = is_configured
        self.environment = options.environment
        self._hooks = options.hooks
        self._middles = Middles(options.environment)
        self._complaints = log.Complaints()

    # --- funnels for tests ------------------------------------------------------------------------------

    def collecting(self, give_to: Callable[[str, str, str, bytes], object]) -> "Funnel":
        """Return a strict funnel that gives each event to `give_to` at the call, instead of sending it.

        `give_to` takes application, join key, `<kind>:<event_id>` and JSON.
        """
        options = structs.replace(self.options, strict=True)
        return Funnel(options, rates=self._rates.shared(), buffer=CollectingBuffer(give_to))

    def leading_to(self, redis_url: str, buffer_ttl_s: int) -> "Funnel":
        """Return a strict funnel to another Redis, with the same redaction and sample rates."""
        options = Options(
            redis_url=redis_url,
            buffer_ttl_s=buffer_ttl_s,
            environment=self.options.environment,
            hooks=self.options.hooks,
            strict=True,
        )
        return Funnel(options, rates=self._rates.copy())

    # --- sample rates -----------------------------------------------------------------------------------

    def set_sample_rate(self, application: str, rate: float) -> None:
        """Log this share of the application's predictions from now on. Raises ConfigurationError."""
        self._rates.configure(checked_rates({application: rate}))

    # --- events -----------------------------------------------------------------------------------------

    def put_plain(
        self, application: object, join_key: str, inputs: Any, outputs: Any, version: object, tags: object
    ) -> bool:
        """Log a plain prediction, as nearly all are: checked names, no hook, no sample, and JSON at the first try.

        Return False, with nothing done, if the event needs more than that; `log` then does it. The checks are written
        out here instead of being called: the calls are what this saves.
        """
        if (
            not self.is_open
            or type(application) is not str
            # Its name was checked, and its rate noted, at its first prediction.
            or application not in self._rates.logged
            or application in self._rates.configured
            or not 0 < len(join_key) <= events.KEY_LENGTH_SURE
            or not join_key.isprintable()
            or (version is not None and type(version) is not str)
            or (tags is not None and type(tags) is not dict)
            or self._hooks is not None
            or not _here[0]
        ):
            return False
        at_ns = time_ns()
        try:
            middle = self._middles.known.get(version) if not tags else None
            if middle is None:
                middle = self._middles.of(version, tags)
            inputs_json = values.encode(inputs)
            outputs_json = values.encode(outputs)
        except Exception:
            return False
        size = FRAME_BYTES + len(middle) + len(inputs_json) + len(outputs_json)
        if (
            (_T in inputs_json and values.has_naive(inputs_json))
            or (_T in outputs_json and values.has_naive(outputs_json))
            or (tags and values.has_naive(middle))
            or size > wire.EVENT_BYTES_MAX
            # The event itself is one level around its parts.
            or (len(inputs_json) >= nesting.BYTES_MIN and nesting.is_too_deep(inputs_json, 1))
            or (len(outputs_json) >= nesting.BYTES_MIN and nesting.is_too_deep(outputs_json, 1))
            or (tags and nesting.is_too_deep(b'"' + middle, 1))
        ):
            return False
        if self._buffer.put((application, join_key, at_ns, size, middle, inputs_json, outputs_json), size, True):
            self._attend()
        return True

    def log(
        self,
        application: str,
        join_key: str,
        identity: str,
        sides: tuple[Any, Any, Mapping[str, Any] | None],
        common: events.Common,
        *,
        source: object = None,
        patience: Patience | None = None,
        call_rate: float | None = None,
    ) -> bool:
        """Log one checked record as a prediction, feedback, or both. Return whether its key is in the sample.

        `sides` are inputs, outputs and feedback. `identity` is the id of its events. `call_rate` is the share of join
        keys to log, for calls that have their own. Raises NotLogged for wrong tags, feedback, source or rate; with
        `strict`, InvalidEvent.
        """
        inputs, outputs, feedback = sides
        rate = None if call_rate is None else self._rates.of_call(application, call_rate, predicts=inputs is not None)
        is_kept = True
        if inputs is not None:
            at, logged_at, version, environment, tags = common
            own = self._rates.of_predictions(application) if rate is None else rate
            prediction = wire.Prediction(
                v=wire.PLAIN_VERSION,
                at=at,
                logged_at=logged_at,
                version=version,
                environment=environment,
                tags=events.NO_TAGS if tags is None else events.tags_of(tags),
                inputs=inputs,
                outputs=outputs,
                sample_rate=own,
            )
            is_kept = self._put(application, join_key, f"prediction:{identity}", prediction, own, patience)
        if feedback is not None:
            event = events.feedback(common, feedback, events.source_of(source))
            own = self._rates.of_feedback(application) if rate is None else rate
            is_kept = self._put(application, join_key, f"feedback:{identity}", event, own, patience)
        return is_kept

    def retract(self, application: str, join_key: str, identity: str, event: wire.Retraction) -> None:
        """Log a retraction, sampled like the feedback that it takes back. With `strict`, raises InvalidEvent."""
        self._put(application, join_key, f"retraction:{identity}", event, self._rates.of_feedback(application))

    def _put(
        self,
        application: str,
        join_key: str,
        field: str,
        event: wire.Event,
        rate: float,
        patience: Patience | None = None,
    ) -> bool:
        """Encode the event, so that the caller may change its dicts after the call, and buffer the bytes.

        `rate` is the share of join keys to keep. With `patience` it waits while the buffer is full. Return False if the
        key is outside the sample. With `strict`, raises InvalidEvent.
        """
        if not _here[0]:
            forks.begin()
        buffer = self._buffer
        try:
            if self._hooks is not None:
                # First, because sample and shard depend on the stored key.
                join_key = self._hooks.stored_key(join_key)
            if rate < wire.UNSAMPLED and not sampling.keeps(application, join_key, rate):
                buffer.drop("sampled_out")
                return False
            if self._hooks is not None and not self._hooks.apply(application, join_key, field, event):
                buffer.drop("filtered")
                return True
            payload = events.payload_of(event)
            if patience is not None:
                buffer.wait_for_room(len(payload), type(event) is wire.Prediction, patience)
        except Exception as error:
            self.drop(error, application)
            return True
        if buffer.put((application, join_key, field, payload), len(payload), type(event) is wire.Prediction):
            self._attend()
        return True

    def drop(self, error: Exception, application: object = None) -> None:
        """Count an event as dropped, and log why, each message at most once per minute. If strict, raise InvalidEvent.

        The reason is that of a NotLogged; any other error is `internal_error`. `application` is as the caller gave it.
        """
        if not _here[0]:
            forks.begin()
        reason: DropReason = error.reason if isinstance(error, NotLogged) else "internal_error"
        words = log.words_of(error)
        if self.options.strict:
            raise InvalidEvent(words) from error
        self._buffer.drop(reason, application if type(application) is str else "")
        self._start_for_drops()
        if self._complaints.is_due(f"{reason}: {words}"):
            fault = error if reason == "internal_error" else None
            log.warning("joinback dropped an event (%s): %s", reason, words, fault=fault)
