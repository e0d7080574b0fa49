"""Gantry's exceptions by their old names, so that imports and `except` clauses go on working."""

from joinback.errors import JoinbackError


class GantryException(JoinbackError):
    """A call of Gantry's failed."""


class ClientNotInitialized(GantryException):
    """`init()` was not called yet; call it once at start-up, before anything is logged."""


class GantryLoggingException(GantryException):
    """Never raised: an event that cannot be logged is a counted drop."""


class GantryBatchCreationException(GantryException):
    """Never raised: a batch waits in the buffer like any event."""
