"""The URL of a Redis, read by one function for client and worker: both take the same URLs.

    redis://[[user]:password@]host[:port][/database][?option=value&…]     one server
    rediss://…                                                           the same over TLS
    unix:///path/to.sock[?db=0]                                          one server on this host
    redis+cluster://host:port[,host:port]                                a Redis Cluster, by some of its nodes
    redis+sentinel://host:port[,host:port]/service[/database]            the primary that these Sentinels name
    rediss+cluster://…, rediss+sentinel://…                              the same over TLS
    memory://[name]                                                      in the memory of this process, for tests

Every part is percent-decoded once; a `+` stands for itself. The options are those of redis-py that mean the same on
both sides, and `sentinel_username` and `sentinel_password`. Any other option is refused, with its name.
"""

import re
from collections.abc import Mapping
from typing import Any, Literal, NoReturn, TypeAlias
from urllib.parse import unquote

from msgspec import Struct, structs

from .errors import ConfigurationError
from .redis_url_options import Refuse, database_number, query_options

Kind: TypeAlias = Literal["server", "cluster", "sentinel", "memory"]
Address: TypeAlias = tuple[str, int]

FORM = (
    "redis://[user:password@]host:6379/0, rediss://… for TLS, unix:///path.sock, redis+cluster://host:port,host:port,"
    " redis+sentinel://host:port,host:port/service/0, or memory:// for tests"
)
_SCHEMES: dict[str, tuple[Kind, bool]] = {
    "redis": ("server", False),
    "rediss": ("server", True),
    "unix": ("server", False),
    "redis+cluster": ("cluster", False),
    "rediss+cluster": ("cluster", True),
    "redis+sentinel": ("sentinel", False),
    "rediss+sentinel": ("sentinel", True),
    "memory": ("memory", False),
}
_PORTS: dict[Kind, int] = {"server": 6379, "cluster": 6379, "sentinel": 26379}
_PORT_MAX = 65_535
_NAME_IN_MEMORY = re.compile(r"[A-Za-z0-9._-]*")


class RedisUrl(Struct, frozen=True, kw_only=True):
    """One Redis: a server, a cluster, or a primary by Sentinels.

    `nodes` are servers or Sentinels; empty, if `path` is a Unix socket. None means that the URL does not say; client
    and worker then have their own defaults.
    """

    kind: Kind
    nodes: tuple[Address, ...] = ()
    path: str | None = None
    service: str | None = None
    """The Sentinels' name of the primary; for `memory://`, the name after it."""
    database: int = 0
    username: str | None = None
    password: str | None = None
    sentinel_username: str | None = None
    sentinel_password: str | None = None
    tls: dict[str, str | bool] | None = None
    """redis-py's `ssl_…` arguments; None without TLS."""
    socket_timeout_s: float | None = None
    connect_timeout_s: float | None = None
    health_check_interval_s: int | None = None
    keepalive: bool = True
    client_name: str | None = None
    protocol: int = 2
    """RESP 2 by default: redis-py 5 and 8 differ, and a server may lack HELLO."""

    @property
    def scheme(self) -> str:
        """The scheme, as it stands before `://`."""
        if self.path is not None or self.kind == "memory":
            return "memory" if self.path is None else "unix"
        return ("redis" if self.tls is None else "rediss") + ("" if self.kind == "server" else f"+{self.kind}")

    @property
    def where(self) -> str:
        """The server or servers, without any secret."""
        return self.path or ",".join(map(shown_address, self.nodes))

    def __repr__(self) -> str:
        """Leave out logins, and the values of options."""
        login = "…@" if self.username or self.password else ""
        if self.kind == "memory":
            return f"RedisUrl(memory://{self.service})"
        tail = "" if self.path is not None else f"/{self.service}" if self.service else ""
        return f"RedisUrl({self.scheme}://{login}{self.where}{tail}/{self.database})"


def shown_address(address: Address) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def redis_url(text: str, name: str) -> RedisUrl:
    """Return what this URL says; `name` is its setting. Raises ConfigurationError, which never shows the URL."""

    def refuse(what: str) -> NoReturn:
        raise ConfigurationError(f"{name} {what}")

    scheme, separator, rest = text.partition("://")
    if not separator or scheme not in _SCHEMES:
        refuse(f"is not a Redis URL; write {FORM}")
    kind, over_tls = _SCHEMES[scheme]
    if kind == "memory":
        if not _NAME_IN_MEMORY.fullmatch(rest):
            refuse("is memory://, after which comes a name of letters, digits, . _ and - only, such as memory://tests")
        return RedisUrl(kind=kind, service=rest)
    front, _, query = rest.partition("?")
    if "#" in rest:
        refuse("is not a Redis URL: it holds a #; in a user or password write %23")
    options = query_options(query, refuse)
    if scheme != "unix":
        authority, slash, tail = front.partition("/")
        login, at, places = authority.rpartition("@")
        if "@" in tail:
            refuse("is not a Redis URL: percent-encode user and password (/ is %2F, @ is %40, : is %3A)")
        nodes = tuple(_address(place, _PORTS[kind], refuse) for place in places.split(","))
        if kind == "server" and len(nodes) > 1:
            refuse(f"names several servers; write {scheme}+cluster:// or {scheme}+sentinel:// before them")
        options |= _place(kind, slash + tail, options, refuse)
        options |= {"nodes": nodes}
    else:
        login, at, path = front.rpartition("@")
        if not path.strip("/"):
            refuse("is not a Redis URL: it names no socket; write unix:///path.sock")
        options |= {"path": unquote(path)}
    return _checked(kind, over_tls, options | (_login(login) if at else {}), refuse)


def _login(text: str) -> dict[str, Any]:
    user, colon, password = text.partition(":")
    return ({"username": unquote(user)} if user else {}) | ({"password": unquote(password)} if colon else {})


def _address(place: str, default_port: int, refuse: Refuse) -> Address:
    host, bracket, after = place.partition("]")
    if bracket:
        host, colon, port = host.removeprefix("["), after[:1], after[1:]
    else:
        host, colon, port = place.partition(":")
    digits = port.isascii() and port.isdigit()
    if not host or host.startswith("[") or (colon and not digits) or (colon and not 0 < int(port) <= _PORT_MAX):
        refuse(
            "is not a Redis URL: after the login comes host:port"
            " (percent-encode / @ : % ? # in user and password: / is %2F, @ is %40)"
        )
    return unquote(host), int(port) if colon else default_port


def _place(kind: Kind, tail: str, options: Mapping[str, Any], refuse: Refuse) -> dict[str, Any]:
    """Return what the path names: a database, or a service and a database."""
    parts = [unquote(part) for part in tail.strip("/").split("/")] if tail.strip("/") else []
    found: dict[str, Any] = {}
    if kind == "sentinel":
        if not parts:
            refuse("names no service; write redis+sentinel://host:port/service/0, as in `sentinel monitor service …`")
        found["service"] = parts.pop(0)
    if parts and "database" not in options:
        found["database"] = database_number(parts[0], lambda what: refuse(f"is not a Redis URL: {what}"))
    if len(parts) > 1:
        refuse(f"is not a Redis URL: one database follows the {'service' if kind == 'sentinel' else 'host'}")
    return found


def _checked(kind: Kind, over_tls: bool, options: Mapping[str, Any], refuse: Refuse) -> RedisUrl:
    tls = {name: value for name, value in options.items() if name.startswith("ssl_")}
    if tls and not over_tls:
        refuse(f"has the option {min(tls)} without TLS; write rediss instead of redis in front")
    if kind != "sentinel" and (set(options) & {"sentinel_username", "sentinel_password"}):
        refuse("has a login for Sentinels, but names no Sentinel; write redis+sentinel://host:port/service/0")
    if kind == "cluster" and options.get("database"):
        refuse("names a database, and a Redis Cluster has only 0; leave it out")
    if over_tls and tls.get("ssl_cert_reqs") == "none":
        # Without this redis-py 5 fails at each connection.
        tls["ssl_check_hostname"] = False
    rest = {name: value for name, value in options.items() if not name.startswith("ssl_")}
    return RedisUrl(kind=kind, tls={"ssl_check_hostname": True} | tls if over_tls else None, **rest)


def connection_options(url: RedisUrl, timeout_s: float, health_check_interval_s: int = 0) -> dict[str, Any]:
    """Return redis-py's keyword arguments for a connection to one of the servers, without host and port.

    They are valid for its plain and its asyncio classes, in each version from 5 on. `timeout_s` and
    `health_check_interval_s` apply where the URL says nothing: by itself one version of redis-py waits for ever, and
    another for five seconds.
    """
    interval_s = health_check_interval_s if url.health_check_interval_s is None else url.health_check_interval_s
    options: dict[str, Any] = {
        "db": url.database,
        "username": url.username,
        "password": url.password,
        "socket_timeout": url.socket_timeout_s or timeout_s,
        "socket_connect_timeout": url.connect_timeout_s or url.socket_timeout_s or timeout_s,
        "health_check_interval": interval_s,
        "client_name": url.client_name,
        "protocol": url.protocol,
    }
    if url.path is not None:
        return options | {"path": url.path}
    return options | {"socket_keepalive": url.keepalive} | _tls_options(url)


def sentinel_options(url: RedisUrl, timeout_s: float) -> dict[str, Any]:
    """Return the same for a connection to a Sentinel, which has its own login, or none, and no databases."""
    theirs = structs.replace(url, username=url.sentinel_username, password=url.sentinel_password, database=0)
    return connection_options(theirs, timeout_s)


def _tls_options(url: RedisUrl) -> dict[str, Any]:
    if url.tls is None:
        return {}
    options: dict[str, Any] = dict(url.tls)
    if "ssl_min_version" in options:
        import ssl  # most connections are inside one network, without it

        options["ssl_min_version"] = ssl.TLSVersion[options["ssl_min_version"]]
    return options
