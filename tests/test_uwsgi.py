"""The client in uWSGI's processes, which are forked without Python's knowledge."""

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import redis
from conftest import PATIENCE_S, free_port

from joinback import wire
from joinback._delivery import uwsgi as in_uwsgi
from joinback.settings import Settings

HOSTS = Path(__file__).parent / "hosts"
REQUESTS = 40


@contextmanager
def uwsgi(settings: Settings, tmp_path: Path, *options: str) -> Iterator[tuple[int, Path]]:
    """A uWSGI in its default prefork; ends by SIGTERM, and must then leave by itself."""
    beside = Path(sys.executable).with_name("uwsgi")
    binary = str(beside) if beside.exists() else shutil.which("uwsgi")
    assert binary is not None, "uwsgi is in the dev extra; install it"
    port = free_port()
    path = os.pathsep.join([str(HOSTS), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"JOINBACK_REDIS_URL": settings.redis_url, "PYTHONPATH": path}
    command = [binary, "--http-socket", f"127.0.0.1:{port}", "--master", "--processes", "2", "--die-on-term"]
    command += ["--virtualenv", sys.prefix, "--module", "uwsgi_service", *options]
    log = tmp_path / "uwsgi.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, cwd=tmp_path)
    try:
        yield port, log
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
        assert "Traceback" not in log.read_text(), log.read_text()
    finally:
        process.kill()
        process.wait()


def get(port: int) -> tuple[str, str]:
    """One request: the process that answered, and the key it logged."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        connection.request("GET", "/")
        pid, key = connection.getresponse().read().decode().split()
    finally:
        connection.close()
    return pid, key


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def predictions(server: redis.Redis, application: str) -> set[str]:
    prefix = wire.record_key(wire.tag(application), "")
    return {key.decode().removeprefix(prefix) for key in server.scan_iter(f"{prefix}*", count=10_000)} - {"shared"}


@pytest.mark.parametrize("options", [[], ["--enable-threads"]], ids=["", "threads"])
def test_uwsgi(
    settings: Settings, server: redis.Redis, tmp_path: Path, wait_until: Callable[..., None], options: list[str]
) -> None:
    """Workers and a mule that uWSGI forked have keys, ids, threads and buffers of their own; all is delivered, once."""
    with uwsgi(settings, tmp_path, *options, "--mule=uwsgi_mule.py", f"--chdir={HOSTS}") as (port, _):
        wait_until(lambda: answers(port))
        seen = [get(port)]
        # Two workers took part, whichever of them the system likes better.
        while len(seen) < REQUESTS or len({pid for pid, _ in seen}) < 2:
            seen.append(get(port))
            assert len(seen) < 20_000
        wait_until(lambda: len(predictions(server, "mules")) > 5)
        wait_until(lambda: len(predictions(server, "loans")) > len(seen))
    keys = [key for _, key in seen]
    assert len(set(keys)) == len(keys)
    counters = server.hgetall(wire.stats_key(wire.tag("loans")))
    assert b"duplicates" not in counters
    # One more was logged at import, once, by the process that imported.
    assert len(predictions(server, "loans")) == len(keys) + 1 == int(counters[b"received:prediction"])
    assert server.hlen(wire.record_key(wire.tag("loans"), "shared")) == min(len(keys), wire.RECORD_EVENTS_MAX)
    assert b"duplicates" not in server.hgetall(wire.stats_key(wire.tag("mules")))


@pytest.mark.parametrize(
    ("version", "options", "warned"),
    [
        (b"2.0.26", {}, True),
        (b"2.0.19.1", {"master": True}, True),
        (b"2.0.26", {"enable-threads": True}, False),
        (b"2.0.26", {"threads": b"4"}, False),
        (b"2.0.27", {}, False),
        (b"2.1-dev-1a2b3c", {}, False),
    ],
)
def test_an_old_uwsgi_without_threads_is_told(version: bytes, options: dict[str, object], warned: bool) -> None:
    """Where no thread of ours would run between requests, one line names the option."""
    advice = in_uwsgi.advice(SimpleNamespace(version=version, opt=options))
    assert (advice is not None and "--enable-threads" in advice) == warned
    assert in_uwsgi.advice(None) is None
