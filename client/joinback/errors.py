"""What Joinback raises. A class without a message of its own shows its docstring, so the two cannot drift."""


class JoinbackError(Exception):
    """Something in Joinback failed."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.__doc__)


class ConfigurationError(JoinbackError):
    """A setting is wrong; the message names it and the fix."""


class InvalidEvent(JoinbackError):
    """An event that cannot be logged. Raised only with `strict=True`; otherwise counted as dropped."""


class UndecodableEvent(JoinbackError):
    """These bytes are no event."""


class NewerWireVersion(JoinbackError):
    """A newer client wrote this event; upgrade the worker."""
