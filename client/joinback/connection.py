"""The sender's one connection to Redis: one write and one read a batch, and no retry but its user's own.

It is redis-py's connection (URL, login, TLS, parser), driven by hand: redis-py's commands and pipelines cost
ten times more per event, and its pool would reconnect unseen.
"""

import contextlib
import socket
from functools import lru_cache
from itertools import chain
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError
from redis.retry import Retry

from .link import link_options
from .redis_errors import advice

SOCKET_TIMEOUT_S = 2.0
"""Long for a network, short for an exit: see delivery.CLOSE_TIMEOUT_S."""


class Connection:
    """Connects when told to; every call may raise redis.RedisError or OSError, and then stays disconnected."""

    def __init__(self, redis_url: str) -> None:
        client = redis.Redis.from_url(
            redis_url,
            **link_options(redis_url, SOCKET_TIMEOUT_S),
            # redis-py's own retries differ by version and repeat commands unasked.
            retry=Retry(NoBackoff(), 0),
        )
        self._link: Any = client.connection_pool.make_connection()
        self.connected = False

    def connect(self) -> str | None:
        """Connect, and ask the server which run of it this is; None if the user may not ask."""
        self._link.connect()
        self.connected = True
        try:
            info = self.call("INFO", "server")
        except NoPermissionError:
            return None
        lines = info.decode().splitlines() if isinstance(info, bytes) else []
        return next((line.removeprefix("run_id:") for line in lines if line.startswith("run_id:")), None)

    def call(self, *arguments: str | int | bytes) -> Any:
        """One command and its reply."""
        self._link.send_command(*arguments)
        return self._link.read_response()

    def send(self, arguments: list[bytes]) -> Any:
        """One command of many arguments: as `call`, at a fifth of the cost."""
        heads = map(_head, map(len, arguments))
        parts = [b"*%d" % len(arguments), *chain.from_iterable(zip(heads, arguments, strict=True)), b"\r\n"]
        self._link.send_packed_command([b"".join(parts)])
        return self._link.read_response()

    def disconnect(self) -> None:
        self.connected = False
        self._link.disconnect()

    def abort(self) -> None:
        """From another thread: let a call that waits fail at once."""
        # disconnect() would pull the socket from under that call; this wakes it with an error.
        waiting: socket.socket | None = getattr(self._link, "_sock", None)
        if waiting is not None:
            with contextlib.suppress(OSError):
                waiting.shutdown(socket.SHUT_RDWR)


@lru_cache(maxsize=4096)
def _head(length: int) -> bytes:
    """The end of one argument in Redis's protocol, and the announcement of the next."""
    return b"\r\n$%d\r\n" % length


def trouble_with(redis_url: str) -> str | None:
    """Why Redis does not answer a PING, in one line; None if it does."""
    connection = Connection(redis_url)
    try:
        connection.connect()
        connection.call("PING")
    except (redis.RedisError, OSError) as error:
        return advice(error)
    finally:
        connection.disconnect()
    return None
