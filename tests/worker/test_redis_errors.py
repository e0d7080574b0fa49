"""redis-py's errors to people: by class and code, never by their words."""

import pytest
import redis
from redis import exceptions

from joinback_worker.redis_errors import advice


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (exceptions.ConnectionError("x"), "no connection to Redis"),
        (ConnectionRefusedError(), "no connection to Redis"),
        (exceptions.BusyLoadingError("x"), "no connection to Redis"),
        (exceptions.TimeoutError("x"), "did not answer in time"),
        (TimeoutError("x"), "did not answer in time"),
        (exceptions.AuthenticationError("x"), "check user, password"),
        (exceptions.ResponseError("NOAUTH Authentication required."), "check user, password"),
        (exceptions.NoPermissionError("x"), "lacks a right"),
        (exceptions.OutOfMemoryError("x"), "at maxmemory"),
        (exceptions.ResponseError("OOM command not allowed"), "at maxmemory"),
        (exceptions.ReadOnlyError("x"), "read-only replica"),
        (exceptions.ResponseError("WRONGTYPE joinback:{x}:pending is a string"), "another type"),
        (exceptions.ResponseError("ERR secret value hunter2"), "answered ERR"),
    ],
)
def test_what_an_error_means(error: redis.RedisError | OSError, says: str) -> None:
    """One line with the fix, and without Redis's own words."""
    assert says in advice(error)
    assert "hunter2" not in advice(error)
