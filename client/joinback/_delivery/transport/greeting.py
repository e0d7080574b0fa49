"""What a server answers first, and why it refuses a connection or a login, in words that name the fix."""

from collections.abc import Mapping
from typing import Any

from joinback.redis_errors import RedisRefusal, Unreachable

from .troubles import trouble

_NO_DATABASE = ("DB index is out of range", "invalid DB index", "SELECT is not allowed")
HANG_UPS = (ConnectionError, ConnectionResetError, BrokenPipeError)
"""The errors of a connection that the other side ended, without any answer."""
_FILES_OF_TLS = ("ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile")


def about(reply: object) -> dict[str, str]:
    """Return the fields of INFO's answer."""
    text = reply.decode(errors="replace") if isinstance(reply, bytes) else ""
    return {name: value for name, _, value in (line.partition(":") for line in text.splitlines())}


def check_files(options: Mapping[str, Any]) -> None:
    """Raise Unreachable if a file for TLS is missing or unusable: redis-py does not say which file."""
    named = {name: options[name] for name in _FILES_OF_TLS if options.get(name)}
    if not named:
        return
    import ssl  # most connections are inside one network, without it

    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if "ssl_ca_certs" in named or "ssl_ca_path" in named:
            context.load_verify_locations(named.get("ssl_ca_certs"), named.get("ssl_ca_path"))
        if "ssl_certfile" in named or "ssl_keyfile" in named:
            # Without a password OpenSSL would ask for one at the terminal.
            password = options.get("ssl_password") or ""
            context.load_cert_chain(named.get("ssl_certfile", ""), named.get("ssl_keyfile"), password)
    except OSError as error:
        why = error.strerror if not isinstance(error, ssl.SSLError) else "it holds no certificate, or not the right one"
        files = ", ".join(f"{name} {file}" for name, file in named.items())
        raise Unreachable(f"the files for TLS in the Redis URL cannot be used: {why} ({files})") from None


def trouble_at_login(error: Exception, where: str, database: int, *, over_tls: bool) -> RedisRefusal | OSError:
    """Return the error of a failed connection or login, as `troubles.trouble` does."""
    if any(words in str(error) for words in _NO_DATABASE):
        return Unreachable(f"Redis at {where} has no database {database}; name one in the Redis URL that it has")
    met = trouble(error, at_connect=True)
    if isinstance(met, RedisRefusal):
        met.at_login = True
        return met
    return _trouble_with_tls(met, where) if over_tls else met


def _trouble_with_tls(error: OSError, where: str) -> OSError:
    import ssl

    without = "if Redis is there without TLS, write redis:// instead of rediss:// in the Redis URL"
    if isinstance(error, ssl.SSLCertVerificationError):
        return error
    if isinstance(error, ssl.SSLError):
        return Unreachable(f"{where} speaks no TLS that fits ({error.reason}); {without}")
    if isinstance(error, TimeoutError) and "handshake" in str(error):
        return Unreachable(f"{where} took the connection, but spoke no TLS in time; {without}")
    return error


def why_it_hung_up(error: OSError, where: str, *, over_tls: bool) -> OSError:
    """Return a better error if a server ended the connection at the first command; else the same error."""
    if type(error) not in HANG_UPS:
        return error
    hint = "" if over_tls else "; if it speaks TLS, write rediss:// instead of redis://"
    return Unreachable(f"no connection to Redis at {where}: it hung up at once{hint}")
