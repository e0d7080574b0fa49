"""redis-py's errors to people: by class and code, and by those of their words that hold nobody's data."""

import pytest
import redis
from conftest import Cli
from redis import exceptions

from joinback.settings import Settings
from joinback_worker.connection.redis_errors import advice


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (exceptions.ConnectionError("x"), "no connection to Redis"),
        (ConnectionRefusedError(), "no connection to Redis"),
        (
            exceptions.ConnectionError("Error 111 connecting to h:1. Connection refused."),
            "connecting to h:1. Connection",
        ),
        (exceptions.ConnectionError("max number of clients reached"), "raise its maxclients"),
        (
            exceptions.ConnectionError("Redis Cluster: unknown command 'CLUSTER'"),
            "is it a Sentinel",
        ),
        (exceptions.BusyLoadingError("x"), "reads its data"),
        (
            exceptions.ResponseError("unknown command 'EVALSHA', with args beginning with: 'hunter2'"),
            "is it a Sentinel",
        ),
        (exceptions.ResponseError("max daily request limit exceeded. Limit: 10000"), "a limit of this Redis's plan"),
        (exceptions.ResponseError("MISCONF Redis is configured to save RDB"), "cannot write to its disk"),
        (exceptions.ResponseError("CROSSSLOT Keys in request don't hash to the same slot"), "cannot run a script"),
        (exceptions.ResponseError("DB index is out of range"), "no database of that number"),
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
    """One line with the fix, and never a word that may quote what was sent."""
    assert says in advice(error)
    assert "hunter2" not in advice(error)


def test_a_cluster_that_is_none(settings: Settings, cli: Cli) -> None:
    """A server that answers and is no node of a cluster is told as that, with the scheme to write."""
    url = settings.redis_url.replace("redis://", "redis+cluster://").removesuffix("/0")
    for command in ("status", "doctor", "drain"):
        done = cli(command, JOINBACK_REDIS_URL=url)
        assert done.returncode != 0
        assert "this server is not a node of a Redis Cluster; write redis:// instead of" in done.stdout + done.stderr
        assert "no connection" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    "cause",
    [
        ConnectionRefusedError(111, "Connect call failed ('127.0.0.1', 1)"),
        OSError(
            "Multiple exceptions: [Errno 111] Connect call failed ('::1', 1, 0, 0), [Errno 111] Connect call failed"
        ),
    ],
)
def test_a_refused_connection(cause: OSError) -> None:
    """The system's own words say it, in place of those of asyncio, for one address and for several."""
    error = exceptions.ConnectionError("Error 111 connecting to 127.0.0.1:1. Connect call failed ('127.0.0.1', 1).")
    error.__cause__ = cause
    assert advice(error).endswith("points at it (connection refused)")
