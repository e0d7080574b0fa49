"""What an answer of Redis means to the sender and to people, by its code and never by its words."""

import ssl

import pytest

from joinback.redis_errors import RedisRefusal, advice, is_passing

WRAPPED = "Error running script (call to f_300b): @user_script:30: @user_script: 30: -{} command not allowed"


@pytest.mark.parametrize(
    ("error", "passing", "says"),
    [
        (ConnectionError("x"), True, "no connection to Redis"),
        (ConnectionRefusedError(), True, "no connection to Redis"),
        (TimeoutError("x"), True, "did not answer in time"),
        (ssl.SSLCertVerificationError("x"), True, "certificate"),
        (RedisRefusal("LOADING Redis is loading the dataset in memory"), True, "LOADING"),
        (RedisRefusal("WRONGPASS invalid username-password pair"), True, "check user, password"),
        (RedisRefusal("NOAUTH Authentication required."), True, "check user, password"),
        (RedisRefusal("ERR DB index is out of range", at_login=True), True, "and database"),
        (RedisRefusal("NOPERM this user has no permissions"), False, "lacks a right"),
        (RedisRefusal("OOM command not allowed"), True, "at maxmemory"),
        (RedisRefusal(WRAPPED.format("OOM")), True, "at maxmemory"),
        (RedisRefusal("READONLY You can't write against a read only replica."), True, "read-only replica"),
        (RedisRefusal(WRAPPED.format("READONLY")), True, "read-only replica"),
        (RedisRefusal("MISCONF Redis is configured to save RDB snapshots"), True, "MISCONF"),
        (RedisRefusal("MOVED 3999 127.0.0.1:6381"), True, "node of a Redis Cluster"),
        (RedisRefusal("BUSY Redis is busy running a script"), True, "BUSY"),
        (RedisRefusal("WRONGTYPE joinback:{x}:pending is a string"), False, "another type"),
        (RedisRefusal("ERR secret value hunter2"), False, "answered ERR"),
    ],
)
def test_what_an_error_means(error: RedisRefusal | OSError, passing: bool, says: str) -> None:
    """Retried if it passes; told in one line with the fix, and without Redis's own words."""
    assert is_passing(error) == passing
    assert says in advice(error)
    assert "hunter2" not in advice(error) + str(error) + repr(error)
