"""What the worker raises. `retryable` is the policy: try again next tick, or never with these records."""

import traceback
from typing import ClassVar

from joinback.errors import JoinbackError


class WorkerError(JoinbackError):
    """Something in the worker failed."""

    retryable: ClassVar[bool] = True


class SinkUnavailable(WorkerError):
    """The sink cannot take rows now; nothing is acknowledged and the next tick tries again."""


class SinkRefused(WorkerError):
    """The sink cannot store these records, now or later; the cycle finds the bad one and dead-letters it."""

    retryable = False


def described(error: Exception) -> str:
    """Return an error that nobody foresaw as its kind and place. Not its text: that may quote what was logged."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}, which is a fault of Joinback; please report it"
