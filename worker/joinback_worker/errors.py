"""The errors that the worker raises. `retryable`: the next tick tries again; if False, never with these records."""

import traceback
from typing import ClassVar

from joinback.errors import JoinbackError


class WorkerError(JoinbackError):
    """Something in the worker failed."""

    retryable: ClassVar[bool] = True


class SinkUnavailable(WorkerError):
    """The sink cannot take rows now. Nothing is acknowledged, and the next tick tries again."""


class SinkMissing(SinkUnavailable):
    """The sink does not exist yet, and it was opened to be read only, which does not create it."""


class SinkOlder(SinkUnavailable):
    """An older release made the sink's table, and it was opened in a way that may not migrate it.

    `says` is the middle of the message, for a caller that names the sink itself.
    """

    def __init__(self, where: str, schema: int) -> None:
        self.state = f"of an older release (schema {schema})"
        super().__init__(f"{where}: is {self.state}; a worker of this release migrates it at its next drain")


class SinkRefused(WorkerError):
    """The sink cannot store these records, now or later. The drain finds the bad one and makes it a dead letter."""

    retryable = False


class AlteredRow(SinkRefused):
    """Somebody edited a row of the sink, so that its record cannot be read from it any more."""

    def __init__(self, column: str, why: str) -> None:
        super().__init__(
            f"column {column} of the sink's row {why}: mend that row or delete it,"
            " then joinback dead replay APPLICATION --reason sink_refused"
        )


def no_row(error: Exception) -> SinkRefused:
    """Return the refusal of a record of which no row can be made, for an unforeseen error.

    It names the type of the error only: the error's text may quote a payload.
    """
    return SinkRefused(f"no row can be made of the record and what the sink holds of it ({type(error).__name__})")


def described(error: Exception) -> str:
    """Return the type and the place of an unforeseen error. Not its text: that may quote what was logged."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "joinback" in frame.filename] or frames
    place = f" at {ours[-1].filename.rpartition('/')[2]}:{ours[-1].lineno}" if ours else ""
    return f"{type(error).__name__}{place}, which is a fault of Joinback; please report it"
