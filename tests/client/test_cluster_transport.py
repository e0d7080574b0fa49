"""To a cluster of real nodes: every key is found, whoever holds it, and whatever becomes of that node."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from conftest import PATIENCE_S
from redis.crc import key_slot
from topologies import Cluster as Nodes

from joinback._delivery.transport import transport_of, trouble_with
from joinback._delivery.transport.cluster import Cluster
from joinback._delivery.transport.slots import SlotMap
from joinback.redis_errors import BrokenReply, NodeDown, RedisRefusal
from joinback.redis_url import redis_url as read_url

KEYS = [f"{{{name}}}:a".encode() for name in ("loans", "ads", "fraud", "churn", "a/1", "a/2", "a/3", "a/4")]


@contextmanager
def connected(url: str) -> Iterator[Cluster]:
    transport = to(url)
    transport.connect()
    try:
        yield transport
    finally:
        transport.disconnect()


def to(url: str) -> Cluster:
    transport = transport_of(read_url(url, "URL"))
    assert isinstance(transport, Cluster)
    return transport


def write(transport: Cluster, key: bytes, value: bytes = b"1") -> None:
    """As a batch is: a script with two keys of one slot."""
    script = b"redis.call('SET', KEYS[1], ARGV[1], 'EX', 99) redis.call('SET', KEYS[2], ARGV[1], 'EX', 99)"
    transport.send([b"EVAL", script, b"2", key, key + b"b", value], key)


def read(transport: Cluster, key: bytes) -> Any:
    return transport.send([b"GET", key], key)


def patiently(attempt: Callable[[], object], timeout_s: float = PATIENCE_S) -> list[Exception]:
    """Try as the sender does, until it is done; returns what it met."""
    met: list[Exception] = []
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            attempt()
        except (RedisRefusal, OSError) as error:
            if time.monotonic() > deadline:
                raise
            met.append(error)
            time.sleep(0.05)
        else:
            return met


def test_every_slot_is_reached(cluster: Nodes) -> None:
    """Batches of several applications go to the nodes that hold them, from one seed on; so do single keys."""
    with connected(f"redis+cluster://{cluster.nodes[0].address}") as transport:
        servers = set()
        for number, key in enumerate(KEYS):
            write(transport, key, b"%d" % number)
            servers.add(transport.server_of(key))
        assert len(servers) == 3
    with connected(cluster.url) as transport:
        assert [read(transport, key) for key in KEYS] == [b"%d" % n for n in range(len(KEYS))]
        assert trouble_with(to(cluster.url), b"joinback:applications") is None


def test_a_replica_as_seed(cluster: Nodes) -> None:
    """Any node of the cluster tells of all; a seed that is gone is passed over."""
    replica = cluster.replica_of(cluster.primaries[0])
    with connected(f"redis+cluster://127.0.0.1:1,{replica.address}") as transport:
        for key in KEYS:
            write(transport, key)
        assert transport.connected
    assert trouble_with(to("redis+cluster://127.0.0.1:1,127.0.0.1:2"), KEYS[0]) is not None


def test_who_may_not_ask_for_the_map_is_led_by_moved(cluster: Nodes) -> None:
    """A user without CLUSTER is sent from node to node, key by key, and then knows."""
    for node in cluster.nodes:
        node.ask("ACL", "SETUSER", "poor", "reset", "on", ">p", "~*", "+@all", "-cluster", "-info")
    try:
        with connected(cluster.url.replace("://", "://poor:p@")) as transport:
            for key in KEYS:
                write(transport, key)
            changes = transport.changes
            for key in KEYS:
                write(transport, key)
            assert transport.changes == changes
    finally:
        for node in cluster.nodes:
            node.ask("ACL", "DELUSER", "poor")


def test_a_slot_that_was_moved_at_once(cluster: Nodes) -> None:
    """One MOVED later the batch is where the slot is now, and the change of servers is told."""
    key = KEYS[0]
    source = cluster.primary_of("{loans}")
    to_node = next(node for node in cluster.primaries if node is not source)
    with connected(cluster.url) as transport:
        write(transport, key)
        before, changes = transport.server_of(key), transport.changes
        cluster.move(key_slot(key), to_node)
        patiently(lambda: write(transport, key, b"2"))
        assert transport.changes > changes
        assert transport.server_of(key) != before
        assert to_node.ask("GET", key.decode()) == "2"
        cluster.move(key_slot(key), source)


def test_a_slot_on_its_way_the_old_way(cluster: Nodes) -> None:
    """Keys that went ahead are found by ASK; a batch over both halves waits for TRYAGAIN to pass; none is lost."""
    keys = [b"{loans}:%d" % n for n in range(20)]
    source = cluster.primary_of("{loans}")
    to_node = next(node for node in cluster.primaries if node is not source)
    with connected(cluster.url) as transport:
        for key in keys:
            transport.send([b"SET", key, b"1", b"EX", b"99"], key)
        met: list[Exception] = []
        with cluster.moving(key_slot(keys[0]), to_node):
            assert [read(transport, key) for key in keys] == [b"1"] * len(keys)
            for key in keys:
                try:
                    write(transport, key, b"2")
                except RedisRefusal as refusal:
                    met.append(refusal)
        assert {str(refusal) for refusal in met} <= {"TRYAGAIN"}
        for key in keys:
            patiently(lambda key=key: write(transport, key, b"3"))  # type: ignore[misc]
        assert [read(transport, key) for key in keys] == [b"3"] * len(keys)
    with cluster.moving(key_slot(keys[0]), source):
        pass


def test_a_killed_primary(cluster: Nodes) -> None:
    """The other nodes' keys are written meanwhile; then the promoted replica is found, and is another server."""
    killed = cluster.primary_of("{loans}")
    others = [key for key in KEYS if cluster.primary_of(key.decode()) is not killed]
    with connected(cluster.url) as transport:
        for key in KEYS:
            write(transport, key)
        before = transport.server_of(KEYS[0])
        killed.kill()
        with pytest.raises(NodeDown, match="does not answer"):
            write(transport, KEYS[0])
        met = patiently(lambda: [write(transport, key) for key in others])
        assert not [error for error in met if isinstance(error, NodeDown)]
        patiently(lambda: write(transport, KEYS[0], b"2"))
        assert transport.server_of(KEYS[0]) != before
        assert read(transport, KEYS[0]) == b"2"


def test_a_planned_failover(cluster: Nodes) -> None:
    """A primary that hands over to its replica sends us there, and nothing has to be connected anew by us."""
    primary = cluster.primary_of("{loans}")
    with connected(cluster.url) as transport:
        write(transport, KEYS[0])
        before = transport.server_of(KEYS[0])
        cluster.fail_over(primary)
        patiently(lambda: write(transport, KEYS[0], b"2"))
        assert transport.server_of(KEYS[0]) != before


def test_a_server_that_went_unseen(cluster: Nodes) -> None:
    """`look` notices a node that hung up while nothing was sent to it; asked closely, also one that hangs."""
    with connected(f"{cluster.url}?socket_timeout=0.5") as transport:
        for key in KEYS:
            write(transport, key)
        transport.look(closely=True)
        changes = transport.changes
        hung = cluster.primary_of("{loans}")
        hung.hang()
        transport.look()
        assert transport.changes == changes
        transport.look(closely=True)
        assert transport.changes > changes
        hung.resume()
        patiently(lambda: write(transport, KEYS[0]))
        changes = transport.changes
        cluster.primary_of("{loans}").kill()
        transport.look()
        assert transport.changes > changes
        patiently(lambda: write(transport, KEYS[0]))


def test_one_server_is_no_cluster(redis_url: str) -> None:
    """The cluster's scheme before a single server names the one to write."""
    said = trouble_with(to(redis_url.replace("redis://", "redis+cluster://")), KEYS[0])
    assert said is not None
    assert "is not a node of a Redis Cluster; write redis:// instead" in said


def test_hosts_that_are_not_told() -> None:
    """A node that does not say its host is where it was asked; what cannot be read is no map."""
    slots = SlotMap()
    assert slots.read([[0, 9, [None, 1, b"id"], [b"r", 3, b"id"]], [10, 19, [b"", 2]], [20, 29, [b"h", 3]]], "asked")
    assert [slots.address_of(slot) for slot in (0, 10, 29, 30)] == [("asked", 1), ("asked", 2), ("h", 3), None]
    assert ("r", 3) in slots.nodes
    assert ("r", 3) in slots.nodes - slots.primaries
    slots.moved(0, ("x", 4))
    assert slots.address_of(0) == ("x", 4)
    for reply in (None, 7, [[1]], [[0, 1, []]], [[0, 1, [b"h", b"port"]]], [[0, 1, [7, 8]]], [b"x"]):
        with pytest.raises(BrokenReply):
            slots.read(reply, "asked")
