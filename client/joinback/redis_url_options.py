"""The options in a Redis URL's query: those that Joinback takes, and those of redis-py that it refuses, and why."""

import math
from collections.abc import Callable
from typing import Any, NoReturn, TypeAlias
from urllib.parse import unquote

Refuse: TypeAlias = Callable[[str], NoReturn]

_DATABASE_DIGITS_MAX = 6
"""No server has a million databases. The server itself says how many it has."""
_TLS_VERSIONS = {
    "1.2": "TLSv1_2",
    "tlsv1.2": "TLSv1_2",
    "tlsv1_2": "TLSv1_2",
    "1.3": "TLSv1_3",
    "tlsv1.3": "TLSv1_3",
    "tlsv1_3": "TLSv1_3",
}


def query_options(query: str, refuse: Refuse) -> dict[str, Any]:
    """Return the options of a query, by the field names and types of RedisUrl. `refuse` raises for a wrong one."""
    found: dict[str, Any] = {}
    for option in query.split("&") if query else []:
        name, equals, value = option.partition("=")
        if name in _REFUSED:
            refuse(f"has the option {name}, which Joinback does not take: {_REFUSED[name]}")
        if name not in _OPTIONS:
            import difflib  # only for this message, and slow to import

            near = difflib.get_close_matches(name, _OPTIONS, n=1)
            # The name may be the rest of a password that holds a ? or a &, so it is not shown.
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(_OPTIONS))}"
            refuse(f"has an unknown option; {hint} (in a password, ? is %3F and & is %26)")
        ours, read = _OPTIONS[name]
        if ours in found:
            refuse(f"has the option {name} twice")
        if not equals or not value:
            refuse(f"has the option {name} without a value")
        found[ours] = read(unquote(value), _naming(name, refuse))
    return found


def _naming(name: str, refuse: Refuse) -> Refuse:
    def refuse_by_name(what: str) -> NoReturn:
        refuse(f"has a wrong {name}: {what}")

    return refuse_by_name


def _text(value: str, _: Refuse) -> str:
    return value


def database_number(value: str, refuse: Refuse) -> int:
    if not (value.isascii() and value.isdigit()) or len(value) > _DATABASE_DIGITS_MAX:
        refuse("name a database by its number, such as 0")
    return int(value)


def _seconds(value: str, refuse: Refuse) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    # Some libraries take -1, nan and inf for "for ever": a hung server would then hold up the service.
    if not 0 < seconds < math.inf:
        refuse("write seconds, over 0, such as 2.5")
    return seconds


def _interval(value: str, refuse: Refuse) -> int:
    if not (value.isascii() and value.isdigit()) or len(value) > 6:
        refuse("write whole seconds, or 0 for never")
    return int(value)


def _switch(value: str, refuse: Refuse) -> bool:
    known = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if value.lower() not in known:
        refuse("write true or false")
    return known[value.lower()]


def _cert_reqs(value: str, refuse: Refuse) -> str:
    if value.lower() not in ("none", "optional", "required"):
        refuse("write none, optional or required")
    return value.lower()


def _tls_version(value: str, refuse: Refuse) -> str:
    if value.lower() not in _TLS_VERSIONS:
        refuse("write TLSv1.2 or TLSv1.3")
    return _TLS_VERSIONS[value.lower()]


def _protocol(value: str, refuse: Refuse) -> int:
    if value not in ("2", "3"):
        refuse("write 2 or 3")
    return int(value)


_OPTIONS: dict[str, tuple[str, Callable[[str, Refuse], Any]]] = {
    "db": ("database", database_number),
    "username": ("username", _text),
    "password": ("password", _text),
    "sentinel_username": ("sentinel_username", _text),
    "sentinel_password": ("sentinel_password", _text),
    "socket_timeout": ("socket_timeout_s", _seconds),
    "socket_connect_timeout": ("connect_timeout_s", _seconds),
    "socket_keepalive": ("keepalive", _switch),
    "health_check_interval": ("health_check_interval_s", _interval),
    "client_name": ("client_name", _text),
    "protocol": ("protocol", _protocol),
    "ssl_ca_certs": ("ssl_ca_certs", _text),
    "ssl_ca_data": ("ssl_ca_data", _text),
    "ssl_certfile": ("ssl_certfile", _text),
    "ssl_keyfile": ("ssl_keyfile", _text),
    "ssl_cert_reqs": ("ssl_cert_reqs", _cert_reqs),
    "ssl_check_hostname": ("ssl_check_hostname", _switch),
    "ssl_min_version": ("ssl_min_version", _tls_version),
    "ssl_ciphers": ("ssl_ciphers", _text),
}
_OWN_RETRIES = "it retries by itself"
_REFUSED = {
    "decode_responses": "it reads bytes",
    "encoding": "it reads bytes",
    "encoding_errors": "it reads bytes",
    "retry": _OWN_RETRIES,
    "retry_on_timeout": _OWN_RETRIES,
    "retry_on_error": _OWN_RETRIES,
    "max_connections": "a client holds one connection per server, and a worker as many as it drains at once",
    "timeout": "it is for a pool that blocks; write socket_timeout",
    "ssl": "write rediss:// instead of redis://",
    # The worker uses redis-py 5's asyncio classes, which lack it.
    "ssl_ca_path": "write ssl_ca_certs, one file with all authorities",
    "ssl_password": "give it a key without a password, readable by its user alone",
    "ssl_validate_ocsp": "redis-py's asyncio classes lack it",
    "ssl_validate_ocsp_stapled": "redis-py's asyncio classes lack it",
    "ssl_include_verify_flags": "redis-py 5 lacks it",
    "ssl_exclude_verify_flags": "redis-py 5 lacks it",
}
