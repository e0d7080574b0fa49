"""A client and a worker under load on a cluster and behind Sentinels, while nodes are killed, hang, fail over, are cut
off, and slots move: nothing is lost that the client says it sent, and the table is the model's, row by row.
"""

import asyncio
import random
import sqlite3
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import model
import pytest
from conftest import PATIENCE_S, Cli, books_of, wait_for
from redis.crc import key_slot
from topologies import Cluster, Sentinels

import joinback
from joinback import wire
from joinback.settings import Settings

pytestmark = pytest.mark.heavy

Site = Cluster | Sentinels
Fault = Callable[[Any], AbstractContextManager[None]]
APPLICATIONS = ["loans", "ads", "fraud", "churn", "search"]
"""Of three primaries each holds one at least."""
EVENTS_BEFORE, EVENTS_AFTER = 1_000, 1_000
EVENTS_PER_S = 1_000
"""Slow enough for a busy machine, and enough that something is under way at every moment."""
FAULT_S_MIN = 1.0
"""Load goes on in a trouble for so long at least; some are over at once."""
START = datetime.now(UTC) - timedelta(days=30)


class Load:
    """A thread that logs events at random to all applications, and remembers them for the model."""

    def __init__(self, client: joinback.Client, seed: int) -> None:
        self.events: dict[str, defaultdict[str, dict[str, Any]]] = {a: defaultdict(dict) for a in APPLICATIONS}
        self.logged = 0
        self._client = client
        self._chance = random.Random(seed)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def wait(self, events: int) -> None:
        """Wait until so many more are logged."""
        until = self.logged + events
        wait_for(lambda: self.logged >= until or not self._thread.is_alive())

    def stop(self) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._done.wait(10 / EVENTS_PER_S):
            for _ in range(10):
                self._log()

    def _log(self) -> None:
        chance = self._chance
        application = chance.choice(APPLICATIONS)
        # The keys move on, and old ones see late events. Few ids: repetitions, ties and conflicts are common.
        key = f"k{max(0, self.logged // 20 - chance.randrange(40)):05}"
        kind = chance.choices(["prediction", "feedback", "retraction"], [5, 5, 1])[0]
        number = chance.randrange(4)
        at = START + timedelta(minutes=number)
        said: dict[str, Any] = {"join_key": key, "timestamp": at, "event_id": f"e{number}"}
        event: dict[str, Any] = {"at": at, "logged_at": at}
        if kind == "prediction":
            event |= {"inputs": {"n": number}, "outputs": number}
            self._client.log_record(application, inputs={"n": number}, outputs=number, **said)
        elif kind == "feedback":
            event |= {"feedback": {"a": number, "bc"[number % 2]: None}}
            self._client.log_record(application, feedback=event["feedback"], **said)
        else:
            event |= {"fields": ["a"] if number % 2 else None}
            self._client.retract(application, fields=event["fields"], **said)
        self.events[application][key][f"{kind}:e{number}"] = event
        self.logged += 1


# --- what happens ---------------------------------------------------------------------------------------------------


def _victim(site: Site) -> Any:
    return site.primary_of(wire.pending_key(wire.tag("loans"))) if isinstance(site, Cluster) else site.primary


@contextmanager
def quiet(_: Site) -> Iterator[None]:
    """Nothing happens: what the others are compared with."""
    yield


@contextmanager
def primary_killed(site: Site) -> Iterator[None]:
    """The power of a primary is cut; a replica is promoted, and the old one comes back as its replica."""
    victim = _victim(site)
    victim.kill()
    site.wait_promoted(victim)
    yield
    site.heal()


@contextmanager
def primary_hangs(site: Site) -> Iterator[None]:
    """A primary answers nobody, is replaced, and wakes up believing that it still is one."""
    victim = _victim(site)
    victim.hang()
    site.wait_promoted(victim)
    victim.resume()
    yield
    site.heal()


@contextmanager
def failed_over(site: Site) -> Iterator[None]:
    """An operator lets a replica take over. Sentinels leave the old primary writable for ten seconds more."""
    if isinstance(site, Cluster):
        site.fail_over(_victim(site))
    else:
        site.fail_over()
    yield


@contextmanager
def slot_moves_by_hand(cluster: Cluster) -> Iterator[None]:
    """The slot of an application is on its way, half its keys here and half there, for as long as the load goes on."""
    pending = wire.pending_key(wire.tag("loans"))
    target = next(node for node in cluster.primaries if node is not _victim(cluster))
    with cluster.moving(key_slot(pending.encode()), target):
        yield


@contextmanager
def slots_move_atomically(cluster: Cluster) -> Iterator[None]:
    """Every application's slot goes to another node and back, by Valkey 9's own migration."""
    for application in APPLICATIONS:
        slot = key_slot(wire.pending_key(wire.tag(application)).encode())
        home = cluster.holder(slot)
        cluster.move(slot, next(node for node in cluster.primaries if node is not home))
        cluster.move(slot, home)
    yield


@contextmanager
def cut_off(cluster: Cluster) -> Iterator[None]:
    """Clients and workers reach one primary no more, while the cluster does and replaces nobody: bytes hang."""
    proxy = _victim(cluster).proxy
    proxy.hang()
    yield
    proxy.resume()


ON_BOTH: list[Fault] = [quiet, primary_killed, primary_hangs, failed_over]
ON_A_CLUSTER: list[Fault] = [slot_moves_by_hand, slots_move_atomically]


# --- what must hold ---------------------------------------------------------------------------------------------------


def identity_holds(stats: dict[str, Any]) -> bool:
    return bool(stats["logged"] == stats["sent"] + stats["buffered"] + sum(stats["dropped"].values()))


def rows_of(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return application -> join key -> the parts of the row that the join decides."""
    with closing(sqlite3.connect(settings.sink_url.removeprefix("sqlite:///"))) as database:
        database.row_factory = sqlite3.Row
        found: dict[str, dict[str, Any]] = {application: {} for application in APPLICATIONS}
        for row in database.execute("SELECT * FROM records"):
            found[row["application"]][row["join_key"]] = model.parts(row.__getitem__)
    return found


def events_in(rows: dict[str, dict[str, Any]]) -> int:
    """Return how many events of the model the rows hold: predictions that won or lost, feedback, retractions."""
    count = 0
    for row in (row for records in rows.values() for row in records.values()):
        count += len(row["events"] or ()) + len(row["conflicts"] or ()) + (row["inputs"] is not None)
    return count


def run_under_load(site: Site, fault: Fault, settings: Settings, spawn: Callable[..., Any], cli: Cli) -> None:
    seed = random.randrange(2**32)
    client = joinback.Client().init(settings.redis_url, strict=True)
    worker: subprocess.Popen[str] = spawn("-m", "joinback_worker", "worker", JOINBACK_INTERVAL_S="1")
    looks: list[dict[str, Any]] = []
    load = Load(client, seed)
    try:
        load.wait(EVENTS_BEFORE)
        looks.append(client.stats())
        with fault(site):
            looks.append(client.stats())
            load.wait(int(EVENTS_PER_S * FAULT_S_MIN))
            looks.append(client.stats())
        load.wait(EVENTS_AFTER)
    finally:
        load.stop()
    assert client.flush(PATIENCE_S), client.stats()
    looks.append(stats := client.stats())
    client.close()
    assert worker.poll() is None, Path(worker.log.name).read_text()  # type: ignore[attr-defined]
    wait_for(lambda: asyncio.run(books_of(settings)).pending == 0)
    worker.terminate()
    worker.wait(60)

    rows = rows_of(settings)
    expected = {a: {key: model.row(events) for key, events in load.events[a].items()} for a in APPLICATIONS}
    books = asyncio.run(books_of(settings))
    logged = sum(len(events) for records in load.events.values() for events in records.values())
    # A line of the table of topologies and faults.
    lost, sent_twice = logged - events_in(rows), books.duplicates - (stats["sent"] - logged)
    name = type(site).__name__.lower()
    print(f"{name} {fault.__name__} seed={seed} sent={stats['sent']} lost={lost} received_twice={sent_twice}")
    assert all(map(identity_holds, looks)), looks
    assert not any(stats["dropped"].values()), stats
    assert stats["sent"] == load.logged
    assert lost == 0
    assert rows == expected
    assert books.difference == 0, books
    assert set(books.dead_by_reason) == set(), books
    assert "Traceback" not in Path(worker.log.name).read_text()  # type: ignore[attr-defined]


@pytest.fixture
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Of the topology that the test has."""
    name = next(name for name in ("cluster", "sentinels", "proxied_cluster") if name in request.fixturenames)
    url = request.getfixturevalue(name).url
    return Settings(redis_url=url, sink_url=f"sqlite:///{tmp_path}/joinback.db")


@pytest.fixture(scope="module")
def proxied_cluster() -> Iterator[Cluster]:
    """One whose clients go through proxies, which a test may silence."""
    with ExitStack() as stack:
        yield Cluster(stack, proxied=True)


@pytest.mark.parametrize("fault", ON_BOTH + ON_A_CLUSTER, ids=lambda fault: fault.__name__)
def test_on_a_cluster(cluster: Cluster, fault: Fault, settings: Settings, spawn: Callable[..., Any], cli: Cli) -> None:
    """Whatever happens to a cluster under load: no event is lost, none counts twice, and each row is the model's."""
    run_under_load(cluster, fault, settings, spawn, cli)


@pytest.mark.parametrize("fault", ON_BOTH, ids=lambda fault: fault.__name__)
def test_behind_sentinels(
    sentinels: Sentinels, fault: Fault, settings: Settings, spawn: Callable[..., Any], cli: Cli
) -> None:
    """Whatever happens behind Sentinels under load: the same."""
    run_under_load(sentinels, fault, settings, spawn, cli)


def test_cut_off_from_one_primary(
    proxied_cluster: Cluster, settings: Settings, spawn: Callable[..., Any], cli: Cli
) -> None:
    """A partition that only clients see: the events of other primaries go on, those of this one wait, none is lost."""
    run_under_load(proxied_cluster, cut_off, settings, spawn, cli)


def test_others_are_not_held_up(proxied_cluster: Cluster, settings: Settings) -> None:
    """While one primary is silent, events for the others are sent within seconds, and the silent one's are buffered."""
    proxied_cluster.empty()
    client = joinback.Client().init(settings.redis_url, strict=True)
    for application in APPLICATIONS:
        client.log_record(application, inputs=1, outputs=2, join_key="first")
    assert client.flush(PATIENCE_S)
    silent = _victim(proxied_cluster)
    waiting = [a for a in APPLICATIONS if proxied_cluster.primary_of(wire.pending_key(wire.tag(a))) is silent]
    silent.proxy.hang()
    started = time.monotonic()
    for application in APPLICATIONS:
        client.log_record(application, inputs=1, outputs=2, join_key="second")
    others = [a for a in APPLICATIONS if a not in waiting]

    def sent(application: str) -> bool:
        node = proxied_cluster.primary_of(wire.pending_key(wire.tag(application)))
        return bool(node.ask("EXISTS", wire.record_key(wire.tag(application), "second")))

    wait_for(lambda: all(map(sent, others)))
    print(f"others after {time.monotonic() - started:.1f} s")
    assert client.stats()["buffered"] == len(waiting)
    silent.proxy.resume()
    assert client.flush(PATIENCE_S)
    stats = client.stats()
    client.close()
    assert (stats["sent"], sum(stats["dropped"].values())) == (2 * len(APPLICATIONS), 0)
