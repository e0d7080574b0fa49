"""How long a caller wants to wait, in seconds: any kind of number, and infinity for a wait without end."""

import math
from typing import SupportsFloat

from .errors import ConfigurationError

STEP_S = 60.0
"""The longest single wait. A lock or a condition cannot wait for an infinite time, so a long wait has many steps."""


def seconds_of(given: object) -> float:
    """Return the seconds as a float: NaN for what is no number, infinity for what is too large for a float."""
    try:
        return float(given) if isinstance(given, SupportsFloat) else math.nan
    except OverflowError:
        return math.inf if given > 0 else -math.inf  # type: ignore[operator]
    # Some types that have the method cannot always do it, such as arrays.
    except (TypeError, ValueError):
        return math.nan


def timeout_of(given: object) -> float:
    """Return the timeout, 0 for a negative one. Raises ConfigurationError."""
    seconds = seconds_of(given)
    if math.isnan(seconds):
        raise ConfigurationError("timeout_s must be a number of seconds; float('inf') waits without end")
    return max(0.0, seconds)
