"""The sender's one connection to Redis: one write and one read a batch, and no retry but its user's own.

The protocol (RESP 2) is small, and the sender needs eight commands of it. redis-py would do too, at twenty
megabytes of every process that logs, ten times the time per event, and with reconnections of its own, which
the replay must see.
"""

import contextlib

# A look-up of a host's name imports it; a fork must not find the sender's thread in the middle of that.
import encodings.idna  # noqa: F401
import socket
from collections.abc import Mapping
from functools import lru_cache
from io import BufferedReader
from itertools import chain
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from .redis_errors import RedisRefusal, Unreachable, advice

if TYPE_CHECKING:
    import ssl

SOCKET_TIMEOUT_S = 2.0
"""Long for a network, short for an exit: see delivery.CLOSE_TIMEOUT_S."""


REPLY_BYTES_MAX = 512 << 20
"""Redis's own limit on one value; a longer one is a reply that was altered on its way."""


class BrokenReply(ConnectionError):
    """The answer is none to what was asked, so nothing that follows on this connection can be trusted."""


class Connection:
    """To the Redis of a URL, of any scheme that `settings.check_redis_url` takes.

    In its query redis-py's names work: `db`, `username`, `password`, `socket_timeout`, and those with `ssl_`.
    Connects when told to. Every call may raise RedisRefusal or OSError; then `disconnect` before the next.
    """

    def __init__(self, redis_url: str) -> None:
        self._socket: socket.socket | None = None
        self._replies: BufferedReader | None = None
        parts = urlsplit(redis_url)
        options = dict(parse_qsl(parts.query))
        self._unix_path = unquote(parts.path) if parts.scheme == "unix" else None
        self._host = parts.hostname or "localhost"
        self._port = parts.port or 6379
        self._timeout_s = float(options.get("socket_timeout", SOCKET_TIMEOUT_S))
        self._user = unquote(parts.username or "") or options.get("username")
        self._password = unquote(parts.password or "") or options.get("password")
        in_path = parts.path.strip("/") if self._unix_path is None else ""
        self._database = options.get("db", in_path or "0")
        self._tls_options = options if parts.scheme == "rediss" else None
        self.where = self._unix_path or f"{self._host}:{self._port}"
        """Which server this is, without any secret."""
        self._is_greeting = False
        """Whether nothing of a caller's has been sent yet."""

    @property
    def connected(self) -> bool:
        return self._socket is not None

    def connect(self) -> str | None:
        """Connect, log in, and ask the server which run of it this is; None if it does not say.

        A refusal is told apart by `at_connect`.
        """
        self._is_greeting = True
        try:
            self._socket = self._open_socket()
            self._replies = self._socket.makefile("rb")
            self._log_in()
            return self._run_id()
        except (ConnectionResetError, BrokenPipeError) as error:
            self.disconnect()
            hint = "" if self._tls_options is not None else "; if it speaks TLS, write rediss:// instead of redis://"
            raise Unreachable(f"no connection to Redis at {self.where}: it hung up at once{hint}") from error
        except BaseException:
            self.disconnect()
            raise
        finally:
            self._is_greeting = False

    def call(self, *arguments: str | int | bytes) -> Any:
        """One command and its reply: None, int, bytes, or a list of these."""
        return self.send([a if isinstance(a, bytes) else str(a).encode() for a in arguments])

    def send(self, arguments: list[bytes]) -> Any:
        """As `call`, for many arguments."""
        if self._socket is None:
            raise ConnectionError("not connected")
        heads = map(_head, map(len, arguments))
        parts = [b"*%d" % len(arguments), *chain.from_iterable(zip(heads, arguments, strict=True)), b"\r\n"]
        self._socket.sendall(b"".join(parts))
        try:
            return self._reply()
        # A number too long, a reply larger than memory, lists without end: bytes were altered, or lost.
        except (ValueError, MemoryError, OverflowError, RecursionError) as error:
            raise BrokenReply("the reply cannot be read") from error

    def disconnect(self) -> None:
        with contextlib.suppress(OSError):
            if self._replies is not None:
                self._replies.close()
            if self._socket is not None:
                self._socket.close()
        self._socket = self._replies = None

    def __del__(self) -> None:
        """A forked child lets go of its parent's: its copy is closed, and the connection lives on in the parent."""
        self.disconnect()

    def abort(self) -> None:
        """From another thread: let a call that waits fail at once."""
        # Closing would pull the socket from under that call; this wakes it with an error.
        if (waiting := self._socket) is not None:
            with contextlib.suppress(OSError):
                waiting.shutdown(socket.SHUT_RDWR)

    def _log_in(self) -> None:
        try:
            if self._user or self._password is not None:
                self.call("AUTH", *([self._user] if self._user else []), self._password or "")
            if self._database != "0":
                self.call("SELECT", self._database)
        except RedisRefusal as refusal:
            refusal.at_login = True
            raise

    def _run_id(self) -> str | None:
        """What INFO says; nothing but the replay needs it, so a server may refuse to tell."""
        try:
            info = self.call("INFO", "server")
        except RedisRefusal as refusal:
            try:
                self.call("PING")
            except RedisRefusal:
                # Whatever it is, the first batch will meet it.
                pass
            except OSError:
                # It has hung up: so it was no answer to INFO.
                raise refusal from None
            return None
        lines = info.decode(errors="replace").splitlines() if isinstance(info, bytes) else []
        # Valkey calls it server_mode.
        if "redis_mode:sentinel" in lines or "server_mode:sentinel" in lines:
            raise RedisRefusal("SENTINEL", at_connect=True)
        return next((line.removeprefix("run_id:") for line in lines if line.startswith("run_id:")), None)

    def _open_socket(self) -> socket.socket:
        if self._unix_path is not None:
            plain = socket.socket(socket.AF_UNIX)
            plain.settimeout(self._timeout_s)
            plain.connect(self._unix_path)
            return plain
        context = None if self._tls_options is None else _tls(self._tls_options)
        plain = socket.create_connection((self._host, self._port), self._timeout_s)
        # A batch is written in one piece; nothing comes that could be sent along.
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return plain if context is None else self._wrapped(plain, context)

    def _wrapped(self, plain: socket.socket, context: "ssl.SSLContext") -> socket.socket:
        import ssl  # most connections are inside one network, without it

        try:
            return context.wrap_socket(plain, server_hostname=self._host)
        except ssl.SSLCertVerificationError:
            plain.close()
            raise
        except TimeoutError as error:
            plain.close()
            raise Unreachable(
                f"{self.where} took the connection, but spoke no TLS within {self._timeout_s:g} s; "
                "if Redis is there without TLS, write redis:// instead of rediss://"
            ) from error
        except ssl.SSLError as error:
            plain.close()
            raise Unreachable(
                f"{self.where} speaks no TLS that fits ({error.reason}); "
                "if Redis is there without TLS, write redis:// instead of rediss://"
            ) from error

    def _ended(self, line: bytes) -> OSError:
        if line.startswith(_TLS_ALERT):
            return Unreachable(f"{self.where} answers in TLS; write rediss:// instead of redis://")
        return ConnectionError("the connection ended")

    def _reply(self) -> Any:
        assert self._replies is not None
        line = self._replies.readline()
        kind, rest = line[:1], line[1:-2]
        if not line.endswith(b"\r\n"):
            raise self._ended(line)
        if kind == b"-":
            raise RedisRefusal(rest.decode(errors="replace"), at_connect=self._is_greeting)
        if kind == b"+":
            return rest
        if kind not in (b":", b"$", b"*") or not rest.removeprefix(b"-").isdigit():
            raise ConnectionError("what answers is no Redis")
        number = int(rest)
        if kind == b":":
            return number
        if number < 0:
            return None
        if number > REPLY_BYTES_MAX:
            raise BrokenReply("the reply is too long")
        if kind == b"*":
            return [self._reply() for _ in range(number)]
        data = self._replies.read(number + 2)
        if len(data) < number + 2:
            raise ConnectionError("the connection ended")
        return data[:-2]


_TLS_ALERT = b"\x15\x03"


@lru_cache(maxsize=4096)
def _head(length: int) -> bytes:
    """The end of one argument in Redis's protocol, and the announcement of the next."""
    return b"\r\n$%d\r\n" % length


_FILES = ("ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile")


def _tls(options: Mapping[str, str]) -> "ssl.SSLContext":
    """Certificate and host are checked, unless the URL itself says otherwise."""
    import ssl

    try:
        context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"), capath=options.get("ssl_ca_path"))
        if "ssl_certfile" in options:
            context.load_cert_chain(options["ssl_certfile"], options.get("ssl_keyfile"), options.get("ssl_password"))
    # Not there, not readable, or no certificate.
    except OSError as error:
        named = ", ".join(f"{name} {options[name]}" for name in _FILES if name in options)
        why = error.strerror if not isinstance(error, ssl.SSLError) else "no certificate, or none that fits, is in it"
        raise Unreachable(f"the files for TLS in the Redis URL cannot be used: {why} ({named})") from None
    if options.get("ssl_cert_reqs", "required") == "none":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif options.get("ssl_check_hostname", "true").lower() in ("false", "0", "no"):
        context.check_hostname = False
    return context


def trouble_with(redis_url: str) -> str | None:
    """Why Redis does not answer a PING, in one line; None if it does."""
    try:
        connection = Connection(redis_url)
        try:
            connection.connect()
            connection.call("PING")
        finally:
            connection.disconnect()
    except (RedisRefusal, OSError) as error:
        return advice(error, Connection(redis_url).where)
    return None
