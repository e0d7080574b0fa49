"""The client inside the servers that run services: forked, threaded, killed and restarted by them."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from conftest import PATIENCE_S, free_port

from joinback import wire
from joinback.settings import Settings

HOSTS = os.pathsep.join(filter(None, [str(Path(__file__).parent / "hosts"), os.environ.get("PYTHONPATH")]))
"""For PYTHONPATH: what it is already names the package to test, where that is not the installed one."""
TAG = wire.tag("loans")
WaitUntil = Callable[..., None]
PATIENT = ["--timeout", f"{PATIENCE_S:.0f}"]
"""Gunicorn kills a worker that shows no sign of life for so long, as one may not on a busy machine."""


@pytest.fixture
def port() -> int:
    return free_port()


def get(port: int, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        connection.request("GET", path)
        return int(connection.getresponse().read())
    finally:
        connection.close()


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@contextmanager
def host(settings: Settings, tmp_path: Path, *command: str, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """A server process; ends by SIGTERM, as every supervisor does it, and must then leave by itself."""
    environment = os.environ | {"JOINBACK_REDIS_URL": settings.redis_url, "PYTHONPATH": HOSTS} | variables
    log = tmp_path / "host.log"
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, "-m", *command], env=environment, stdout=output, stderr=output)
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_S)
        assert b"Traceback" not in log.read_bytes(), log.read_text()
    finally:
        process.kill()
        process.wait()


def keys(server: redis.Redis) -> set[str]:
    prefix = wire.record_key(TAG, "")
    return {key.decode().removeprefix(prefix) for key in server.scan_iter(f"{prefix}*", count=10_000)}


def received(server: redis.Redis, kind: str) -> int:
    return int(server.hget(wire.stats_key(TAG), f"received:{kind}") or 0)


def run_service(script: Path, settings: Settings) -> None:
    """Run a Python script as a service to its end, which must be good and silent."""
    environment = os.environ | {"JOINBACK_REDIS_URL": settings.redis_url}
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, timeout=PATIENCE_S)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("preload", [[], ["--preload"]], ids=["", "preload"])
def test_gunicorn(
    settings: Settings, server: redis.Redis, tmp_path: Path, port: int, wait_until: WaitUntil, preload: list[str]
) -> None:
    """What gunicorn answered is in Redis after SIGTERM, whether its workers fork before or after first use."""
    paths: list[str] = []
    pids: set[int] = set()

    def ask_more(clients: ThreadPoolExecutor) -> None:
        more = [f"request_{n}" for n in range(len(paths), len(paths) + 50)]
        pids.update(clients.map(lambda path: get(port, f"/{path}"), more))
        paths.extend(more)

    command = ["gunicorn", *preload, *PATIENT, "-w", "2", "--threads", "4", "-b", f"127.0.0.1:{port}", "web:wsgi"]
    with host(settings, tmp_path, *command), ThreadPoolExecutor(8) as clients:
        wait_until(lambda: answers(port))
        # Which worker takes a request is the system's choice: until each has had one.
        wait_until(lambda: ask_more(clients) or (len(pids) == 2 and len(paths) >= 200))
    assert keys(server) == {*paths, "import"}
    assert received(server, "feedback") == len(paths)
    # Loaded once, before the fork: the children do not send again what the master logged.
    assert received(server, "prediction") == len(paths) + (1 if preload else 2)


def test_gunicorn_worker_killed_under_load(
    settings: Settings, server: redis.Redis, tmp_path: Path, port: int, wait_until: WaitUntil
) -> None:
    """A worker killed by SIGKILL loses only what it logged last; the rest of the service, nothing.

    Whatever it logged is in Redis after a while by itself; what was there when it was killed stays.
    """
    answered: list[tuple[float, int, str]] = []
    stop = threading.Event()

    def load(number: int) -> None:
        for n in range(100_000):
            if stop.is_set():
                return
            key = f"request_{number}_{n}"
            try:
                pid = get(port, f"/{key}")
            except (OSError, http.client.HTTPException, ValueError):
                continue  # the killed worker's own
            answered.append((time.monotonic(), pid, key))

    command = ["gunicorn", "--preload", *PATIENT, "-w", "2", "--threads", "2", "-b", f"127.0.0.1:{port}", "web:wsgi"]
    threads = [threading.Thread(target=load, args=(n,)) for n in range(4)]
    with host(settings, tmp_path, *command):
        wait_until(lambda: answers(port))
        for thread in threads:
            thread.start()
        wait_until(lambda: len({pid for _, pid, _ in answered}) == 2 and len(answered) > 300)
        victim = answered[-1][1]
        earlier = {key for _, pid, key in answered.copy() if pid == victim}
        wait_until(lambda: earlier <= keys(server))
        os.kill(victim, signal.SIGKILL)
        killed_at = time.monotonic()
        before = len(answered)
        # Two live workers again: a new one in the killed one's place.
        wait_until(lambda: len({pid for _, pid, _ in answered[before:]} - {victim}) == 2)
        stop.set()
        for thread in threads:
            thread.join()
    lost = {key for _, _, key in answered} - keys(server)
    may_be_lost = {key for _, pid, key in answered if pid == victim} - earlier
    ages_ms = [1_000 * (killed_at - at) for at, _, key in answered if key in lost]
    oldest = f"the oldest {max(ages_ms, default=0):.0f} ms before"
    print(f"\n{len(answered)} requests answered, {len(lost)} of them lost with the killed worker, {oldest}")
    assert lost <= may_be_lost


def test_uvicorn(settings: Settings, server: redis.Redis, tmp_path: Path, port: int, wait_until: WaitUntil) -> None:
    """On an event loop too, each answered request is in Redis after SIGTERM; aflush waits for it during one."""
    with host(settings, tmp_path, "uvicorn", "--port", str(port), "--log-level", "warning", "web:asgi"):
        wait_until(lambda: answers(port))
        for n in range(100):
            get(port, f"/request_{n}")
        assert get(port, "/flushed") == 1
        assert keys(server) == {f"request_{n}" for n in range(100)} | {"import", "flushed"}
        get(port, "/last")
    assert "last" in keys(server)


def test_celery(settings: Settings, server: redis.Redis, tmp_path: Path, wait_until: WaitUntil) -> None:
    """Celery's pool children, forked by it, deliver what their tasks logged, and end without a traceback."""
    broker = tmp_path / "broker"
    (broker / "control").mkdir(parents=True)
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "-l", "warning"]
    command = ["celery", "-A", "tasks", "worker", "-P", "prefork", "-c", "2", *quiet]
    with host(settings, tmp_path, *command, BROKER_DIR=str(broker)):
        send = "import tasks; [tasks.predict.delay(n) for n in range(20)]"
        environment = os.environ | {"PYTHONPATH": HOSTS, "BROKER_DIR": str(broker)}
        subprocess.run([sys.executable, "-c", send], env=environment, check=True, timeout=PATIENCE_S)
        wait_until(lambda: len(keys(server)) == 20)
    assert received(server, "prediction") == 20


def test_multiprocessing(settings: Settings, server: redis.Redis, tmp_path: Path) -> None:
    """Children of multiprocessing, forked before and after first use, deliver without being told to flush."""
    script = tmp_path / "pool.py"
    script.write_text(
        "import multiprocessing, joinback\n"
        "def work(name):\n"
        "    for n in range(100): joinback.log_record('loans', inputs=n, outputs=0, join_key=f'{name}_{n}')\n"
        "if __name__ == '__main__':\n"
        "    context = multiprocessing.get_context('fork')\n"
        "    for name in ('before', 'after'):\n"
        "        children = [context.Process(target=work, args=(f'{name}{n}',)) for n in range(3)]\n"
        "        for child in children: child.start()\n"
        "        for child in children: child.join()\n"
        "        assert not any(child.exitcode for child in children)\n"
        "        work('parent_' + name)\n"
    )
    run_service(script, settings)
    assert received(server, "prediction") == 800
    assert len(keys(server)) == 800


def test_a_pool_that_is_closed_and_joined(settings: Settings, server: redis.Redis, tmp_path: Path) -> None:
    """With `close()` and `join()` before the block ends, workers of a Pool deliver what they logged last."""
    script = tmp_path / "pool.py"
    script.write_text(
        "import multiprocessing, joinback\n"
        "def work(n):\n"
        "    joinback.log_record('loans', inputs=n, outputs=0, join_key=f'task_{n}')\n"
        "if __name__ == '__main__':\n"
        "    with multiprocessing.get_context('fork').Pool(2) as pool:\n"
        "        pool.map(work, range(50))\n"
        "        pool.close()\n"
        "        pool.join()\n"
    )
    run_service(script, settings)
    assert keys(server) == {f"task_{n}" for n in range(50)}
