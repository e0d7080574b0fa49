"""Gantry's exceptions by their old names, so that imports and `except` clauses go on working."""

from joinback.errors import JoinbackError


class GantryException(JoinbackError):
    """Something in Gantry's calls failed."""


class ClientNotInitialized(GantryException):
    """No `init()` yet; call it once at start-up, before anything is logged."""


class GantryLoggingException(GantryException):
    """Never raised: a call that cannot be logged is a counted drop."""


class GantryBatchCreationException(GantryException):
    """Never raised: a batch waits in the buffer as any event does."""
