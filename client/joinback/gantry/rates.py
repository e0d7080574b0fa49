"""The sample rate of each call, told to Joinback so that feedback follows it."""

import threading

from joinback import wire
from joinback.events import Refused


class Rates:
    """Which rates this process used, by application.

    What is published is the highest of them, at once and before the first event of that rate: feedback on any
    prediction that was kept is then kept too, in every process, whatever rates the other calls have.
    """

    def __init__(self) -> None:
        self._ours: dict[str, float] = {}
        self._lock = threading.Lock()

    def rate_of(self, told: dict[str, float], application: str, call_rate: float) -> float:
        """The share of join keys to log as predictions. `told` is the delivery's, and is brought up to date.

        A rate that Joinback was given itself (JOINBACK_SAMPLE_RATES, `set_sample_rate`) is an upper bound.
        Raises Refused.
        """
        check_rate(call_rate)
        with self._lock:
            told_rate, ours = told.get(application), self._ours.get(application)
            if told_rate is not None and told_rate != ours:
                call_rate = min(call_rate, told_rate)
            # Nothing told, though we did: another `init` since.
            elif call_rate > 0 and (told_rate is None or call_rate > told_rate):
                self._ours[application] = told[application] = wire.sample_rate_of(float(call_rate))
        return wire.sample_rate_of(float(call_rate))


def check_rate(call_rate: object) -> None:
    """Raise Refused unless this is a share."""
    if not isinstance(call_rate, int | float) or not 0 <= call_rate <= 1:
        raise Refused("invalid", f"sample_rate must be between 0 and 1, not {call_rate!r}")
