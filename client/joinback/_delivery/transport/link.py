"""One connection to one server, by redis-py's connection classes: protocol, TLS, login and parsing are theirs.

Ours are the packing, one write and one read per command, and when to connect: redis-py would connect again
unseen, and the replay must see it.
"""

import contextlib

# A look-up of a host's name imports it; a fork must not find the sender's thread in the middle of that.
import encodings.idna  # noqa: F401
import itertools
import select
import socket
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from redis import exceptions

from joinback.redis_errors import BrokenReply, RedisRefusal

from . import greeting
from .asking import Asked
from .packing import packed
from .troubles import trouble


class RedisConnection(Protocol):
    """What is used of redis-py's connections."""

    def connect(self) -> None: ...
    def disconnect(self) -> None: ...
    def send_packed_command(self, command: list[bytes]) -> None: ...
    def read_response(self) -> Any: ...


_numbers = itertools.count(1)


class Link:
    """Connects once, when told to. Every call may raise RedisRefusal or OSError; after an OSError it is closed."""

    def __init__(self, connection: RedisConnection, where: str, options: Mapping[str, Any], *, over_tls: bool) -> None:
        self._connection = connection
        self._options = options
        self._over_tls = over_tls
        self.where = where
        """Which server this is, without any secret."""
        self.is_open = False
        self._is_greeting = False
        self.server = ""
        """Which run of which server answers; of one that does not say, each connection counts as another."""
        self.mode = ""
        """`standalone`, `cluster`, `sentinel`, or empty if the server does not say."""

    def open(self) -> None:
        """Connect, log in, and ask who answers. A refused login is told apart by `at_login`."""
        met: RedisRefusal | OSError
        if self._over_tls:
            greeting.check_files(self._options)
        try:
            self._connection.connect()
            self.is_open = True
        except Exception as error:
            met = greeting.trouble_at_login(error, self.where, self._options.get("db", 0), over_tls=self._over_tls)
        else:
            self._is_greeting = True
            try:
                self._ask_who()
                return
            except RedisRefusal as refusal:
                met = refusal
            except OSError as error:
                met = error
            finally:
                self._is_greeting = False
        self.close()
        if isinstance(met, OSError):
            met = greeting.why_it_hung_up(met, self.where, over_tls=self._over_tls)
        raise met

    def call(self, *arguments: str | int | bytes) -> Any:
        """One command and its reply: None, int, bytes, or a list of these."""
        return self.send([a if isinstance(a, bytes) else str(a).encode() for a in arguments])

    def send(self, command: Sequence[bytes]) -> Any:
        """As `call`, for many arguments."""
        if not self.is_open:
            # redis-py would connect.
            raise ConnectionError("not connected")
        try:
            self._connection.send_packed_command([packed(command)])
            return self._connection.read_response()
        except Exception as error:
            # redis-py hangs up at what it takes for an error of the connection, an answer such as LOADING included.
            if not isinstance(error, exceptions.ResponseError):
                self.close()
            met = trouble(error, at_connect=self._is_greeting)
        raise met

    def stirs(self) -> bool:
        """Whether something came unasked: that the server hung up, or, over TLS, less than that."""
        try:
            poll = select.poll()
            poll.register(self._connection._sock, select.POLLIN)  # type: ignore[attr-defined]
            return bool(poll.poll(0))
        # No such attribute, no such call, or no socket any more.
        except (AttributeError, OSError, TypeError, ValueError):
            return False

    def close(self) -> None:
        self.is_open = False
        with contextlib.suppress(Exception):
            self._connection.disconnect()

    def abort(self) -> None:
        """From another thread: let a call that waits fail at once, and a login that waits for its credentials."""
        if isinstance(asked := self._options.get("credential_provider"), Asked):
            asked.give_up()
        # Closing would pull the socket from under that call; this wakes it with an error.
        with contextlib.suppress(OSError, AttributeError):
            self._connection._sock.shutdown(socket.SHUT_RDWR)  # type: ignore[attr-defined]

    def _ask_who(self) -> None:
        """Only the replay needs it, and the words for a wrong URL: so a server may refuse to tell."""
        try:
            about = greeting.about(self.call("INFO", "server"))
        except RedisRefusal as refusal:
            about = {}
            self._check_alive(refusal)
        self.mode = about.get("redis_mode") or about.get("server_mode", "")
        self.server = about.get("run_id") or f"{self.where}#{next(_numbers)}"

    def _check_alive(self, refusal: RedisRefusal) -> None:
        """Whether it hung up: then it was no answer to INFO, but to who we are."""
        try:
            self.call("PING")
        except RedisRefusal:
            # Whatever it is, the first batch will meet it.
            pass
        except OSError:
            raise refusal from None


def expect_list(reply: object) -> list[Any]:
    """Return the reply if it is a list. Raises BrokenReply."""
    if not isinstance(reply, list):
        raise BrokenReply("the reply is none to what was asked")
    return reply
