"""What an error of Redis means to the sender and to people, by its type or code and never by its words."""

import pytest
from redis import exceptions

from joinback.redis_errors import advice, is_passing

WRAPPED = "Error running script (call to f_300b): @user_script:30: @user_script: 30: -{} command not allowed"


@pytest.mark.parametrize(
    ("error", "passing", "says"),
    [
        (exceptions.ConnectionError("x"), True, "no connection to Redis"),
        (ConnectionRefusedError(), True, "no connection to Redis"),
        (exceptions.TimeoutError("x"), True, "did not answer in time"),
        (exceptions.BusyLoadingError("x"), True, "no connection to Redis"),
        (exceptions.AuthenticationError("WRONGPASS x"), True, "check user and password"),
        (exceptions.ResponseError("NOAUTH Authentication required."), False, "check user and password"),
        (exceptions.NoPermissionError("x"), False, "lacks a right"),
        (exceptions.OutOfMemoryError("x"), True, "at maxmemory"),
        (exceptions.ResponseError("OOM command not allowed"), True, "at maxmemory"),
        (exceptions.ResponseError(WRAPPED.format("OOM")), True, "at maxmemory"),
        (exceptions.ReadOnlyError("x"), True, "read-only replica"),
        (exceptions.ResponseError(WRAPPED.format("READONLY")), True, "read-only replica"),
        (exceptions.ResponseError("MISCONF Redis is configured to save RDB snapshots"), True, "MISCONF"),
        (exceptions.ResponseError("BUSY Redis is busy running a script"), True, "BUSY"),
        (exceptions.ResponseError("WRONGTYPE joinback:{x}:pending is a string"), False, "another type"),
        (exceptions.ResponseError("ERR secret value hunter2"), False, "ResponseError ERR"),
    ],
)
def test_what_an_error_means(error: Exception, passing: bool, says: str) -> None:
    """Retried if it passes; told in one line with the fix, and without Redis's own words."""
    assert is_passing(error) == passing
    assert says in advice(error)
    assert "hunter2" not in advice(error)
