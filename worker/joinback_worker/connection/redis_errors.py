"""redis-py's errors in the words of `joinback.redis_errors`: it loses the code of some, and has classes for them."""

import re

import redis
from redis import exceptions
from redis.asyncio.sentinel import MasterNotFoundError

from joinback.redis_errors import NO_ANSWER, NO_CONNECTION, advice_on, code_of, words_of

from .login import NoLogin

_CODES: tuple[tuple[type[Exception], str], ...] = (
    # A subclass before its base: some of these are connection errors too.
    (exceptions.AuthenticationError, "WRONGPASS"),
    (exceptions.AuthorizationError, "WRONGPASS"),
    (exceptions.NoPermissionError, "NOPERM"),
    (exceptions.OutOfMemoryError, "OOM"),
    (exceptions.ReadOnlyError, "READONLY"),
    (exceptions.BusyLoadingError, "LOADING"),
    (exceptions.ClusterDownError, "CLUSTERDOWN"),
    (exceptions.MovedError, "MOVED"),
    (exceptions.TryAgainError, "TRYAGAIN"),
    # It was sent to and fro: a slot is on its way.
    (exceptions.ClusterError, "TRYAGAIN"),
)
_NO_PRIMARY = "no Sentinel names a primary; check that they run, and the service in JOINBACK_REDIS_URL"
# redis-py's own words for a connection that was refused: they name host, port and the system's reason.
_CONNECTING = re.compile(r"Error (?:-?\d+ )?connecting to [^\s]{1,200}\. [A-Za-z0-9 ,'-]{1,80}")


def advice(error: redis.RedisError | OSError) -> str:
    """One line that names the fix, with Redis's own words where their form is known to hold nobody's data."""
    if isinstance(error, NoLogin):
        return str(error)
    what = _advice(error)
    connecting = _CONNECTING.search(str(error))
    words = connecting.group() if connecting is not None else words_of(str(error))
    return f"{what} ({words})" if words else what


def _advice(error: redis.RedisError | OSError) -> str:
    if isinstance(error, MasterNotFoundError):
        return _NO_PRIMARY
    for kind, code in _CODES:
        if isinstance(error, kind):
            return advice_on(code)
    if isinstance(error, redis.TimeoutError | TimeoutError):
        return NO_ANSWER
    # Some answers come as a connection error: no connection was to be had.
    if isinstance(error, redis.ConnectionError | OSError):
        code = code_of(str(error))
        return advice_on(code) if code in ("MAXCLIENTS", "LIMIT") else NO_CONNECTION
    return advice_on(code_of(str(error)))
