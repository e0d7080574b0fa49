"""The topologies of the tests do what their names say; else every test on them proves nothing."""

import pytest
from topologies import Cluster, Sentinels

pytestmark = pytest.mark.heavy


def test_a_killed_primary_of_a_cluster_is_replaced(cluster: Cluster) -> None:
    """Its replica takes its slots with what it had, and it comes back as a replica of that one."""
    primary = cluster.primary_of("loan_17")
    with cluster.client() as client:
        client.set("loan_17", "kept")
        client.execute_command("WAIT", 1, 5_000, target_nodes=client.get_node("127.0.0.1", primary.port))
    primary.kill()
    cluster.wait_promoted(primary)
    assert cluster.primary_of("loan_17") is not primary
    with cluster.client() as client:
        assert client.get("loan_17") == b"kept"
    cluster.heal()
    assert primary.follows(cluster.primary_of("loan_17"))


def test_a_hung_primary_of_a_cluster_is_replaced(cluster: Cluster) -> None:
    """When it wakes it steps back."""
    primary = cluster.primary_of("loan_17")
    primary.hang()
    cluster.wait_promoted(primary)
    cluster.heal()
    assert primary.follows(cluster.primary_of("loan_17"))


def test_a_slot_moves_in_both_ways(cluster: Cluster) -> None:
    """By hand, key by key, with half of them on either side meanwhile; and whole, by Valkey 9's own migration."""
    with cluster.client() as client:
        for number in range(10):
            client.set(f"{{loans}}:{number}", number)
        slot = client.keyslot("{loans}")
        first = cluster.holder(slot)
        second, third = (node for node in cluster.primaries if node is not first)
        with cluster.moving(slot, second):
            assert first.ask("CLUSTER", "COUNTKEYSINSLOT", slot) == 5
            assert second.ask("CLUSTER", "COUNTKEYSINSLOT", slot) == 5
        assert cluster.holder(slot) is second
        cluster.move(slot, third)
        assert cluster.holder(slot) is third
        assert [int(client.get(f"{{loans}}:{number}")) for number in range(10)] == list(range(10))
        cluster.move(slot, first)


def test_servers_that_were_all_away_come_back_empty(cluster: Cluster) -> None:
    """No server writes to disk, so none brings back what an earlier test left there when it followed another."""
    with cluster.client() as client:
        client.set("before", 1)
    for _ in range(2):  # so that one follows the other first, and leads then
        victim = cluster.primary_of("before")
        victim.kill()
        cluster.wait_promoted(victim)
        cluster.heal()
    cluster.empty()
    for node in cluster.nodes:
        node.kill()
    cluster.heal()
    assert cluster.keys("*") == []


def test_a_killed_primary_behind_sentinels_is_replaced(sentinels: Sentinels) -> None:
    """The Sentinels name another; the old one comes back as a replica."""
    primary = sentinels.primary
    primary.kill()
    sentinels.wait_promoted(primary)
    assert sentinels.primary is not primary
    sentinels.heal()
    assert primary.follows(sentinels.primary)


def test_a_failover_behind_sentinels_demotes_the_primary(sentinels: Sentinels) -> None:
    """It goes on as a replica, which refuses writes."""
    primary = sentinels.primary
    assert sentinels.fail_over() is not primary
    assert primary.follows(sentinels.primary)
