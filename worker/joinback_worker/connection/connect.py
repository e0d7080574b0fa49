"""The worker's connection to the Redis that the URL names: one server, a cluster, or the primary that Sentinels name.

All three are used alike. A command touches one key, or the keys of one tag, so a cluster finds the server for it. The
functions that ask for many keys, or ask every server, are here.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Self, cast

from redis.asyncio import Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.connection import ConnectionPool
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisClusterException, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from joinback.credentials import Credentials
from joinback.memory import address_of
from joinback.redis_url import RedisUrl, connection_options, redis_url, sentinel_options
from joinback.settings import Settings

from .hashes import Buffer
from .login import Login, credentials_of
from .packing import OfSentinels, OfSentinelsTls, Tcp, Tls, Unix

SOCKET_TIMEOUT_S = 3.0
"""How long to wait for an answer: longer than any script takes, and short enough to obey SIGTERM if Redis hangs."""
HEALTH_CHECK_S = 15
"""A connection that was idle for so long is checked before use: NATs forget idle connections after a longer time."""
AWAY = (RedisConnectionError, RedisTimeoutError, OSError)
"""The errors of a Redis that did not answer; any other error is an answer."""
COMMANDS_AT_ONCE = 1_000
"""The most commands of one round trip: they take some milliseconds of Redis's time."""


def connect(settings: Settings) -> Redis:
    """Return a connection to the buffer; it connects on first use.

    Raises ConfigurationError for a wrong URL, or for a JOINBACK_REDIS_CREDENTIALS that cannot be loaded.
    """
    return open_redis(redis_url(settings.redis_url, "JOINBACK_REDIS_URL"), credentials_of(settings))


def open_redis(url: RedisUrl, credentials: Credentials | None = None) -> Redis:
    """Return a connection to this Redis; it connects on first use.

    `credentials` are asked at each login, instead of the login in the URL. A RedisCluster is typed as a Redis here:
    the methods that we use, `execute_command` and `aclose`, are alike.
    """
    # No retries by redis-py: it would run a slow script a second time, and the next tick tries again anyway.
    options = connection_options(url, SOCKET_TIMEOUT_S, HEALTH_CHECK_S) | {"retry": Retry(NoBackoff(), 0)}
    # The Redis in this process's memory needs no login.
    if credentials is not None and url.kind != "memory":
        options |= {"username": None, "password": None, "credential_provider": Login(credentials)}
    if url.kind == "cluster":
        return cast(Redis, _Cluster(url, options))
    if url.kind == "sentinel":
        options["ssl"] = url.tls is not None
        theirs = sentinel_options(url, SOCKET_TIMEOUT_S) | {"ssl": url.tls is not None}
        options["connection_class"] = OfSentinels if url.tls is None else OfSentinelsTls
        primary: Redis = Sentinel(url.nodes, sentinel_kwargs=theirs).master_for(url.service or "", _Primary, **options)
        return primary
    if url.path is not None:
        return Buffer.from_pool(ConnectionPool(Unix, **options))
    host, port = address_of(url.service or "") if url.kind == "memory" else url.nodes[0]
    return Buffer.from_pool(ConnectionPool(Tcp if url.tls is None else Tls, host=host, port=port, **options))


class _Primary(Buffer):
    """The primary that Sentinels name. `aclose` closes the connections to the Sentinels too."""

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        await super().aclose(close_connection_pool)
        assert isinstance(self.connection_pool, SentinelConnectionPool)
        for sentinel in self.connection_pool.sentinel_manager.sentinels:
            await sentinel.aclose()


class _Cluster(RedisCluster):
    """redis-py's cluster, with the corrections that a process needs which runs for months."""

    connection_pool: Any = None
    """Not used: each node has its own pool. Only the type of Redis demands the attribute."""

    def __init__(self, url: RedisUrl, options: dict[str, Any]) -> None:
        # A cluster has one database, and redis-py refuses the option.
        own = {name: value for name, value in options.items() if name != "db"}
        self._named = url.nodes
        self._former: list[ClusterNode] = []
        super().__init__(
            startup_nodes=[ClusterNode(host, port) for host, port in url.nodes],
            ssl=url.tls is not None,
            # One retry: after a failover, or on a connection that a NAT has forgotten.
            cluster_error_retry_attempts=1,
            # Slots that no node serves must not stop the drain of the others.
            require_full_coverage=False,
            **own,
        )
        # Its constructor takes no class of connections. Each node that it learns of gets this one.
        self.connection_kwargs["connection_class"] = Tcp if url.tls is None else Tls

    async def initialize(self) -> Self:
        """Learn which node serves which slots, from the nodes last seen, or from those that the URL names."""
        # redis-py forgets each node that failed. After an outage of all nodes it would know none, for ever.
        for host, port in self._named:
            node = ClusterNode(host, port, **self.connection_kwargs)
            self.nodes_manager.startup_nodes.setdefault(node.name, node)
        before = list(self.nodes_manager.nodes_cache.values())
        is_to_learn = self._initialize
        try:
            await super().initialize()
        except RedisClusterException as error:
            raise _known(error) from None
        if is_to_learn:
            self._former = before
        return self

    async def aclose(self) -> None:
        """Close every connection, also of nodes whose slots were never learned."""
        await super().aclose()
        manager = self.nodes_manager
        # If a command was under way while the nodes were learned anew, its connection belongs to a former node.
        nodes = (*manager.nodes_cache.values(), *manager.startup_nodes.values(), *self._former)
        await asyncio.gather(*(node.disconnect() for node in nodes))

    async def execute_command(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command on the node of its key. Raises RedisError, also where redis-py raises another type."""
        try:
            return await super().execute_command(*args, **kwargs)
        except RedisClusterException as error:
            raise _known(error) from None


def _known(error: RedisClusterException) -> RedisError:
    """Return the RedisError behind redis-py's RedisClusterException, which is not a RedisError and hides the reason."""
    cause = error.__cause__
    return cause if isinstance(cause, RedisError) else RedisConnectionError(str(error))


async def ask_each(redis: Redis, commands: Sequence[tuple[str, str]]) -> list[Any]:
    """Return the answer to each (command, key), in order. An error is returned in the place of its answer.

    If a server of a cluster is away, only its own keys have an error, and waiting for it takes one time-out. Raises
    redis-py's errors for a single server that does not answer.
    """
    if isinstance(redis, RedisCluster):
        return await _ask_servers(redis, commands)
    answers: list[Any] = []
    for start in range(0, len(commands), COMMANDS_AT_ONCE):
        async with redis.pipeline(transaction=False) as pipeline:
            for command in commands[start : start + COMMANDS_AT_ONCE]:
                pipeline.execute_command(*command)
            answers += await pipeline.execute(raise_on_error=False)
    return answers


async def _ask_servers(redis: RedisCluster, commands: Sequence[tuple[str, str]]) -> list[Any]:
    """Return what `ask_each` does: one command after the other, on all servers of the cluster side by side.

    redis-py 5's own pipeline fails if a slot has moved.
    """
    await redis.initialize()
    answers: list[Any] = [None] * len(commands)
    by_server: dict[str, list[int]] = {}
    for index, (_, key) in enumerate(commands):
        holders = redis.nodes_manager.slots_cache.get(redis.keyslot(key))
        by_server.setdefault(holders[0].name if holders else "", []).append(index)

    async def ask(indexes: Sequence[int]) -> None:
        away: Exception | None = None
        for index in indexes:
            try:
                answers[index] = away or await redis.execute_command(*commands[index])
            except AWAY as error:
                answers[index] = away = error
            except RedisError as error:
                answers[index] = error

    await asyncio.gather(*map(ask, by_server.values()))
    return answers


async def primaries(redis: Redis) -> list[dict[str, ClusterNode]]:
    """Return, for each server that takes writes, the keyword arguments with which `execute_command` reaches it.

    A single server needs none: its dict is empty.
    """
    if not isinstance(redis, RedisCluster):
        return [{}]
    await redis.initialize()
    return [{"target_nodes": node} for node in redis.get_primaries()]


def pattern_of(text: str) -> str:
    """Return the pattern for `scan` that matches exactly this text."""
    return _SPECIAL.sub(r"\\\1", text)


_SPECIAL = re.compile(r"([*?\[\]\\^-])")


async def scan(
    redis: Redis, server: Mapping[str, Any], *, keys_per_step: int, pattern: str = "*"
) -> AsyncIterator[list[bytes]]:
    """Yield the keys of one of `primaries` in lists, one per SCAN. A key may come twice."""
    cursor: Any = 0
    while True:
        command = ("SCAN", cursor, "MATCH", pattern, "COUNT", keys_per_step)
        cursor, keys = await redis.execute_command(*command, **server)
        yield keys
        # For a node of a cluster redis-py returns a dict: the node's name -> cursor.
        if isinstance(cursor, dict):
            (cursor,) = cursor.values()
        if not int(cursor):
            return


async def ask_primaries(redis: Redis, *command: str) -> dict[str, Any]:
    """Return the answer of every server that takes writes, by its address. An error is returned in place of the answer.

    A single server has the address "", and its error is raised.
    """
    answers: dict[str, Any] = {}
    for server in await primaries(redis):
        name = server["target_nodes"].name if server else ""
        try:
            answers[name] = await redis.execute_command(*command, **server)
        except (RedisError, OSError) as error:
            if not server:
                raise
            answers[name] = error
    return answers
