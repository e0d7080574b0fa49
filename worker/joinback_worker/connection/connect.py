"""The worker's connection to whatever Redis the URL names: one server, a cluster, the primary that Sentinels name.

All three are used alike: one command at a time touches one key, or the keys of one tag, so it finds its server by
itself. What asks many keys, or every server, is here.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Self, cast

from redis.asyncio import Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.connection import Connection, ConnectionPool, SSLConnection, UnixDomainSocketConnection
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

SOCKET_TIMEOUT_S = 3.0
"""Beyond any chunk's script; on a hung Redis the worker must still obey SIGTERM."""
HEALTH_CHECK_S = 15
"""Shorter than any NAT forgets an idle connection."""
AWAY = (RedisConnectionError, RedisTimeoutError, OSError)
"""Redis did not answer; any other error is its answer."""
COMMANDS_AT_ONCE = 1_000
"""Of one round trip: some milliseconds of Redis's time."""


def connect(settings: Settings) -> Redis:
    """Return the buffer; it connects on first use. Raises ConfigurationError for a wrong URL, or wrong credentials."""
    return open_redis(redis_url(settings.redis_url, "JOINBACK_REDIS_URL"), credentials_of(settings))


def open_redis(url: RedisUrl, credentials: Credentials | None = None) -> Redis:
    """Return a connection to this Redis, of whatever shape; it connects on first use.

    `credentials` are asked at each login, in place of what the URL says.
    A RedisCluster passes for a Redis here: what is used of it, `execute_command` and `aclose`, is alike.
    """
    # No retries of redis-py's own: it would run a script again that took too long, and the next tick comes anyway.
    options = connection_options(url, SOCKET_TIMEOUT_S, HEALTH_CHECK_S) | {"retry": Retry(NoBackoff(), 0)}
    # Who is in this process needs no login to its memory.
    if credentials is not None and url.kind != "memory":
        options |= {"username": None, "password": None, "credential_provider": Login(credentials)}
    if url.kind == "cluster":
        return cast(Redis, _Cluster(url, options))
    if url.kind == "sentinel":
        options["ssl"] = url.tls is not None
        theirs = sentinel_options(url, SOCKET_TIMEOUT_S) | {"ssl": url.tls is not None}
        primary: Redis = Sentinel(url.nodes, sentinel_kwargs=theirs).master_for(url.service or "", _Primary, **options)
        return primary
    if url.path is not None:
        return Buffer.from_pool(ConnectionPool(UnixDomainSocketConnection, **options))
    host, port = address_of(url.service or "") if url.kind == "memory" else url.nodes[0]
    kind = Connection if url.tls is None else SSLConnection
    return Buffer.from_pool(ConnectionPool(kind, host=host, port=port, **options))


class _Primary(Buffer):
    """The primary that Sentinels name; it ends with the connections to them."""

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        await super().aclose(close_connection_pool)
        assert isinstance(self.connection_pool, SentinelConnectionPool)
        for sentinel in self.connection_pool.sentinel_manager.sentinels:
            await sentinel.aclose()


class _Cluster(RedisCluster):
    """redis-py's cluster, mended where a process that lives for months needs it."""

    connection_pool: Any = None
    """Each node has its own; the types alone want one."""

    def __init__(self, url: RedisUrl, options: dict[str, Any]) -> None:
        # A cluster has one database, and redis-py refuses to be told.
        own = {name: value for name, value in options.items() if name != "db"}
        self._named = url.nodes
        self._former: list[ClusterNode] = []
        super().__init__(
            startup_nodes=[ClusterNode(host, port) for host, port in url.nodes],
            ssl=url.tls is not None,
            # Once more after a failover, or on a connection that an idle NAT forgot.
            cluster_error_retry_attempts=1,
            # What is not served must not keep the rest from being drained.
            require_full_coverage=False,
            **own,
        )

    async def initialize(self) -> Self:
        """Learn who serves which slots, from the nodes last seen, or from those that the URL names."""
        # redis-py forgets each node that failed: after an outage of all it would know none, for ever.
        for host, port in self._named:
            node = ClusterNode(host, port, **self.connection_kwargs)
            self.nodes_manager.startup_nodes.setdefault(node.name, node)
        before = list(self.nodes_manager.nodes_cache.values())
        learns = self._initialize
        try:
            await super().initialize()
        except RedisClusterException as error:
            raise _known(error) from None
        if learns:
            self._former = before
        return self

    async def aclose(self) -> None:
        """Close every connection, also where it was not learned who serves what."""
        await super().aclose()
        manager = self.nodes_manager
        # A command that was under way while the nodes were learned anew left its connection at a former one.
        nodes = (*manager.nodes_cache.values(), *manager.startup_nodes.values(), *self._former)
        await asyncio.gather(*(node.disconnect() for node in nodes))

    async def execute_command(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command where its key is. Raises RedisError, also where redis-py's cluster has another kind."""
        try:
            return await super().execute_command(*args, **kwargs)
        except RedisClusterException as error:
            raise _known(error) from None


def _known(error: RedisClusterException) -> RedisError:
    """Return why a cluster could not be asked: this kind of redis-py's is no RedisError, and hides the reason."""
    cause = error.__cause__
    return cause if isinstance(cause, RedisError) else RedisConnectionError(str(error))


async def ask_each(redis: Redis, commands: Sequence[tuple[str, str]]) -> list[Any]:
    """Return the answer to each (command, key), in order: an exception where there is none.

    A server of a cluster that is away costs the answers for its own keys, and the time of one command.
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
    """One command after the other, all servers at once. redis-py 5's own pipeline fails where a slot has moved."""
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
    """Return, for each server that takes writes, what `execute_command` needs to reach it; of one alone nothing."""
    if not isinstance(redis, RedisCluster):
        return [{}]
    await redis.initialize()
    return [{"target_nodes": node} for node in redis.get_primaries()]


def pattern_of(text: str) -> str:
    """Return what `scan` takes for exactly this text."""
    return _SPECIAL.sub(r"\\\1", text)


_SPECIAL = re.compile(r"([*?\[\]\\^-])")


async def scan(
    redis: Redis, server: Mapping[str, Any], *, keys_per_step: int, pattern: str = "*"
) -> AsyncIterator[list[bytes]]:
    """Return the keys of one of `primaries`, step by step; each may come twice."""
    cursor: Any = 0
    while True:
        command = ("SCAN", cursor, "MATCH", pattern, "COUNT", keys_per_step)
        cursor, keys = await redis.execute_command(*command, **server)
        yield keys
        # Of a cluster's node redis-py tells the cursor by the node's name.
        if isinstance(cursor, dict):
            (cursor,) = cursor.values()
        if not int(cursor):
            return


async def ask_primaries(redis: Redis, *command: str) -> dict[str, Any]:
    """Return the answer of every server that takes writes, by its address; an exception of one that is away.

    Of one that is alone the name is empty, and its exception is raised.
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
