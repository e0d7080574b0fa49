"""A client of a cluster, and of a primary behind Sentinels: whatever happens to a node, no event of ours is lost."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest
from conftest import PATIENCE_S
from nodes import Node
from topologies import Cluster, Sentinels

import joinback
from joinback import wire

pytestmark = pytest.mark.heavy

WaitUntil = Callable[..., None]
APPLICATIONS = ("loans", "ads", "fraud", "churn", "basket", "search")


@contextmanager
def client_of(url: str) -> Iterator[joinback.Client]:
    with closing(joinback.Client().init(url)) as client:
        yield client


def log(client: joinback.Client, first: int, last: int, applications: tuple[str, ...] = APPLICATIONS) -> None:
    for n in range(first, last):
        for application in applications:
            client.log_record(application, inputs=n, outputs=n, join_key=f"k{n}")


def records(keys: list[str], application: str) -> int:
    return sum(key.startswith(wire.record_key(wire.tag(application), "")) for key in keys)


def balanced(client: joinback.Client) -> bool:
    stats = client.stats()
    return bool(stats["logged"] == stats["sent"] + stats["buffered"] + sum(stats["dropped"].values()))


def test_every_application_of_a_cluster_is_sent(cluster: Cluster) -> None:
    """Applications on all three primaries, their announcements, and pings: by either node's address."""
    for node in cluster.primaries:
        with client_of(f"redis+cluster://{node.address}") as client:
            log(client, 0, 10)
            assert client.flush(PATIENCE_S)
            assert client.ping()
            assert client.stats()["sent"] == 10 * len(APPLICATIONS)
    keys = cluster.keys()
    assert [records(keys, application) for application in APPLICATIONS] == [10] * len(APPLICATIONS)
    with cluster.client() as direct:
        assert {name.decode() for name in direct.hgetall(wire.APPLICATIONS_KEY)} == set(APPLICATIONS)


def test_shards_spread_over_a_cluster(cluster: Cluster) -> None:
    """An application with shards is written to several nodes, each batch of a tag as one."""
    with cluster.client() as direct:
        direct.hset(wire.APPLICATIONS_KEY, "loans", b'{"shards":8}')
        direct.expire(wire.APPLICATIONS_KEY, 60)
    with client_of(cluster.url) as client:
        log(client, 0, 200, ("loans",))
        assert client.flush(PATIENCE_S)
    holders = [node for node in cluster.primaries if node.scan("joinback:{loans/*}:record:*")]
    assert len(holders) > 1
    assert sum("record" in key for node in holders for key in node.scan("joinback:*")) == 200


def test_a_killed_primary_of_a_cluster(cluster: Cluster) -> None:
    """Under load: others go on meanwhile, and when the replica is promoted everything is there."""
    killed = cluster.primary_of("{loans}")
    others = tuple(name for name in APPLICATIONS if cluster.primary_of(f"{{{name}}}") is not killed)
    with client_of(cluster.url) as client:
        log(client, 0, 100)
        assert client.flush(PATIENCE_S)
        killed.kill()
        log(client, 100, 200)
        log(client, 200, 300)
        assert balanced(client)
        assert client.flush(PATIENCE_S)
        assert client.stats()["sent"] == 300 * len(APPLICATIONS)
    keys = cluster.keys()
    assert others
    assert [records(keys, application) for application in APPLICATIONS] == [300] * len(APPLICATIONS)


def test_others_go_on_while_a_node_is_away(cluster: Cluster, wait_until: WaitUntil) -> None:
    """A node that hangs, with no replica to take over, holds up its own applications alone."""
    holders = {name: cluster.primary_of(f"{{{name}}}") for name in APPLICATIONS}
    hung = next(holder for holder in holders.values() if holder is not cluster.primary_of(wire.APPLICATIONS_KEY))
    replica = cluster.replica_of(hung)
    others = [name for name in APPLICATIONS if holders[name] is not hung]
    for node in cluster.nodes:
        node.ask("CONFIG", "SET", "cluster-require-full-coverage", "no")
    try:
        with client_of(cluster.url) as client:
            log(client, 0, 10)
            assert client.flush(PATIENCE_S)
            replica.hang()
            hung.hang()
            log(client, 10, 20)
            done = 10 * len(APPLICATIONS) + 10 * len(others)
            wait_until(lambda: client.stats()["sent"] >= done)
            assert client.stats()["sent"] == done
            hung.resume()
            replica.resume()
            assert client.flush(PATIENCE_S)
        keys = cluster.keys()
        assert [records(keys, application) for application in APPLICATIONS] == [20] * len(APPLICATIONS)
    finally:
        cluster.heal()
        for node in cluster.nodes:
            node.ask("CONFIG", "SET", "cluster-require-full-coverage", "yes")


def test_others_go_on_while_a_node_is_full(cluster: Cluster, wait_until: WaitUntil) -> None:
    """One node at its maxmemory refuses its own applications' events alone, and they wait."""
    holders = {name: cluster.primary_of(f"{{{name}}}") for name in APPLICATIONS}
    full = next(holder for holder in holders.values() if holder is not cluster.primary_of(wire.APPLICATIONS_KEY))
    others = [name for name in APPLICATIONS if holders[name] is not full]
    with client_of(cluster.url) as client:
        log(client, 0, 10)
        assert client.flush(PATIENCE_S)
        full.ask("CONFIG", "SET", "maxmemory", 1)
        for n in range(10, 30):
            log(client, n, n + 1)
            done = 10 * len(APPLICATIONS) + (n - 9) * len(others)
            wait_until(lambda done=done: client.stats()["sent"] >= done)
        assert client.stats()["sent"] == done
        full.ask("CONFIG", "SET", "maxmemory", 0)
        assert client.flush(PATIENCE_S)
        assert client.stats()["sent"] == 30 * len(APPLICATIONS)


def lose_what_replicas_lack(primary: Node, replicas: list[Node], write: Callable[[], object]) -> None:
    """Write while no replica listens, and cut the power of the primary: what was acknowledged is gone."""
    for replica in replicas:
        replica.hang()
    # Or the rest would wait in its socket.
    primary.ask("CLIENT", "KILL", "TYPE", "replica")
    write()
    primary.kill()
    for replica in replicas:
        replica.resume()


def test_what_a_promoted_replica_of_a_cluster_lacks_is_sent_again(cluster: Cluster) -> None:
    """The node's last seconds are replayed, and its alone, at the next event of anybody."""
    primary = cluster.primary_of("{loans}")
    elsewhere = next(name for name in APPLICATIONS if cluster.primary_of(f"{{{name}}}") is not primary)
    with client_of(cluster.url) as client:
        log(client, 0, 10)
        assert client.flush(PATIENCE_S)

        def write() -> None:
            log(client, 10, 110, ("loans",))
            assert client.flush(PATIENCE_S)

        lose_what_replicas_lack(primary, [cluster.replica_of(primary)], write)
        cluster.wait_promoted(primary)
        assert records(cluster.keys(), "loans") == 10
        log(client, 10, 11, (elsewhere,))
        assert client.flush(PATIENCE_S)
    keys = cluster.keys()
    assert records(keys, "loans") == 110
    assert records(keys, elsewhere) == 11
    with cluster.client() as direct:
        assert direct.hget(wire.stats_key(wire.tag(elsewhere)), "duplicates") is None


def test_a_slot_that_moves_under_load(cluster: Cluster) -> None:
    """The old way and the new one: batches wait, or are led on, and each event is there once."""
    from redis.crc import key_slot

    slot = key_slot(b"{loans}")
    source = cluster.holder(slot)
    to = next(node for node in cluster.primaries if node is not source)
    with client_of(cluster.url) as client:
        log(client, 0, 100, ("loans",))
        assert client.flush(PATIENCE_S)
        with cluster.moving(slot, to):
            log(client, 100, 200, ("loans",))
        log(client, 200, 300, ("loans",))
        assert client.flush(PATIENCE_S)
        cluster.move(slot, source)
        log(client, 300, 400, ("loans",))
        assert client.flush(PATIENCE_S)
        assert client.stats()["dropped"] == dict.fromkeys(client.stats()["dropped"], 0)
    assert records(cluster.keys(), "loans") == 400


def test_a_failover_behind_sentinels(sentinels: Sentinels) -> None:
    """Planned or by a kill: the new primary gets what comes, and what the old one took and did not hand on."""
    with client_of(sentinels.url) as client:
        log(client, 0, 100)
        sentinels.fail_over()
        log(client, 100, 200)
        assert client.flush(PATIENCE_S)
        sentinels.heal()
        primary = sentinels.primary

        def write() -> None:
            log(client, 200, 300)
            assert client.flush(PATIENCE_S)

        lose_what_replicas_lack(primary, sentinels.replicas, write)
        sentinels.wait_promoted(primary)
        assert records(sentinels.primary.scan("joinback:*"), "loans") == 200
        log(client, 300, 301)
        assert client.flush(PATIENCE_S)
        assert balanced(client)
    keys = sentinels.primary.scan("joinback:*")
    assert [records(keys, application) for application in APPLICATIONS] == [301] * len(APPLICATIONS)
