"""The worker on a cluster and behind Sentinels: the commands a user starts, while servers die, hang and move slots."""

import asyncio
import gc
import json
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import msgspec
import pytest
from conftest import PATIENCE_S, Cli, books_of, wait_for
from documents import rights, rights_beside
from events import at
from redis.asyncio.cluster import RedisCluster
from redis.crc import key_slot
from topologies import Cluster, Sentinels

from joinback import wire
from joinback.settings import Settings
from joinback_worker.connection.connect import connect
from joinback_worker.drain.drainer import Drainer, drain_all

APPLICATIONS = ["loans", "ads", "fraud", "churn", "search"]
"""Of three primaries each holds one at least."""


Site = Cluster | Sentinels
Spawn = Callable[..., "subprocess.Popen[str]"]
Wait = Callable[..., None]
WORKER = ("-m", "joinback_worker", "worker")
ARQ = ("-m", "arq", "joinback_worker.main.WorkerSettings")


@pytest.fixture(params=["cluster", "sentinels"])
def site(request: pytest.FixtureRequest) -> Site:
    found: Site = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Of the topology that the test has."""
    name = next(name for name in ("site", "cluster", "sentinels") if name in request.fixturenames)
    url = request.getfixturevalue(name).url
    return Settings(redis_url=url, sink_url=f"sqlite:///{tmp_path}/joinback.db")


def log(site: Site, application: str, *join_keys: str, kind: str = "prediction") -> None:
    """Write events as a client does: by the write script, where the tag is."""
    tag = wire.tag(application)
    body = {"inputs": 1, "outputs": 2} if kind == "prediction" else {"feedback": {"ok": True}}
    event = msgspec.json.encode({"v": 1, "at": at(0), "logged_at": at(0)} | body)
    keys = wire.write_keys(tag, join_keys)
    arguments = wire.write_arguments(tag, 600, [(f"{kind}:e", event) for _ in join_keys])
    with site.client() as client:
        client.hset(wire.APPLICATIONS_KEY, application, '{"shards":1,"sample_rate":1.0}')
        client.expire(wire.APPLICATIONS_KEY, 600)
        client.eval(wire.WRITE_SCRIPT, len(keys), *keys, *arguments)


def rows(settings: Settings) -> dict[str, int]:
    """Return how many rows each application has; none before the worker has made the table."""
    database = sqlite3.connect(settings.sink_url.removeprefix("sqlite:///"))
    with closing(database), suppress(sqlite3.OperationalError):
        return dict(database.execute("SELECT application, count(*) FROM records GROUP BY application"))
    return {}


def test_every_command_works_on_every_topology(site: Site, cli: Cli, settings: Settings) -> None:
    """Applications whose slots are on different nodes are drained by one command, and all that looks can look."""
    for application in APPLICATIONS:
        log(site, application, "k1", "k2")
        log(site, application, "k1", kind="feedback")
    log(site, "loans", "odd", kind="strange")
    drained = cli("drain", "--json")
    assert drained.returncode == 0, drained.stderr
    assert json.loads(drained.stdout)["rows"] == 2 * len(APPLICATIONS)
    assert rows(settings) == dict.fromkeys(APPLICATIONS, 2)
    status = json.loads(cli("status", "--json").stdout)
    assert status["findings"] == []
    assert all(books["difference"] == 0 for books in status["applications"].values())
    assert status["applications"]["ads"]["received"] == 3
    found = json.loads(cli("explain", "ads", "k1", "--json").stdout)
    assert sorted(found["events"]) == ["feedback:e", "prediction:e"]
    assert found["row"]["status"] == "joined"
    letter = json.loads(cli("dead", "list", "loans", "--json").stdout)
    assert letter["reason"] == "undecodable"
    assert cli("dead", "replay", "loans", letter["id"]).stdout == "replayed 1\n"
    assert "undecodable" in cli("dead", "list", "loans").stdout or cli("drain").returncode == 0
    assert cli("dead", "drop", "loans", "--all").returncode == 0


@pytest.mark.heavy
def test_what_an_operator_changes(site: Site, cli: Cli, settings: Settings) -> None:
    """Rights tried, a rate, shards, the sink and what is merged once more: each by its command, on each topology."""
    for application in APPLICATIONS:
        log(site, application, "k1", "k2", "k3")
    checked = cli("doctor")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert cli("drain").returncode == 0
    for application in APPLICATIONS:
        done = cli("requeue", application)
        assert done.stdout.startswith(f"requeued 3 records of {application};"), done.stderr
    assert json.loads(cli("drain", "--json").stdout)["rows"] == 3 * len(APPLICATIONS)
    assert cli("sample-rate", "ads", "0.5").stdout == "ads sample_rate=0.5 before=1\n"
    assert cli("apps", "set", "ads", "--shards", "4").stdout == "ads: shards 4\n"
    assert cli("sample-rate", "ads").stdout == "ads sample_rate=0.5\n"
    ads = next(app for app in json.loads(cli("apps", "--json").stdout) if app["application"] == "ads")
    assert (ads["shards"], ads["former_shards"], ads["records"]) == (4, [1], 3)
    other = f"{settings.sink_url}.other"
    assert cli("sink", "adopt", JOINBACK_SINK_URL=other).returncode == 0
    assert "joinback sink adopt" in cli("drain").stderr
    with site.client() as client:
        assert set(client.hgetall(wire.SINK_KEY)) in ({b"*"}, {"*"})


@pytest.mark.parametrize("command", [WORKER, ARQ], ids=["joinback", "arq"])
def test_a_worker_lives_on_every_topology(
    site: Site, settings: Settings, spawn: Spawn, cli: Cli, wait_until: Wait, command: tuple[str, ...]
) -> None:
    """Started either way it drains by its cron, gives signs of life, and ends at SIGTERM."""
    process = spawn(*command, JOINBACK_INTERVAL_S="1")
    for n in range(2):
        for application in APPLICATIONS:
            log(site, application, f"k{n}")
        wait_until(lambda n=n: rows(settings) == dict.fromkeys(APPLICATIONS, n + 1))
    probe = cli("worker", "--check")
    assert "lives" in probe.stdout, probe.stderr
    process.send_signal(signal.SIGTERM)
    process.wait(PATIENCE_S)
    log_text = Path(process.log.name).read_text()  # type: ignore[attr-defined]
    assert "worker_stopped" in log_text
    assert "tick_failed" not in log_text
    assert ("arq_check_is_off" in log_text) == isinstance(site, Cluster)


@pytest.mark.heavy
def test_a_primary_is_killed_while_a_worker_lives(
    site: Site, settings: Settings, spawn: Spawn, wait_until: Wait
) -> None:
    """The worker waits, follows the promoted replica by itself, and drains what that one has."""
    for application in APPLICATIONS:
        log(site, application, "before")
    process = spawn(*WORKER, JOINBACK_INTERVAL_S="1")
    wait_until(lambda: rows(settings) == dict.fromkeys(APPLICATIONS, 1))
    primary = site.primary_of("joinback:{loans}:pending") if isinstance(site, Cluster) else site.primary
    primary.kill()
    site.wait_promoted(primary)
    for application in APPLICATIONS:
        log(site, application, "after")
    wait_until(lambda: rows(settings) == dict.fromkeys(APPLICATIONS, 2))
    assert process.poll() is None
    assert "Traceback" not in Path(process.log.name).read_text()  # type: ignore[attr-defined]


@pytest.mark.heavy
def test_all_servers_are_away_for_a_while(cluster: Cluster, settings: Settings, spawn: Spawn, wait_until: Wait) -> None:
    """A worker that could ask no node of the cluster finds it again by the nodes of its URL."""
    process = spawn(*WORKER, JOINBACK_INTERVAL_S="1")

    def told(what: str) -> bool:
        return what in Path(process.log.name).read_text()  # type: ignore[attr-defined]

    wait_until(lambda: told("no_application_yet"))
    for node in cluster.nodes:
        node.kill()
    wait_until(lambda: told("tick_failed"))
    cluster.heal()
    log(cluster, "loans", "k")
    wait_until(lambda: told("rows=1"))
    assert rows(settings) == {"loans": 1}
    assert not told("fault of Joinback")


def test_nodes_that_failed_are_not_forgotten(cluster: Cluster, settings: Settings) -> None:
    """Redis-py drops each node that failed; when it has dropped all, those of the URL are asked."""

    async def run() -> None:
        redis = connect(settings)
        assert isinstance(redis, RedisCluster)
        await redis.execute_command("EXISTS", "k")
        redis.nodes_manager.startup_nodes.clear()
        await redis.aclose()
        await redis.execute_command("EXISTS", "k")
        await redis.aclose()

    asyncio.run(run())


def test_nobody_answers(cli: Cli, cluster: Cluster) -> None:
    """Where no node of a cluster can be asked, a command says so in one line."""
    done = cli("status", JOINBACK_REDIS_URL="redis+cluster://127.0.0.1:1,127.0.0.1:2")
    assert done.returncode == 2
    assert done.stderr.startswith(
        "joinback: redis+cluster://127.0.0.1:1,127.0.0.1:2: no connection to Redis; check that"
    )
    assert done.stderr.count("\n") == 1


def test_every_connection_is_closed(site: Site, settings: Settings) -> None:
    """A drain in a process that lives on leaves no socket open, to Sentinels neither."""
    log(site, "loans", "k")
    assert asyncio.run(drain_all(settings)).rows == 1
    # An open one ends the test with its warning.
    gc.collect()


@pytest.mark.heavy
@pytest.mark.parametrize("holds", [wire.pending_key("ads"), wire.PAUSED_KEY])
def test_a_silent_primary_holds_up_its_own_applications_only(cluster: Cluster, settings: Settings, holds: str) -> None:
    """Of a primary that hangs, and that nobody replaces, the applications wait; the others are drained.

    Only the one that says which applications there are is needed by all.
    """
    for node in cluster.nodes:
        node.ask("CONFIG", "SET", "cluster-replica-no-failover", "yes")
        node.ask("CONFIG", "SET", "cluster-require-full-coverage", "no")
    for application in APPLICATIONS:
        log(cluster, application, "k")
    silent = cluster.primary_of(holds)
    assert silent is not cluster.primary_of(wire.APPLICATIONS_KEY)
    waiting = [name for name in APPLICATIONS if cluster.primary_of(wire.pending_key(wire.tag(name))) is silent]
    assert waiting
    try:
        silent.hang()
        drained = asyncio.run(drain_all(settings))
        assert drained.redis_lost
        assert rows(settings) == {name: 1 for name in APPLICATIONS if name not in waiting}
        silent.resume()
        wait_for(lambda: asyncio.run(drain_all(settings)).error is None)
        assert rows(settings) == dict.fromkeys(APPLICATIONS, 1)
    finally:
        cluster.heal()
        for node in cluster.nodes:
            node.ask("CONFIG", "SET", "cluster-replica-no-failover", "no")
            node.ask("CONFIG", "SET", "cluster-require-full-coverage", "yes")


@pytest.mark.heavy
def test_a_slot_moves_while_it_is_drained(cluster: Cluster, settings: Settings) -> None:
    """While a slot is on its way its application waits, and is told; elsewhere work goes on; then all is drained."""
    for application in APPLICATIONS:
        log(cluster, application, *(f"k{n}" for n in range(20)))
    pending = wire.pending_key(wire.tag("loans"))
    target = next(node for node in cluster.primaries if node is not cluster.primary_of(pending))
    with cluster.moving(key_slot(pending.encode()), target):
        first = asyncio.run(drain_all(settings))
        assert first.rows >= 20 * (len(APPLICATIONS) - 1)
    # What the first round had claimed of it may have to wait for the lease.
    wait_for(
        lambda: asyncio.run(drain_all(settings)).error is None and rows(settings) == dict.fromkeys(APPLICATIONS, 20)
    )
    assert rows(settings) == dict.fromkeys(APPLICATIONS, 20)
    assert asyncio.run(books_of(settings)).difference == 0


def test_a_drainer_follows_a_slot_that_has_moved(cluster: Cluster, settings: Settings) -> None:
    """What it knew of the slots is wrong from one round to the next, and no round fails for it."""

    async def rounds() -> None:
        drainer = Drainer(settings)
        try:
            for node in (*cluster.primaries, *cluster.primaries):
                log(cluster, "loans", node.id[:8] + str(node.port))
                pending = wire.pending_key(wire.tag("loans"))
                if cluster.primary_of(pending) is not node:
                    cluster.move(key_slot(pending.encode()), node)
                drained = await drainer.round(60)
                assert drained.error is None
        finally:
            await drainer.aclose()

    asyncio.run(rounds())
    assert rows(settings) == {"loans": 3}


def test_no_sentinel_names_a_primary(sentinels: Sentinels, cli: Cli, settings: Settings) -> None:
    """The name of the service is wrong: one line that says what to look at, and no traceback."""
    wrong = settings.redis_url.replace("/joinback/", "/nobody/")
    done = cli("status", JOINBACK_REDIS_URL=wrong)
    assert done.returncode == 2
    assert (
        done.stderr == f"joinback: {wrong}: no Sentinel names a primary; check that they run, and the service in"
        " JOINBACK_REDIS_URL\n"
    )


def test_a_queue_url_that_arq_cannot_use(cluster: Cluster, cli: Cli, settings: Settings) -> None:
    """Arq speaks to one server; a cluster for it is refused at start, in one line."""
    done = cli("worker", JOINBACK_QUEUE_URL=cluster.url)
    assert done.returncode == 2
    assert "JOINBACK_QUEUE_URL names a cluster" in done.stderr


def test_the_least_rights_are_enough_on_a_cluster(cluster: Cluster, cli: Cli, settings: Settings) -> None:
    """The worker's rights, and what docs/how-to/redis.md adds for a cluster and for `apps`, are enough."""
    added = [*rights_beside("On a cluster the worker needs `"), *rights_beside("- `joinback apps`")]
    rules = [*rights("joinback-worker"), *(right for span in added for right in span)]
    for application in APPLICATIONS:
        log(cluster, application, "k")
    for node in cluster.nodes:
        node.ask("ACL", "SETUSER", "joinback-worker", "reset", *rules)
    narrow = {"JOINBACK_REDIS_URL": settings.redis_url.replace("://", "://joinback-worker:secret@")}
    try:
        drained = cli("drain", **narrow)
        assert drained.returncode == 0, drained.stderr
        found = {app["application"]: app["records"] for app in json.loads(cli("apps", "--json", **narrow).stdout)}
        assert found == dict.fromkeys(APPLICATIONS, 1)
        assert "-c -h 127.0.0.1" in cli("explain", "loans", "k", **narrow).stdout
    finally:
        for node in cluster.nodes:
            node.ask("ACL", "DELUSER", "joinback-worker")


def test_shards_are_spread_over_the_nodes(cluster: Cluster, settings: Settings) -> None:
    """An application with sixteen shards has work on every node, and one round drains it all."""
    with cluster.client() as client:
        client.hset(wire.APPLICATIONS_KEY, "loans", '{"shards":16}')
        client.expire(wire.APPLICATIONS_KEY, 600)
        for tag in wire.tags("loans", 16):
            event = msgspec.json.encode({"v": 1, "at": at(0), "logged_at": at(0), "inputs": 1, "outputs": 2})
            keys = wire.write_keys(tag, [f"k{tag}"])
            client.eval(wire.WRITE_SCRIPT, len(keys), *keys, *wire.write_arguments(tag, 600, [("prediction:e", event)]))
    assert {cluster.primary_of(wire.pending_key(tag)).port for tag in wire.tags("loans", 16)} == {
        node.port for node in cluster.primaries
    }
    assert asyncio.run(drain_all(settings)).rows == 16
