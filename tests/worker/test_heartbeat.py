"""Signs of life, and the probes that ask for them."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import redis
from conftest import PATIENCE_S, Cli, Stack, free_port, process_environment
from nodes import Node
from ruled import file, reducing

from joinback import wire
from joinback_worker.connection.connect import connect
from joinback_worker.notes.heartbeat import Beat, beat, digest_of, workers

WORKER = ("-m", "joinback_worker", "worker")

Spawn = Callable[..., "subprocess.Popen[str]"]
Wait = Callable[..., None]


def signs(server: redis.Redis) -> list[Beat]:
    return [msgspec.json.decode(value, type=Beat) for value in server.hvals(wire.WORKERS_KEY)]


def age(server: redis.Redis, **ages_s: float) -> None:
    """Set times of the only worker's sign so many seconds back: as if they had passed."""
    (sign,) = signs(server)
    for name, age_s in ages_s.items():
        setattr(sign, name, datetime.now(UTC) - timedelta(seconds=age_s))
    server.hset(wire.WORKERS_KEY, sign.name, msgspec.json.encode(sign))


def drained(server: redis.Redis) -> bool:
    return any(sign.last_drain_at for sign in signs(server))


def test_a_sign_of_life(stack: Stack, spawn: Spawn, wait_until: Wait) -> None:
    """A worker's sign names host, process, version, sink, last and next drain, and no secret; it has a TTL."""
    stack.server.execute_command("ACL", "SETUSER", "who", "on", ">canary", "~*", "+@all")
    url = stack.settings.redis_url.replace("redis://", "redis://who:canary@")
    process = spawn(*WORKER, JOINBACK_INTERVAL_S="3600", JOINBACK_REDIS_URL=url)
    wait_until(lambda: drained(stack.server))
    (sign,) = signs(stack.server)
    assert (sign.host, sign.pid, sign.sink) == (socket.gethostname(), process.pid, stack.settings.sink_url)
    assert sign.version
    assert sign.trouble is None
    assert sign.last_drain_at is not None
    assert sign.next_drain_at is not None
    # Aligned to the epoch by Redis's clock, which here is this machine's.
    assert round(sign.next_drain_at.timestamp()) % 3600 == 0
    assert 0 < stack.server.ttl(wire.WORKERS_KEY) <= 600
    assert b"canary" not in b"".join(stack.server.hvals(wire.WORKERS_KEY))
    stack.server.execute_command("ACL", "DELUSER", "who")


def test_the_digest_of_the_settings(tmp_path: Path) -> None:
    """The digest differs where rows would, and not by a URL or an interval."""
    from joinback.settings import Settings

    base = digest_of(Settings())
    assert digest_of(Settings(interval_s=5, redis_url="redis://elsewhere:1/0")) == base
    assert digest_of(Settings(config=file(tmp_path, ads=reducing(clicks="sum")))) != base
    assert digest_of(Settings(config=file(tmp_path, ads={"maturity_s": 60}))) != base
    assert digest_of(Settings(config=file(tmp_path, ads={"sample_rate": 0.5}))) == digest_of(
        Settings(config=file(tmp_path, ads={"sample_rate": 0.1}))
    )


def test_the_probe_of_a_worker_that_drains_nothing(stack: Stack, spawn: Spawn, wait_until: Wait, cli: Cli) -> None:
    """A worker whose sink is refused lives, and neither `--check` nor `status` says that it drained."""
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="a")
    stack.drain()
    spawn(*WORKER, JOINBACK_INTERVAL_S="3600", JOINBACK_SINK_URL=f"sqlite:///{stack.folder}/other.db")
    wait_until(lambda: "; last try " in cli("worker", "--check").stdout)
    living = cli("worker", "--check")
    assert living.returncode == 0
    assert "last drain" not in living.stdout
    assert "nothing was claimed; correct JOINBACK_SINK_URL, or run: joinback sink adopt" in living.stdout
    shown = cli("status", COLUMNS="80").stdout
    assert ", last try " in shown
    assert "\n    correct JOINBACK_SINK_URL, or run: joinback sink adopt\n" in shown


def test_the_probe(stack: Stack, spawn: Spawn, wait_until: Wait, cli: Cli) -> None:
    """`joinback worker --check`: 0 for a living worker, 1 for none, a hung or a silent one, 2 without Redis."""
    assert cli("worker", "--check").returncode == 1
    spawn(*WORKER, JOINBACK_INTERVAL_S="3600")
    wait_until(lambda: drained(stack.server))
    living = cli("worker", "--check")
    assert living.returncode == 0, living.stdout
    assert f"sink {stack.settings.sink_url}" in living.stdout
    assert "; last drain " in living.stdout
    # By the worker's own interval, of which the probe's shell may know nothing.
    age(stack.server, progress_at=400)
    assert cli("worker", "--check", JOINBACK_INTERVAL_S="60").returncode == 0
    age(stack.server, progress_at=7_300)
    hung = cli("worker", "--check", JOINBACK_INTERVAL_S="60")
    assert (hung.returncode, "hangs: it has not ended a drain for 2 h" in hung.stdout) == (1, True)
    age(stack.server, progress_at=1, beat_at=61)
    assert cli("worker", "--check").returncode == 1
    away = cli("worker", "--check", JOINBACK_REDIS_URL=f"redis://127.0.0.1:{free_port()}/0")
    assert away.returncode == 2
    assert len(away.stderr.splitlines()) == 1


def test_a_restarted_redis(tmp_path: Path, spawn: Spawn, wait_until: Wait, cli: Cli) -> None:
    """A Redis that was killed and has come back empty is told for a day, though the drains after it find nothing."""
    node = Node(tmp_path)
    node.configure('save ""')
    node.start()
    try:
        url = f"redis://127.0.0.1:{node.port}/0"
        spawn(*WORKER, JOINBACK_INTERVAL_S="1", JOINBACK_REDIS_URL=url)
        server = redis.Redis(port=node.port)
        wait_until(lambda: drained(server))
        assert cli("status", JOINBACK_REDIS_URL=url).returncode == 0
        node.kill()
        node.start()
        wait_until(lambda: any(sign.restarted_at for sign in signs(server)))
        for command in ("status", "doctor"):
            done = cli(command, JOINBACK_REDIS_URL=url)
            assert done.returncode == 1
            assert "restarted: Redis was restarted, or another took its place, " in done.stdout
        assert (
            'name="restarted",severity="trouble"} 1.0' in cli("status", "--prometheus", JOINBACK_REDIS_URL=url).stdout
        )
        server.close()
    finally:
        node.kill()


def test_arqs_own_probe(stack: Stack, spawn: Spawn, wait_until: Wait) -> None:
    """`arq --check` with the Procfile's class asks the Redis of JOINBACK_REDIS_URL: 0 for a living worker, else 1."""
    command = [sys.executable, "-m", "arq", "joinback_worker.main.WorkerSettings", "--check"]

    def check() -> int:
        return subprocess.run(
            command, env=process_environment(stack.settings), timeout=PATIENCE_S, check=False
        ).returncode

    assert check() == 1
    spawn("-m", "arq", "joinback_worker.main.WorkerSettings", JOINBACK_INTERVAL_S="3600")
    wait_until(lambda: stack.server.keys("arq:joinback:health:*"))
    assert check() == 0
    assert stack.server.ttl(stack.server.keys("arq:joinback:health:*")[0]) > 0


def test_the_living_remove_the_signs_of_the_dead(stack: Stack, spawn: Spawn, wait_until: Wait) -> None:
    """A killed worker's sign, and what somebody else wrote there, are gone once they are old."""
    killed = spawn(*WORKER, JOINBACK_INTERVAL_S="3600")
    wait_until(lambda: drained(stack.server))
    killed.kill()
    age(stack.server, beat_at=61)
    stack.server.hset(wire.WORKERS_KEY, "somebody", "no sign")
    other = spawn(*WORKER, JOINBACK_INTERVAL_S="1")
    wait_until(lambda: stack.server.hkeys(wire.WORKERS_KEY) == [f"{socket.gethostname()}:{other.pid}".encode()])


def test_the_living_are_listed(stack: Stack) -> None:
    """Of several signs those count that are not old by Redis's clock, whatever the workers' own clocks say."""

    async def look() -> list[str]:
        buffer = connect(stack.settings)
        try:
            now = datetime.now(UTC)
            for pid, age_s in ((1, 0), (2, 59), (3, 61)):
                sign = Beat(host="a", pid=pid, version="1", sink="stdout:", settings="", beat_at=now)
                await beat(buffer, sign, now - timedelta(seconds=age_s))
            return [sign.name for sign in await workers(buffer)]
        finally:
            await buffer.aclose()

    assert asyncio.run(look()) == ["a:1", "a:2"]


def test_a_stopped_worker_is_no_living_one(stack: Stack, spawn: Spawn, wait_until: Wait, cli: Cli) -> None:
    """A process that is there and does nothing gives no sign; a TTL later the probe says so."""
    process = spawn(*WORKER, JOINBACK_INTERVAL_S="1")
    wait_until(lambda: drained(stack.server))
    os.kill(process.pid, signal.SIGSTOP)
    age(stack.server, beat_at=61)
    assert cli("worker", "--check").returncode == 1


def test_a_worker_that_was_killed_a_moment_ago(stack: Stack, spawn: Spawn, wait_until: Wait, cli: Cli) -> None:
    """It counts as alive until its sign ends; `status`, and `explain` of what it claimed, say how old the sign is."""
    process = spawn(*WORKER, JOINBACK_INTERVAL_S="3600")
    wait_until(lambda: drained(stack.server))
    assert "last sign of life" not in cli("status").stdout
    process.kill()
    process.wait()
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="a")
    assert stack.client.flush(PATIENCE_S)
    held_by = f"{socket.gethostname()}:{process.pid}:abc"
    stack.server.xreadgroup(wire.GROUP, held_by, {wire.pending_key("loans"): ">"})
    assert "; that worker writes it now" in cli("explain", "loans", "a").stdout
    age(stack.server, beat_at=31, next_drain_at=90)
    says = r"\n  \S+  version .*, next was due \d.* ago, last sign of life \d\d s ago\n"
    assert re.search(says, cli("status").stdout)
    told = cli("explain", "loans", "a").stdout
    assert re.match(r"claimed by .*; the last sign of life of that worker came \d\d s ago\n", told)


def test_the_clock_of_a_worker(stack: Stack) -> None:
    """A sign has by how much its host's clock is ahead of Redis's."""

    async def look() -> float | None:
        buffer = connect(stack.settings)
        try:
            sign = Beat(host="a", pid=1, version="1", sink="stdout:", settings="")
            await beat(buffer, sign, datetime.now(UTC) - timedelta(hours=1))
            return signs(stack.server)[0].clock_ahead_s
        finally:
            await buffer.aclose()

    ahead_s = asyncio.run(look())
    assert ahead_s is not None
    assert round(ahead_s / 3_600) == 1
