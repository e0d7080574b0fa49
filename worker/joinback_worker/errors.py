"""What the worker raises. `retryable` is the policy: try again next tick, or never with these records."""

from typing import ClassVar

from joinback.errors import JoinbackError


class WorkerError(JoinbackError):
    """Something in the worker failed."""

    retryable: ClassVar[bool] = True


class SinkUnavailable(WorkerError):
    """The sink cannot take rows now; nothing is acknowledged and the next tick tries again."""


class SinkMissing(SinkUnavailable):
    """There is no such sink yet; whoever only reads makes none."""


class SinkRefused(WorkerError):
    """The sink cannot store these records, now or later; the cycle finds the bad one and dead-letters it."""

    retryable = False
