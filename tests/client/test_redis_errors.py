"""What an answer of Redis means to the sender and to people, and what of its words may be shown."""

import ssl

import pytest

from joinback.redis_errors import RedisRefusal, Unreachable, advice

WRAPPED = "Error running script (call to f_300b): @user_script:30: @user_script: 30: -{} command not allowed"
SECRET = "hunter2"


@pytest.mark.parametrize(
    ("text", "server_wide", "says"),
    [
        ("LOADING Redis is loading the dataset in memory", True, "reads its data"),
        ("WRONGPASS invalid username-password pair", True, "check user, password"),
        ("NOAUTH Authentication required.", True, "check user, password"),
        ("NOPERM this user has no permissions to run the 'evalsha' command", False, "run the 'evalsha' command"),
        ("NOPERM User app has no permissions to run the 'xadd' command", False, "lacks a right"),
        ("NOPERM No permissions to access a key", False, "lacks a right"),
        ("ERR ACL failure in script: User x has no permissions to run the 'xadd' command", False, "lacks a right"),
        ("ERR The user executing the script can't run this command or subcommand script: f_1", False, "lacks a right"),
        ("OOM command not allowed", True, "at maxmemory"),
        (WRAPPED.format("OOM"), True, "at maxmemory"),
        ("READONLY You can't write against a read only replica.", True, "read-only replica"),
        (WRAPPED.format("READONLY"), True, "read-only replica"),
        ("MISCONF Redis is configured to save RDB snapshots", True, "cannot write to its disk"),
        ("MOVED 3999 127.0.0.1:6381", False, "node of a Redis Cluster"),
        ("BUSY Redis is busy running a script", True, "SCRIPT KILL"),
        ("WRONGTYPE joinback:{x}:pending is a string", False, "another type"),
        ("CROSSSLOT Keys in request don't hash to the same slot", False, "over one application's keys"),
        ("EXECABORT Transaction discarded because of previous errors.", False, "wraps commands in MULTI"),
        ("DENIED Redis is running in protected mode because", True, "protected mode"),
        ("ERR max number of clients reached", True, "raise its maxclients"),
        ("ERR max daily request limit exceeded. Limit: 10000, Usage: 10001.", True, "max daily request limit exceeded"),
        ("ERR max concurrent connections exceeded", True, "max concurrent connections exceeded"),
        ("ERR upstream failure", False, "upstream failure"),
        ("ERR Protocol error: invalid bulk length", False, "Protocol error"),
        ("ERR unknown command 'EVALSHA', with args beginning with: 'hunter2'", False, "unknown command 'EVALSHA"),
        ("ERR unknown command `EVALSHA`, with args beginning with: `hunter2`", False, "unknown command `EVALSHA"),
        ("ERR secret value hunter2", False, "answered ERR"),
        ("hunter2", False, "answered ERR"),
    ],
)
def test_what_an_answer_means(text: str, server_wide: bool, says: str) -> None:
    """Whether it is everybody's trouble, and one line with the fix: of Redis's words only forms known to be safe."""
    refusal = RedisRefusal(text)
    assert refusal.is_server_wide == server_wide
    assert says in advice(refusal)
    assert SECRET not in advice(refusal) + str(refusal) + repr(refusal)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "ERR DB index is out of range",
            "mend the end of JOINBACK_REDIS_URL, such as /0 (Redis says: DB index",
        ),
        ("ERR max number of clients reached", "raise its maxclients"),
        ("ERR unknown command 'AUTH', with args beginning with: 'someone' 'hunter2' ", "unknown command 'AUTH'"),
        ("ERR something that\nnobody\x1b[2J knows", "something that nobody [2J knows"),
    ],
)
def test_what_is_said_at_a_login_is_shown(text: str, says: str) -> None:
    """Before a caller's data was sent the server's own words are shown, less what may quote the login."""
    refusal = RedisRefusal(text, at_connect=True, at_login=True)
    assert refusal.is_server_wide
    assert says in advice(refusal)
    assert SECRET not in advice(refusal) + str(refusal) + repr(refusal)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ConnectionError("x"), "no connection to Redis at cache:6379; check"),
        (
            ConnectionRefusedError(111, "Connection refused"),
            "no connection to Redis at cache:6379 (Connection refused)",
        ),
        (TimeoutError("x"), "Redis at cache:6379 did not answer in time"),
        (ssl.SSLCertVerificationError("x"), "certificate"),
        (Unreachable("there is no TLS"), "there is no TLS"),
    ],
)
def test_what_no_answer_means(error: OSError, says: str) -> None:
    """Where Redis is not reached the line names the place and the system's reason."""
    assert says in advice(error, "cache:6379")
