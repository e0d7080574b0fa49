"""What the worker raises. `retryable` is the policy: try again next tick, or never with these records."""

import traceback
from typing import ClassVar

from joinback.errors import JoinbackError


class WorkerError(JoinbackError):
    """Something in the worker failed."""

    retryable: ClassVar[bool] = True


class SinkUnavailable(WorkerError):
    """The sink cannot take rows now; nothing is acknowledged and the next tick tries again."""


class SinkMissing(SinkUnavailable):
    """There is no such sink yet; whoever only reads makes none."""


class SinkOlder(SinkUnavailable):
    """The sink's table is of an older release, and whoever opens it may not migrate it."""

    def __init__(self, where: str, schema: int) -> None:
        self.says = f"of an older release (schema {schema})"
        super().__init__(f"{where}: is {self.says}; a worker of this release migrates it at its next drain")


class SinkRefused(WorkerError):
    """The sink cannot store these records, now or later; the cycle finds the bad one and dead-letters it."""

    retryable = False


class AlteredRow(SinkRefused):
    """Somebody edited a row of the sink so that its record cannot be read back from it."""

    def __init__(self, column: str, why: str) -> None:
        super().__init__(
            f"column {column} of the sink's row {why}: mend that row or delete it,"
            " then joinback dead replay APPLICATION --reason sink_refused"
        )


def no_row(error: Exception) -> SinkRefused:
    """What no row can be made of, for a reason nobody foresaw; by its type, as its words may quote a payload."""
    return SinkRefused(f"no row can be made of the record and what the sink holds of it ({type(error).__name__})")


def described(error: Exception) -> str:
    """Return an error that nobody foresaw as its kind and place. Not its text: that may quote what was logged."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "joinback" in frame.filename] or frames
    place = f" at {ours[-1].filename.rpartition('/')[2]}:{ours[-1].lineno}" if ours else ""
    return f"{type(error).__name__}{place}, which is a fault of Joinback; please report it"
