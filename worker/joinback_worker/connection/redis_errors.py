"""Turns redis-py's errors into the sentences of `joinback.redis_errors`.

Those are found by Redis's error code. redis-py drops the code of some errors, and has a class for each of them.
"""

import errno
import re
from collections.abc import Iterator

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
    # The command was redirected too often: a slot is being moved.
    (exceptions.ClusterError, "TRYAGAIN"),
)
_NO_PRIMARY = "no Sentinel names a primary; check that they run, and the service in JOINBACK_REDIS_URL"
_NO_CLUSTER = (
    "this server is not a node of a Redis Cluster; write redis:// instead of redis+cluster:// in JOINBACK_REDIS_URL"
)
# redis-py's words, and Redis's own, at the question for the map of slots.
_CLUSTER_OFF = re.compile(r"Cluster mode is not enabled|cluster support disabled")
# redis-py's text for a connection that failed. It names host, port and the system's reason, and holds nobody's data.
_CONNECTING = re.compile(r"Error (?:-?\d+ )?connecting to [^\s]{1,200}\. [A-Za-z0-9 ,'-]{1,80}")


def advice(error: redis.RedisError | OSError) -> str:
    """Return one line for a person, which names the fix.

    Redis's own text follows in brackets if its form is known to hold nobody's data.
    """
    if isinstance(error, NoLogin):
        return str(error)
    what = _advice(error)
    connecting = _CONNECTING.search(str(error))
    words = connecting.group() if connecting is not None else words_of(str(error))
    if connecting is not None and _is_refused(error):
        words = "connection refused"
    return f"{what} ({words})" if words else what


def _is_refused(error: BaseException) -> bool:
    """Return whether the system refused the connection: redis-py hides that error as the cause of its own.

    For a name with several addresses asyncio raises one error, with the text of each.
    """
    return any(
        isinstance(cause, ConnectionRefusedError) or f"[Errno {errno.ECONNREFUSED}]" in str(cause)
        for cause in _causes(error)
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the error, what caused it, and so on. Of a cluster's errors the chain may lead back to itself."""
    seen: set[int] = set()
    at: BaseException | None = error
    while at is not None and id(at) not in seen:
        seen.add(id(at))
        yield at
        at = at.__cause__ or at.__context__


def _advice(error: redis.RedisError | OSError) -> str:
    if isinstance(error, MasterNotFoundError):
        return _NO_PRIMARY
    for kind, code in _CODES:
        if isinstance(error, kind):
            return advice_on(code)
    if isinstance(error, redis.TimeoutError | TimeoutError):
        return NO_ANSWER
    # redis-py raises a ConnectionError for some answers too: if Redis refuses the connection, or has no map of slots.
    if isinstance(error, redis.ConnectionError | OSError):
        if _CLUSTER_OFF.search(str(error)) is not None:
            return _NO_CLUSTER
        code = code_of(str(error))
        return advice_on(code) if code in ("MAXCLIENTS", "LIMIT", "UNKNOWN") else NO_CONNECTION
    return advice_on(code_of(str(error)))
