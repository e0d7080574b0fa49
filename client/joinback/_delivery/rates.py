"""The share of an application's join keys that is logged: for its predictions, and for their feedback.

A rate is over 0 and at most 1. Feedback follows the highest rate that any process published, so that feedback on a
prediction that was kept is never dropped. A rate may be lowered before the sender has published it, so a process keeps
the highest rate of its predictions until it is in Redis.
"""

import threading
from collections.abc import Mapping

from joinback import log, wire
from joinback.command_line import command_line
from joinback.drops import NotLogged

_warned: set[str] = set()
"""Applications for which this process has warned that its rate is below the published one."""


class Rates:
    """The sample rates of one client. Any thread may use it."""

    def __init__(self, configured: Mapping[str, float]) -> None:
        self.configured = dict(configured)
        """Application -> the rate of its predictions in this process. All are logged if it is not here."""
        self.logged: dict[str, float] = {}
        """Application -> the highest rate of predictions that were logged here and perhaps are not announced yet. Its
        first prediction writes it. Where no rate is configured, it is 1."""
        self._published: dict[str, float] = {}
        """Application -> the rate of its feedback, as the sender found it in Redis."""
        self._of_calls: dict[str, float] = {}
        """Application -> its configured rate, if calls with their own rate set it."""
        self.renew_lock()

    def renew_lock(self) -> None:
        """Make a new lock. A forked child needs one, because a thread of its parent may have held the old one."""
        # Re-entrant: a signal handler may log in the thread that holds it.
        self._lock = threading.RLock()

    def copy(self) -> "Rates":
        """Return a copy with the configured rates alone, for another Redis with its own published ones."""
        copied = Rates(self.configured)
        copied._of_calls = self._of_calls.copy()
        return copied

    def shared(self) -> "Rates":
        """Return rates without published ones, which share the configured ones: a change of one changes the other."""
        sharing = Rates({})
        sharing.configured, sharing._of_calls = self.configured, self._of_calls
        return sharing

    def configure(self, rates: Mapping[str, float]) -> None:
        """Log these shares of the applications' predictions from now on."""
        with self._lock:
            for application, rate in rates.items():
                self._of_calls.pop(application, None)
                self._keep_highest(application)
                self.configured[application] = rate

    def _keep_highest(self, application: str) -> None:
        """Note the rate that ends, if predictions may have been logged at it."""
        if application in self.logged:
            self.logged[application] = max(self.logged[application], self.configured.get(application, 0.0))

    # --- the caller's side ------------------------------------------------------------------------------

    def of_predictions(self, application: str) -> float:
        """Return the share of join keys whose predictions to log."""
        if application not in self.logged:
            # With the lock: a rate that another thread sets meanwhile either counts here, or finds this one noted.
            with self._lock:
                self.logged.setdefault(application, self.configured.get(application, wire.UNSAMPLED))
        return self.configured.get(application, wire.UNSAMPLED)

    def of_feedback(self, application: str) -> float:
        """Return the share of join keys whose feedback to log: the published rate, or this process's own if higher.

        This process's own rate may not be published yet.
        """
        published = self._published.get(application, wire.UNSAMPLED)
        return max(published, self.configured.get(application, 0.0), self.logged.get(application, 0.0))

    def of_call(self, application: str, call_rate: float, *, predicts: bool) -> float:
        """Return the share of join keys to log for a call with its own rate, from 0 to 1.

        The highest rate of such predictions becomes the configured one before the first event at that rate. So feedback
        on any of them is kept too, in every process. A rate that `init` or `set_sample_rate` configured is an upper
        bound. Raises NotLogged for a wrong rate.
        """
        if not isinstance(call_rate, int | float) or not 0 <= call_rate <= 1:
            raise NotLogged("invalid", f"sample_rate must be between 0 and 1, not {call_rate!r}")
        if not predicts:
            return min(call_rate, self.of_feedback(application))
        with self._lock:
            configured, of_calls = self.configured.get(application), self._of_calls.get(application)
            if configured is not None and configured != of_calls:
                call_rate = min(call_rate, configured)
            elif call_rate > 0 and (configured is None or call_rate > configured):
                self._of_calls[application] = self.configured[application] = wire.sample_rate_of(float(call_rate))
            if call_rate > 0:
                self.logged.setdefault(application, self.configured[application])
        return wire.sample_rate_of(float(call_rate))

    # --- the sender's side ------------------------------------------------------------------------------

    def to_announce(self, application: str, predicts: bool) -> float | None:
        """Return the rate to publish; None if this process logs no predictions of the application.

        It is the highest at which predictions were logged that may not be announced yet. A configured rate is published
        even before a prediction was kept, so that feedback follows it from the start.
        """
        own = max(self.logged.get(application, 0.0), self.configured.get(application, 0.0))
        return own or (wire.UNSAMPLED if predicts else None)

    def published(self, application: str) -> float:
        """Return the share of join keys whose feedback goes to Redis: the published rate."""
        return self._published.get(application, wire.UNSAMPLED)

    def publish(self, application: str, published: float | None) -> None:
        """Note the rate that is in Redis, or None.

        Warn, once per application, if this process logs a smaller share of predictions than of feedback.
        """
        self._published[application] = published or wire.UNSAMPLED
        if published is None:
            return
        self._forget_announced(application, published)
        own = self.configured.get(application, wire.UNSAMPLED)
        if own >= published or application in _warned:
            return
        _warned.add(application)
        log.warning(
            f"joinback: {own:g} of the predictions of {application!r} are logged here, but feedback is kept for"
            f" {published:g}, the published rate: the feedback of the others becomes orphans. Once the old predictions"
            f" have their labels, run: {command_line('sample-rate', application, f'{own:g}')}"
        )

    def _forget_announced(self, application: str, published: float) -> None:
        """Go back to the rate in force, once the higher one of before is in Redis, where somebody may lower it."""
        with self._lock:
            if self.logged.get(application, wire.UNSAMPLED + 1) <= published:
                self.logged[application] = self.configured.get(application, wire.UNSAMPLED)
