"""The exceptions of Joinback. One that is raised without a message shows its docstring."""


class JoinbackError(Exception):
    """Something in Joinback failed."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.__doc__)


class ConfigurationError(JoinbackError):
    """A setting or an argument is wrong. The message names it and the fix."""


class InvalidEvent(JoinbackError):
    """The event cannot be logged. Raised only with `strict=True`; otherwise the event is counted as dropped."""


class UndecodableEvent(JoinbackError):
    """These bytes are not an event."""


class NewerWireVersion(JoinbackError):
    """A newer client wrote this event; upgrade the worker."""
