"""redis-py's errors in the words of `joinback.redis_errors`: it loses the code of some, and has classes for them."""

import redis
from redis import exceptions
from redis.asyncio.sentinel import MasterNotFoundError

from joinback.redis_errors import NO_ANSWER, NO_CONNECTION, advice_on, code_of

_CODES: tuple[tuple[type[Exception], str], ...] = (
    # A subclass before its base: some of these are connection errors too.
    (exceptions.AuthenticationError, "WRONGPASS"),
    (exceptions.AuthorizationError, "WRONGPASS"),
    (exceptions.NoPermissionError, "NOPERM"),
    (exceptions.OutOfMemoryError, "OOM"),
    (exceptions.ReadOnlyError, "READONLY"),
    (exceptions.ClusterDownError, "CLUSTERDOWN"),
    (exceptions.MovedError, "MOVED"),
    (exceptions.TryAgainError, "TRYAGAIN"),
    # It was sent to and fro: a slot is on its way.
    (exceptions.ClusterError, "TRYAGAIN"),
)
_NO_PRIMARY = "no Sentinel names a primary; check that they run, and the service in JOINBACK_REDIS_URL"


def advice(error: redis.RedisError | OSError) -> str:
    """One line that names the fix, and none of Redis's words."""
    if isinstance(error, MasterNotFoundError):
        return _NO_PRIMARY
    for kind, code in _CODES:
        if isinstance(error, kind):
            return advice_on(code)
    if isinstance(error, redis.TimeoutError | TimeoutError):
        return NO_ANSWER
    if isinstance(error, redis.ConnectionError | OSError):
        return NO_CONNECTION
    return advice_on(code_of(str(error)))
