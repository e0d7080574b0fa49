"""Real Valkeys in the shapes a company runs: a cluster of three primaries with a replica each, and a primary with two
replicas behind three Sentinels; and what happens to them: a killed or hung node, a failover, a slot that moves.

All on loopback. Every wait is on a condition, and bounded. `cluster` and `sentinels` serve all tests of a process, each
of which finds them whole and empty.
"""

import ssl
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from conftest import PATIENCE_S, free_port, wait_for
from nodes import Node
from proxy import Proxy
from redis import Redis
from redis.cluster import ClusterNode, RedisCluster
from redis.crc import key_slot
from redis.exceptions import ResponseError

NODE_TIMEOUT_MS = 2_000
"""Until a node counts as gone. Short, so that a failover takes seconds; a busy machine may stop a process for one."""
SLOTS = 16_384
SHARDS = 3
SENTINELS = 3
NAME = "joinback"
"""What the Sentinels call the primary."""
_COMMON = (
    "save ''",
    "appendonly no",
    # Else a server that followed another keeps what it got on disk, and a restart brings it back.
    "rdb-del-sync-files yes",
    "repl-diskless-sync-delay 0",
    "repl-ping-replica-period 1",
)


class _Peer(NamedTuple):
    """What one node tells of another, or of itself."""

    id: str
    flags: str
    epoch: int
    slots: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, line: str) -> "_Peer":
        """Read a line of `CLUSTER NODES`. A slot on its way, in brackets, is of the one it leaves."""
        parts = line.split()
        spans = [part.partition("-") for part in parts[8:] if not part.startswith("[")]
        slots = tuple((int(first), int(last or first)) for first, _, last in spans)
        return cls(parts[0], parts[2], int(parts[6]), slots)

    def holds(self, slot: int) -> bool:
        return any(first <= slot <= last for first, last in self.slots)


class Cluster:
    """Three primaries, each with `replicas`. With `proxied` clients reach each node through a proxy of its own, which
    `node.proxy.hang()` silences; with `tls` these proxies speak TLS, which the wheel's server cannot.
    """

    def __init__(
        self,
        stack: ExitStack,
        *,
        replicas: int = 1,
        proxied: bool = False,
        tls: ssl.SSLContext | None = None,
        password: str | None = None,
    ) -> None:
        self._scheme = "redis" if tls is None else "rediss"
        self._password = password
        self.nodes = _nodes(stack, SHARDS * (1 + replicas), password)
        for node in self.nodes:
            lines = [f"primaryauth {password}"] if password else []
            if proxied or tls is not None:
                node.proxy = stack.enter_context(Proxy(node.port, tls))
                # The nodes speak to each other without it.
                lines.append(f"cluster-announce-client-port {node.proxy.port}")
            bus_port = free_port()
            node.configure(
                *_COMMON,
                *lines,
                "cluster-enabled yes",
                # Else the port and ten thousand, which somebody else may have.
                f"cluster-port {bus_port}",
                f"cluster-node-timeout {NODE_TIMEOUT_MS}",
                # Also a replica that lost its link some time ago takes over.
                "cluster-replica-validity-factor 0",
                "cluster-allow-replica-migration no",
            )
            node.start()
            node.id = node.ask("CLUSTER", "MYID")
            self.nodes[0].ask("CLUSTER", "MEET", "127.0.0.1", node.port, bus_port)
        self._share_out()
        for node in self.nodes:
            self._name_proxy(node)
        self.heal()

    @property
    def url(self) -> str:
        """Names two nodes; the others are found."""
        login = f":{self._password}@" if self._password else ""
        return f"{self._scheme}+cluster://{login}{','.join(node.address for node in self.nodes[:2])}"

    @property
    def primaries(self) -> list[Node]:
        """Return the nodes that hold slots."""
        return [node for node, me in self._selves() if any(self.holder(first) is node for first, _ in me.slots)]

    def holder(self, slot: int) -> Node:
        """Return the node that serves this slot: of two that say so, the one of the newer epoch."""
        claims = [(me.epoch, node) for node, me in self._selves() if me.holds(slot)]
        return max(claims, key=lambda claim: claim[0])[1]

    def primary_of(self, key: str) -> Node:
        """Return the node that serves this key."""
        return self.holder(key_slot(key.encode()))

    def replica_of(self, primary: Node) -> Node:
        return next(node for node in self.nodes if node.follows(primary))

    def client(self) -> RedisCluster:
        """Return a connection that finds its way by itself."""
        nodes = [ClusterNode("127.0.0.1", node.port) for node in self.nodes if node.lives]
        return RedisCluster(startup_nodes=nodes, password=self._password, socket_timeout=5.0)

    def keys(self, pattern: str = "joinback:*") -> list[str]:
        return [key for node in self.primaries for key in node.scan(pattern)]

    def has_promoted(self, gone: Node) -> bool:
        """Whether another has the slots of a node that was killed or hung, and every living node serves them."""
        living = [node for node in self.nodes if node.lives and node is not gone]
        return all(
            _serves(node) and not any(peer.slots for peer in _peers(node) if peer.id == gone.id) for node in living
        )

    def wait_promoted(self, gone: Node) -> None:
        wait_for(lambda: self.has_promoted(gone), PATIENCE_S)

    def fail_over(self, primary: Node) -> Node:
        """Let its replica take over, as for an upgrade: nothing is lost. Returns the new primary."""
        replica = self.replica_of(primary)
        replica.ask("CLUSTER", "FAILOVER")
        self.wait_promoted(primary)
        wait_for(lambda: primary.follows(replica), PATIENCE_S)
        return replica

    @contextmanager
    def moving(self, slot: int, to: Node) -> Iterator[None]:
        """Move a slot the old way: within the block it is on its way, half its keys here, half there."""
        source = self.holder(slot)
        to.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", to.id)
        keys = source.ask("CLUSTER", "GETKEYSINSLOT", slot, 1_000_000)
        self._migrate(source, to, keys[: len(keys) // 2])
        try:
            yield
        finally:
            while keys := source.ask("CLUSTER", "GETKEYSINSLOT", slot, 1_000):
                self._migrate(source, to, keys)
            for node in (to, source):
                node.ask("CLUSTER", "SETSLOT", slot, "NODE", to.id)
            wait_for(lambda: self._is_known(slot, to), PATIENCE_S)

    def move(self, slot: int, to: Node) -> None:
        """Move a slot by Valkey 9's own migration, which clients notice as one MOVED."""
        self.holder(slot).ask("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", to.id)
        wait_for(lambda: self._is_known(slot, to), PATIENCE_S)

    def heal(self) -> None:
        """Bring every node back, and wait until all see one whole cluster, and the replicas follow."""
        for node in self.nodes:
            node.restore()
        wait_for(self._is_whole, PATIENCE_S)

    def empty(self) -> None:
        for node in self.primaries:
            node.ask("FLUSHALL")
            node.ask("CONFIG", "SET", "maxmemory", 0)

    def _name_proxy(self, node: Node) -> None:
        """Let a node name its proxy when it is asked for itself: the port of its file it tells to other nodes alone."""
        if node.proxy is not None:
            # Setting what is set already does nothing.
            for port in (0, node.proxy.port):
                node.ask("CONFIG", "SET", "cluster-announce-client-port", port)
            served = [tuple(server[:2]) for _, _, *servers in node.ask("CLUSTER", "SLOTS") for server in servers]
            assert ("127.0.0.1", node.port) not in served, served

    def _share_out(self) -> None:
        """Each of the first three nodes takes a third of the slots; the others follow them in turn."""
        ids = {node.id for node in self.nodes}
        # A peer has a name of its own making until they have shaken hands.
        wait_for(lambda: all({peer.id for peer in _peers(node)} == ids for node in self.nodes), PATIENCE_S)
        bounds = [SLOTS * n // SHARDS for n in range(SHARDS + 1)]
        for number, node in enumerate(self.nodes):
            if number < SHARDS:
                node.ask("CLUSTER", "ADDSLOTSRANGE", bounds[number], bounds[number + 1] - 1)
            else:
                node.ask("CLUSTER", "REPLICATE", self.nodes[number % SHARDS].id)

    def _is_whole(self) -> bool:
        primaries = self.primaries
        replicas = [node for node in self.nodes if node not in primaries]
        return (
            len(primaries) == SHARDS
            and all(_serves(node) for node in self.nodes)
            and len({frozenset((p.id, p.slots) for p in _peers(node)) for node in self.nodes}) == 1
            and all(any(node.follows(primary) for primary in primaries) for node in replicas)
        )

    def _is_known(self, slot: int, holder: Node) -> bool:
        """Whether every living node knows who holds the slot."""
        living = [node for node in self.nodes if node.lives]
        return all(peer.holds(slot) for node in living for peer in _peers(node) if peer.id == holder.id)

    def _selves(self) -> list[tuple[Node, _Peer]]:
        """Return what each living node says of itself."""
        living = [node for node in self.nodes if node.lives]
        return [(node, next(peer for peer in _peers(node) if "myself" in peer.flags)) for node in living]

    def _migrate(self, source: Node, to: Node, keys: Sequence[str]) -> None:
        if keys:
            login = ("AUTH", self._password) if self._password else ()
            source.ask("MIGRATE", "127.0.0.1", to.port, "", 0, 5_000, *login, "KEYS", *keys)


def _peers(node: Node) -> list[_Peer]:
    return [_Peer.of(line) for line in str(node.ask("CLUSTER", "NODES")).splitlines()]


def _holds_any(node: Node, *, told_by: Node) -> bool:
    return any(peer.slots for peer in _peers(told_by) if peer.id == node.id)


def _serves(node: Node) -> bool:
    return "cluster_state:ok" in str(node.ask("CLUSTER", "INFO"))


def _nodes(stack: ExitStack, count: int, password: str | None, *, sentinel: bool = False) -> list[Node]:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="joinback-nodes-")))
    nodes = [Node(folder, password=password, sentinel=sentinel) for _ in range(count)]
    for node in nodes:
        stack.callback(node.kill)
    return nodes


class Sentinels:
    """A primary with two replicas, watched by three Sentinels."""

    def __init__(self, stack: ExitStack, *, password: str | None = None, sentinel_password: str | None = None) -> None:
        self._password = password
        self._sentinel_password = sentinel_password
        self.nodes = _nodes(stack, 3, password)
        first, *others = self.nodes
        for node in self.nodes:
            follows = [f"replicaof 127.0.0.1 {first.port}"] if node in others else []
            node.configure(*_COMMON, *follows, *([f"primaryauth {password}"] if password else []))
            node.start()
        self.sentinels = _nodes(stack, SENTINELS, sentinel_password, sentinel=True)
        for sentinel in self.sentinels:
            sentinel.configure(
                f"sentinel monitor {NAME} 127.0.0.1 {first.port} 2",
                f"sentinel down-after-milliseconds {NAME} {NODE_TIMEOUT_MS}",
                # Twice as long until the next failover may begin.
                f"sentinel failover-timeout {NAME} {NODE_TIMEOUT_MS}",
                *([f"sentinel auth-pass {NAME} {password}"] if password else []),
                *([f"sentinel sentinel-pass {sentinel_password}"] if sentinel_password else []),
            )
            sentinel.start()
        self.heal()

    @property
    def url(self) -> str:
        login = f":{self._password}@" if self._password else ""
        return f"redis+sentinel://{login}{','.join(node.address for node in self.sentinels)}/{NAME}/0"

    @property
    def primary(self) -> Node:
        """Return the one whom most living Sentinels name."""
        named = [
            sentinel.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME) for sentinel in self.sentinels if sentinel.lives
        ]
        ports = [int(address[1]) for address in named]
        return next(node for node in self.nodes if node.port == max(ports, key=ports.count))

    @property
    def replicas(self) -> list[Node]:
        return [node for node in self.nodes if node.follows(self.primary)]

    def client(self) -> Redis:
        """Return a connection to the present primary, whoever it will be later."""
        return self.primary.redis()

    def has_promoted(self, gone: Node) -> bool:
        """Whether every living Sentinel names another, and that one is a primary."""
        return len(set(self._named())) == 1 and self.primary is not gone and self.primary.is_primary()

    def wait_promoted(self, gone: Node) -> None:
        wait_for(lambda: self.has_promoted(gone), PATIENCE_S)

    def order_failover(self) -> None:
        """Tell the Sentinels to let a replica take over; they begin."""
        # Refused for some seconds after another one.
        wait_for(lambda: _may(lambda: self.sentinels[0].ask("SENTINEL", "FAILOVER", NAME)), PATIENCE_S)

    def fail_over(self) -> Node:
        """Let a replica take over while the primary lives. Returns the new one.

        The old one goes on taking writes until the Sentinels demote it, some ten seconds later; those are lost.
        """
        old = self.primary
        self.order_failover()
        self.wait_promoted(old)
        wait_for(lambda: old.follows(self.primary), PATIENCE_S)
        return self.primary

    def heal(self) -> None:
        """Bring everyone back, and wait until two replicas follow, and each Sentinel knows the others and them."""
        for node in (*self.nodes, *self.sentinels):
            node.restore()
        for node in self.nodes:
            if node is not self.primary and node.is_primary():
                # The Sentinels tell it too, but ten seconds later.
                node.ask("REPLICAOF", "127.0.0.1", self.primary.port)
        wait_for(self._is_whole, PATIENCE_S)

    def empty(self) -> None:
        self.primary.ask("FLUSHALL")
        self.primary.ask("CONFIG", "SET", "maxmemory", 0)

    def _named(self) -> list[int]:
        living = [sentinel for sentinel in self.sentinels if sentinel.lives]
        return [int(sentinel.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME)[1]) for sentinel in living]

    def _is_whole(self) -> bool:
        about = [_pairs(sentinel.ask("SENTINEL", "MASTER", NAME)) for sentinel in self.sentinels]
        return (
            len({known["port"] for known in about}) == 1
            and all(known["num-other-sentinels"] == str(SENTINELS - 1) for known in about)
            and all(known["num-slaves"] == "2" and known["flags"] == "master" for known in about)
            and self.primary.is_primary()
            and len(self.replicas) == 2
        )


@pytest.fixture(scope="session")
def _cluster() -> Iterator[Cluster]:
    with ExitStack() as stack:
        yield Cluster(stack)


@pytest.fixture
def cluster(_cluster: Cluster) -> Iterator[Cluster]:
    """A cluster, whole and empty. Fails the test if a key of ours is left without a TTL."""
    _cluster.heal()
    _cluster.empty()
    yield _cluster
    _cluster.heal()
    immortal = [key for node in _cluster.primaries for key in node.scan("joinback:*") if node.ask("TTL", key) == -1]
    assert not immortal, f"keys without a TTL: {immortal}"


@pytest.fixture(scope="session")
def _sentinels() -> Iterator[Sentinels]:
    with ExitStack() as stack:
        yield Sentinels(stack)


@pytest.fixture
def sentinels(_sentinels: Sentinels) -> Iterator[Sentinels]:
    """A primary behind Sentinels, all of them well, and empty. Fails the test if a key of ours has no TTL."""
    _sentinels.heal()
    _sentinels.empty()
    yield _sentinels
    _sentinels.heal()
    node = _sentinels.primary
    immortal = [key for key in node.scan("joinback:*") if node.ask("TTL", key) == -1]
    assert not immortal, f"keys without a TTL: {immortal}"


def _pairs(flat: Sequence[str]) -> dict[str, str]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _may(command: Callable[[], object]) -> bool:
    """Run it; False if the server does not let us yet."""
    try:
        command()
    except ResponseError:
        return False
    return True
