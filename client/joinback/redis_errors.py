"""What an error of Redis means: whether it passes, and what to do about it.

Read by type, then by Redis's own error code (the first word); never shown as redis-py words it, since its
texts may quote the command that was sent.
"""

import re

import redis
from redis import exceptions

_PASSING_TYPES = (
    redis.ConnectionError,  # also a wrong password, LOADING, too many clients: an operator mends them
    redis.TimeoutError,
    OSError,
    exceptions.OutOfMemoryError,
    exceptions.ReadOnlyError,
    exceptions.TryAgainError,
    exceptions.ClusterDownError,
    exceptions.MasterDownError,
)
# redis-py has no class for these, or loses the class inside a script's error.
_PASSING_CODES = frozenset({"OOM", "MISCONF", "READONLY", "BUSY", "NOREPLICAS", "UNBLOCKED", "LOADING"})
_WRAPPED = re.compile(r"@user_script: ?\d+: -([A-Z]+) ")


def is_passing(error: Exception) -> bool:
    """Whether the same command may succeed later, once somebody or something mended the server."""
    if isinstance(error, exceptions.NoPermissionError):
        return False
    return isinstance(error, _PASSING_TYPES) or _code(error) in _PASSING_CODES


def advice(error: Exception) -> str:
    """One line that names the fix."""
    code = _code(error)
    if isinstance(error, exceptions.AuthenticationError | exceptions.AuthorizationError) or code == "NOAUTH":
        return "Redis refused the login; check user and password in JOINBACK_REDIS_URL"
    if isinstance(error, exceptions.NoPermissionError):
        return "the Redis user lacks a right; see README for the ACL that client and worker need"
    if isinstance(error, redis.TimeoutError):
        return "Redis did not answer in time; check the server, and JOINBACK_REDIS_URL"
    if isinstance(error, redis.ConnectionError | OSError):
        return "no connection to Redis; check that it runs and that JOINBACK_REDIS_URL points at it"
    if isinstance(error, exceptions.OutOfMemoryError) or code == "OOM":
        return "Redis is at maxmemory; give it more, or let the worker drain it"
    if isinstance(error, exceptions.ReadOnlyError) or code == "READONLY":
        return "this Redis is a read-only replica; point JOINBACK_REDIS_URL at the primary"
    if code == "WRONGTYPE":
        return "a key of Joinback holds another type; find it with TYPE (joinback:{...}:pending, :stats) and rename it"
    return f"Redis answered {type(error).__name__} {code}"


def _code(error: Exception) -> str:
    """Redis's error code. Redis 6 wraps it: "Error running script (…): @user_script: 30: -OOM command …"."""
    text = str(error)
    wrapped = _WRAPPED.search(text)
    return wrapped.group(1) if wrapped else text.partition(" ")[0]
