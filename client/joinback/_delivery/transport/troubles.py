"""redis-py's errors, translated for the rest of the client: RedisRefusal for an answer, OSError for no answer.

A RedisRefusal has Redis's error code. redis-py drops some of these codes, and its versions have different classes for
them.
"""

from redis import exceptions

from joinback.redis_errors import BrokenReply, RedisRefusal

_CODES: tuple[tuple[type[Exception], str], ...] = (
    # A subclass before its base.
    (exceptions.MovedError, "MOVED"),
    (exceptions.AskError, "ASK"),
    (exceptions.TryAgainError, "TRYAGAIN"),
    (exceptions.MasterDownError, "MASTERDOWN"),
    (exceptions.ClusterDownError, "CLUSTERDOWN"),
    (exceptions.ClusterCrossSlotError, "CROSSSLOT"),
    (exceptions.NoScriptError, "NOSCRIPT"),
    (exceptions.OutOfMemoryError, "OOM"),
    (exceptions.ReadOnlyError, "READONLY"),
    (exceptions.ExecAbortError, "EXECABORT"),
    (exceptions.NoPermissionError, "NOPERM"),
    (exceptions.BusyLoadingError, "LOADING"),
    (exceptions.AuthenticationError, "WRONGPASS"),
    (exceptions.AuthorizationError, "WRONGPASS"),
)
_SAID_AS_CONNECTION_ERRORS = ("max number of clients reached",)
_BROKEN = (ValueError, MemoryError, OverflowError, RecursionError, IndexError)
"""From a number that is too long, a reply larger than memory, or endless lists: bytes were altered, or lost."""


class Redirect(RedisRefusal):
    """A node of a cluster names another: for good (`MOVED`), or for this command only (`ASK`)."""

    def __init__(self, code: str, host: str, port: int) -> None:
        super().__init__(code)
        self.host = host
        """Empty means the host of the node that was asked."""
        self.port = port


def trouble(error: Exception, *, at_connect: bool) -> RedisRefusal | OSError:
    """Return the RedisRefusal or OSError for an exception of redis-py. What a broken reply raises becomes BrokenReply.

    `at_connect`: no data has been sent yet. Raises any other exception again.
    """
    if isinstance(error, OSError):
        return error
    if not isinstance(error, exceptions.RedisError):
        if isinstance(error, _BROKEN):
            return BrokenReply("the reply cannot be read")
        raise error
    if (text := _answer(error)) is not None:
        return _redirect(text) or RedisRefusal(text, at_connect=at_connect)
    if (cause := _cause(error)) is not None:
        return cause
    if isinstance(error, exceptions.TimeoutError):
        return TimeoutError("no answer in time")
    if isinstance(error, exceptions.InvalidResponse):
        return BrokenReply("the server that answers is not a Redis")
    return ConnectionError("the connection ended")


def _answer(error: exceptions.RedisError) -> str | None:
    """Return what the server answered, as Redis writes it; None if it did not answer."""
    words = str(error.args[0]) if error.args else ""
    code = getattr(error, "status_code", None) or next((code for kind, code in _CODES if isinstance(error, kind)), None)
    if code == "WRONGPASS" and words.startswith("Authentication required"):
        # redis-py 5 has one class for both.
        code = "NOAUTH"
    if code is not None:
        return f"{code} {words}"
    if isinstance(error, exceptions.ResponseError):
        return words if words.partition(" ")[0].isupper() else f"ERR {words}"
    if words in _SAID_AS_CONNECTION_ERRORS:
        return f"ERR {words}"
    return None


def _redirect(text: str) -> Redirect | None:
    code, *rest = text.split(" ")
    if code not in ("MOVED", "ASK") or len(rest) != 2:
        return None
    host, colon, port = rest[1].rpartition(":")
    return Redirect(code, host, int(port)) if colon and port.isdigit() else None


def _cause(error: BaseException) -> OSError | None:
    """Return the system's own error from which redis-py made its own; None if there is none."""
    for _ in range(3):
        cause = error.__cause__ or error.__context__
        if isinstance(cause, OSError):
            return cause
        if not isinstance(cause, exceptions.RedisError):
            return None
        error = cause
    return None
