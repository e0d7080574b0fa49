"""One connection to one server. redis-py's connection classes do the protocol, TLS, the login and the parsing.

We do the packing, one write and one read per command, and decide when to connect: redis-py would connect again
unnoticed, but the replay must know of it.
"""

import contextlib

# A look-up of a host name imports it. Here, so that no fork comes while the sender's thread is in that import.
import encodings.idna  # noqa: F401
import itertools
import select
import socket
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from redis import exceptions

from joinback._delivery.command import Command
from joinback.redis_errors import BrokenReply, RedisRefusal

from . import greeting
from .asking import Asked
from .troubles import trouble


class RedisConnection(Protocol):
    """The part of redis-py's connections that is used."""

    def connect(self) -> None: ...
    def disconnect(self) -> None: ...
    def send_packed_command(self, command: list[bytes]) -> None: ...
    def read_response(self) -> Any: ...


_numbers = itertools.count(1)


class Link:
    """A connection that opens once, by `open`. Each call may raise RedisRefusal or OSError; an OSError closes it."""

    def __init__(self, connection: RedisConnection, where: str, options: Mapping[str, Any], *, over_tls: bool) -> None:
        self._connection = connection
        self._options = options
        self._over_tls = over_tls
        self.where = where
        """The server's address, without any secret."""
        self.is_open = False
        self._is_greeting = False
        self._is_aborted = False
        self.server = ""
        """The id of the server's run. If it gives none, each connection counts as another run."""
        self.mode = ""
        """`standalone`, `cluster`, `sentinel`, or empty if the server gives none."""

    def open(self) -> None:
        """Connect, log in, and ask which server this is. A refused login has `at_login` set."""
        met: RedisRefusal | OSError
        if self._over_tls:
            greeting.check_files(self._options)
        try:
            self._connection.connect()
            self.is_open = True
        except Exception as error:
            met = greeting.trouble_at_login(error, self.where, self._options.get("db", 0), over_tls=self._over_tls)
            met = self._or_time_out(met)
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
        """Send one command and return its reply: None, int, bytes, or a list of these."""
        return self.send([a if isinstance(a, bytes) else str(a).encode() for a in arguments])

    def send(self, command: Sequence[bytes] | Command) -> Any:
        """Do the same as `call`, for many arguments that are bytes already."""
        if not self.is_open:
            # redis-py would connect by itself.
            raise ConnectionError("not connected")
        packed = (command if isinstance(command, Command) else Command(command)).packed()
        try:
            self._connection.send_packed_command([packed])
            return self._connection.read_response()
        except Exception as error:
            # redis-py disconnects at what it takes for an error of the connection, also at an answer such as LOADING.
            if not isinstance(error, exceptions.ResponseError):
                self.close()
            met = self._or_time_out(trouble(error, at_connect=self._is_greeting))
        raise met

    def _or_time_out(self, met: RedisRefusal | OSError) -> RedisRefusal | OSError:
        """Return the same error; but if `abort` ended the connection, that the server did not answer in time."""
        if self._is_aborted and type(met) in greeting.HANG_UPS:
            return TimeoutError("no answer in time")
        return met

    def stirs(self) -> bool:
        """Return whether there is something to read that nobody asked for: the server hung up, or TLS has news."""
        try:
            poll = select.poll()
            poll.register(self._connection._sock, select.POLLIN)  # type: ignore[attr-defined]
            return bool(poll.poll(0))
        # No such attribute, no `poll` on this system, or no socket any more.
        except (AttributeError, OSError, TypeError, ValueError):
            return False

    def close(self) -> None:
        self.is_open = False
        with contextlib.suppress(Exception):
            self._connection.disconnect()

    def abort(self) -> None:
        """From another thread: make a waiting call fail at once, also a login that waits for its credentials."""
        if isinstance(asked := self._options.get("credential_provider"), Asked):
            asked.give_up()
        self._is_aborted = True
        # Not `close`, which would take the socket away from that call. `shutdown` wakes the call with an error.
        with contextlib.suppress(OSError, AttributeError):
            self._connection._sock.shutdown(socket.SHUT_RDWR)  # type: ignore[attr-defined]

    def _ask_who(self) -> None:
        """Ask for the server's run and mode. It may refuse: only the replay and errors about a wrong URL need them."""
        try:
            about = greeting.about(self.call("INFO", "server"))
        except RedisRefusal as refusal:
            about = {}
            self._check_alive(refusal)
        self.mode = about.get("redis_mode") or about.get("server_mode", "")
        self.server = about.get("run_id") or f"{self.where}#{next(_numbers)}"

    def _check_alive(self, refusal: RedisRefusal) -> None:
        """Raise the refusal if the server has hung up: then it refused the connection, not INFO."""
        try:
            self.call("PING")
        except RedisRefusal:
            # The first batch will meet the same trouble.
            pass
        except OSError:
            raise refusal from None


def expect_list(reply: object) -> list[Any]:
    """Return the reply if it is a list. Raises BrokenReply."""
    if not isinstance(reply, list):
        raise BrokenReply("this is not a reply to the command")
    return reply
