"""Errors as pages: a status, one sentence, and links that help."""

from collections.abc import Iterable

from msgspec import Struct
from redis.exceptions import RedisError

from joinback.errors import ConfigurationError, JoinbackError
from joinback_worker.answers.answer import NoApplication
from joinback_worker.connection.redis_errors import advice
from joinback_worker.errors import SinkMissing, WorkerError
from joinback_worker.nearest import nearest

from .bounded import TooLong, TooMany

FORESEEN = (JoinbackError, RedisError, OSError)
SHOWN_MAX = 50
"""Names of applications that a page lists."""


class NotAnnounced(JoinbackError):
    """No client has announced this application."""

    def __init__(self, application: str, known: Iterable[str]) -> None:
        super().__init__(f"no client has announced an application {application!r}")
        self.application = application
        self.known = sorted(known)


class Trouble(Struct, frozen=True, kw_only=True):
    status: int
    title: str
    says: str
    applications: list[str] = []
    """The existing applications, if an unknown one was asked for."""
    nearest: str | None = None


def trouble_of(error: BaseException) -> Trouble:
    """Return the page of an error of `FORESEEN`. No sentence contains a secret."""
    if isinstance(error, NoApplication | NotAnnounced):
        known = list(error.known)[:SHOWN_MAX]
        near = nearest(error.application, error.known)
        return Trouble(status=404, title="No such application", says=f"{error}.", applications=known, nearest=near)
    if isinstance(error, SinkMissing):
        return Trouble(status=503, title="No rows yet", says=f"{error}. The first drain makes it.")
    if isinstance(error, TooLong | TooMany):
        return Trouble(status=503, title="Not now", says=f"{error}")
    if isinstance(error, WorkerError):
        return Trouble(status=503, title="The sink does not answer", says=f"{error}")
    if isinstance(error, ConfigurationError):
        return Trouble(status=400, title="This cannot be shown", says=f"{error}")
    if isinstance(error, RedisError | OSError):
        return Trouble(status=503, title="Redis does not answer", says=advice(error))
    return Trouble(status=404, title="Not found", says=f"{error}")
