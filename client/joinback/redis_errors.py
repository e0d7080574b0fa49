"""What an error of Redis means: whether it passes, and what to do about it.

By Redis's own error code, the first word of its answer; never by the words after it, which may quote the
command that was sent.
"""

import re

_PASSING = frozenset(
    {
        # It is full, or its disk is; somebody or the worker makes room.
        "OOM",
        "MISCONF",
        # It is a replica, starts, or fails over.
        "READONLY",
        "LOADING",
        "MASTERDOWN",
        "NOREPLICAS",
        "TRYAGAIN",
        "CLUSTERDOWN",
        # A cluster moved the slot; the operator or the next failover may move it back.
        "MOVED",
        "ASK",
        # It runs a script of somebody's, or ended ours.
        "BUSY",
        "UNBLOCKED",
        # The login was changed on one side first.
        "NOAUTH",
        "WRONGPASS",
    }
)
_WRAPPED = re.compile(r"@user_script: ?\d+: -([A-Z]+) ")

_LOGIN = "Redis refused the login; check user, password and database in JOINBACK_REDIS_URL"
_ADVICE = {
    "NOAUTH": _LOGIN,
    "WRONGPASS": _LOGIN,
    "MOVED": "this node of a Redis Cluster does not hold the key; name the node that does in JOINBACK_REDIS_URL",
    "NOPERM": "the Redis user lacks a right; see README for the ACL that client and worker need",
    "OOM": "Redis is at maxmemory; give it more, or let the worker drain it",
    "READONLY": "this Redis is a read-only replica; point JOINBACK_REDIS_URL at the primary",
    "WRONGTYPE": "a key of Joinback holds another type; find it with TYPE (joinback:{...}:pending, :stats), rename it",
}
_CERTIFICATE = "Redis's certificate is of no authority known here, or for another host; see README on rediss://"
NO_ANSWER = "Redis did not answer in time; check the server, and JOINBACK_REDIS_URL"
NO_CONNECTION = "no connection to Redis; check that it runs and that JOINBACK_REDIS_URL points at it"


class RedisRefusal(Exception):
    """Redis answered a command with an error. Shows its code alone."""

    def __init__(self, text: str, *, at_login: bool = False) -> None:
        self.code = code_of(text)
        self.at_login = at_login
        super().__init__(self.code)


def code_of(text: str) -> str:
    """Redis's error code. Redis 6 wraps it: "Error running script (…): @user_script: 30: -OOM command …"."""
    wrapped = _WRAPPED.search(text)
    return wrapped.group(1) if wrapped else text.partition(" ")[0]


def is_passing(error: RedisRefusal | OSError) -> bool:
    """Whether the same command may succeed later, once somebody or something mended the server."""
    return isinstance(error, OSError) or error.at_login or error.code in _PASSING


def advice(error: RedisRefusal | OSError) -> str:
    """One line that names the fix."""
    if isinstance(error, TimeoutError):
        return NO_ANSWER
    # By its name: ssl is imported only where it is used.
    if type(error).__name__ == "SSLCertVerificationError":
        return _CERTIFICATE
    if isinstance(error, OSError):
        return NO_CONNECTION
    return _LOGIN if error.at_login else advice_on(error.code)


def advice_on(code: str) -> str:
    """The same, of an error code alone."""
    return _ADVICE.get(code, f"Redis answered {code}")
