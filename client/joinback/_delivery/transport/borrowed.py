"""The way to the Redis of a client that the caller made: a `redis.Redis`, a `RedisCluster`, or a Sentinel's primary.

Its settings are copied, and so is its connection class, which may use a tunnel or be instrumented. The connections are
our own, because the caller's are for the caller's threads.
"""

from typing import Any

import redis
from redis.sentinel import SentinelConnectionPool, SentinelManagedConnection, SentinelManagedSSLConnection

from joinback.credentials import Credentials
from joinback.errors import ConfigurationError

from .asking import Asked
from .cluster import Cluster
from .dialing import SOCKET_TIMEOUT_S, Dialer, alone
from .sentinel import Sentinel
from .server import Server

_CONNECTIONS: dict[type, Any] = {
    SentinelManagedConnection: redis.Connection,
    SentinelManagedSSLConnection: redis.SSLConnection,
}
"""Connection classes that ask the Sentinels by themselves -> the class without that."""
_NOT_OF_ONE_CONNECTION = (
    # Options of a pool or a RedisCluster, not of a connection.
    *("connection_pool", "cache", "cache_config", "event_dispatcher", "himport_registry"),
    *("maint_notifications_config", "maint_notifications_pool_handler", "oss_cluster_maint_notifications_handler"),
    *("orig_host_address", "orig_socket_timeout", "orig_socket_connect_timeout"),
    # Set by `alone`, in the form that the version of redis-py knows.
    *("driver_info", "lib_name", "lib_version"),
)


def transport_by(client: Any, credentials: Credentials | None = None) -> Server | Cluster:
    """Return the way to the client's Redis, not yet connected. Raises ConfigurationError for any other object."""
    if isinstance(client, redis.RedisCluster):
        manager = client.nodes_manager
        options = dict(manager.connection_kwargs)
        over_tls = bool(options.pop("ssl", False))
        seeds = [(str(node.host), int(node.port)) for node in manager.startup_nodes.values()]
        # The cluster's own function would make connections for reading from replicas.
        options["redis_connect_func"] = client.user_on_connect_func
        options = {name: value for name, value in options.items() if name not in ("host", "port")}
        kind = redis.SSLConnection if over_tls else redis.Connection
        return Cluster(seeds, _dialer(kind, options, credentials))
    if not isinstance(client, redis.Redis):
        raise ConfigurationError(
            "redis must be a redis.Redis (also of a Sentinel's master_for) or a redis.RedisCluster, not"
            f" {type(client).__module__}.{type(client).__qualname__}"
        )
    pool = client.connection_pool
    options = dict(pool.connection_kwargs)
    kind = _CONNECTIONS.get(pool.connection_class, pool.connection_class)
    if isinstance(pool, SentinelConnectionPool):
        if not pool.is_master:
            raise ConfigurationError("redis is a Sentinel's replica, which takes no writes; give it master_for(…)")
        return _by_sentinels(pool, _dialer(kind, options, credentials))
    place = (options.pop("host", "localhost"), int(options.pop("port", 6379))) if "path" not in options else None
    dial = _dialer(kind, options, credentials)
    return Server(lambda: dial.link(place))


def _by_sentinels(pool: SentinelConnectionPool, dial: Dialer) -> Sentinel:
    sentinels = pool.sentinel_manager.sentinels
    addresses, ask = [], None
    for sentinel in sentinels:
        theirs = sentinel.connection_pool
        options = dict(theirs.connection_kwargs)
        addresses.append((options.pop("host"), int(options.pop("port"))))
        ask = ask or _dialer(theirs.connection_class, options, None)
    assert ask is not None
    return Sentinel(addresses, pool.service_name, ask, dial)


def _dialer(kind: Any, options: dict[str, Any], credentials: Credentials | None) -> Dialer:
    options = {name: value for name, value in options.items() if name not in _NOT_OF_ONE_CONNECTION}
    options |= alone() | {"decode_responses": False, "protocol": options.get("protocol") or 2}
    if credentials is not None:
        options = {name: value for name, value in options.items() if name not in ("username", "password")}
        options["credential_provider"] = Asked(credentials)
    # None would wait for ever, and block the exit.
    options["socket_timeout"] = options.get("socket_timeout") or SOCKET_TIMEOUT_S
    return Dialer(kind, options, over_tls=isinstance(kind, type) and issubclass(kind, redis.SSLConnection))
