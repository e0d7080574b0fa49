"""What a server says first, and what it means if it does not let us in: in words that name the fix."""

import contextlib
import socket

from joinback.redis_errors import RedisRefusal

from .troubles import Unreachable, trouble

_PROBE_S = 1.0
"""A handshake is two round trips."""
_NO_DATABASE = ("DB index is out of range", "invalid DB index", "SELECT is not allowed")
_FILES_OF_TLS = ("X509", "PEM")


def about(reply: object) -> dict[str, str]:
    """Return the fields of INFO's answer."""
    text = reply.decode(errors="replace") if isinstance(reply, bytes) else ""
    return {name: value for name, _, value in (line.partition(":") for line in text.splitlines())}


def trouble_at_login(error: Exception, where: str, over_tls: bool, database: int) -> RedisRefusal | OSError:
    """Return what kept us out, as `troubles.trouble` does."""
    if any(words in str(error) for words in _NO_DATABASE):
        return Unreachable(f"Redis at {where} has no database {database}; name one in the Redis URL that it has")
    met = trouble(error)
    if isinstance(met, RedisRefusal):
        met.at_login = True
        return met
    return _trouble_with_tls(met, where) if over_tls else met


def why_it_hung_up(error: OSError, where: str) -> OSError:
    """Return the error, or a better one, of a server that ended a plain connection at our first word."""
    if type(error) in (ConnectionError, ConnectionResetError) and _speaks_tls(where):
        return Unreachable(f"{where} speaks TLS; write rediss:// instead of redis:// in the Redis URL")
    return error


def _trouble_with_tls(error: OSError, where: str) -> OSError:
    import ssl  # most connections are inside one network, without it

    without = "if Redis is there without TLS, write redis:// instead of rediss:// in the Redis URL"
    if isinstance(error, ssl.SSLCertVerificationError):
        return error
    if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError) or (
        isinstance(error, ssl.SSLError) and any(name in str(error) for name in _FILES_OF_TLS)
    ):
        why = error.strerror if not isinstance(error, ssl.SSLError) else "no certificate, or none that fits, is in them"
        return Unreachable(f"the files for TLS that the Redis URL names cannot be used: {why}; see its ssl_… options")
    if isinstance(error, ssl.SSLError):
        return Unreachable(f"{where} speaks no TLS that fits ({error.reason}); {without}")
    if isinstance(error, TimeoutError) and "handshake" in str(error):
        return Unreachable(f"{where} took the connection, but spoke no TLS in time; {without}")
    return error


def _speaks_tls(where: str) -> bool:
    """Whether what hung up on us takes a handshake: it does not say why it hung up."""
    import ssl

    host, colon, port = where.rpartition(":")
    if not colon or not port.isdigit():
        return False
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Nothing is said to it.
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        contextlib.suppress(OSError),
        socket.create_connection((host.strip("[]"), int(port)), _PROBE_S) as plain,
        context.wrap_socket(plain, server_hostname=host),
    ):
        return True
    return False
