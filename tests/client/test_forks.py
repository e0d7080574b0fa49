"""Children that Python's fork hooks do not see, and children that inherit nothing."""

import ctypes
import gc
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import redis
from conftest import PATIENCE_S

import joinback
from joinback import forks, wire
from joinback.settings import Settings
from joinback.testing import capture

TAG = wire.tag("loans")
CHILD_EVENTS = 50


def fork_unseen() -> int:
    """Fork as a C extension does. PyDLL keeps the GIL, which the child's only thread must hold."""
    pid: int = ctypes.PyDLL(None).fork()
    return pid


LOOKS_MAX = 1_000
"""Ten seconds: a thread that another test left may wake up now and then, and is not waited for for ever."""


def rest() -> None:
    """Wait until every other thread sleeps: no interpreter survives a fork in C while a thread asks for its GIL."""
    own = threading.get_native_id()
    seen: list[list[str]] = []
    while (len(seen) < 5 or any(look != seen[-1] for look in seen[-5:])) and len(seen) < LOOKS_MAX:
        time.sleep(0.01)
        look = []
        for task in sorted(Path("/proc/self/task").iterdir()):
            # A thread may end meanwhile.
            with suppress(OSError):
                if int(task.name) != own:
                    look.append((task / "status").read_text().partition("ctxt_switches:")[2])
        seen.append(look)


def exit_code(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def in_child(work: Callable[[], bool]) -> int:
    """Run `work` in a child forked unseen; its exit code is 0 if the answer was True."""
    rest()
    pid = fork_unseen()
    if pid:
        return pid
    code = 1
    try:
        code = 0 if work() else 2
    finally:
        os._exit(code)


def log_some(client: joinback.Client) -> bool:
    for n in range(CHILD_EVENTS):
        client.log_record("loans", inputs=n, outputs=0)
        client.log_record("loans", inputs=n, outputs=0, join_key="asked")
        client.log_record("loans", feedback={"n": n}, join_key="shared")
    return client.flush(PATIENCE_S) and client.stats()["sent"] == 3 * CHILD_EVENTS == client.stats()["logged"]


@pytest.mark.parametrize("used_before", [True, False])
def test_a_fork_that_python_does_not_see(settings: Settings, server: redis.Redis, used_before: bool) -> None:
    """Children have keys, ids, a thread and a buffer of their own; each event arrives once, whoever logged it."""
    client = joinback.Client().init(settings.redis_url)
    if used_before:
        client.log_record("loans", inputs=0, outputs=0, join_key="parent")
    children = []
    for _ in range(2):
        children.append(in_child(lambda: log_some(client)))
    assert [exit_code(pid) for pid in children] == [0, 0]
    assert log_some(client) if not used_before else client.flush(PATIENCE_S)
    counters = server.hgetall(wire.stats_key(TAG))
    assert b"duplicates" not in counters
    logging = 2 if used_before else 3
    assert int(counters[b"received:prediction"]) == 2 * logging * CHILD_EVENTS + used_before
    for shared in ("asked", "shared"):
        assert server.hlen(wire.record_key(TAG, shared)) == logging * CHILD_EVENTS
    assert len(server.keys(wire.record_key(TAG, "*"))) == logging * CHILD_EVENTS + 2 + used_before
    client.close()


def test_a_child_that_needs_no_id(settings: Settings, server: redis.Redis) -> None:
    """A child whose callers bring every id themselves, and one whose calls are all wrong, count for themselves."""
    client = joinback.Client().init(settings.redis_url)
    client.log_record("loans", inputs=0, outputs=0, join_key="parent")

    def log_with_ids() -> bool:
        client.log_record("loans", inputs=0, outputs=0, join_key="child", event_id="e")
        return client.flush(PATIENCE_S) and client.stats()["logged"] == 1

    def log_wrongly() -> bool:
        client.log_record("loans", inputs=0, join_key="child", event_id="e")
        return client._funnel._buffer.stats()["logged"] == 1

    assert [exit_code(in_child(work)) for work in (log_with_ids, log_wrongly)] == [0, 0]
    assert server.exists(wire.record_key(TAG, "child"))
    client.close()


def test_a_child_of_a_child(settings: Settings, server: redis.Redis) -> None:
    """A child's child is another process again."""
    client = joinback.Client().init(settings.redis_url)
    client.log_record("loans", inputs=0, outputs=0, join_key="parent")

    def work() -> bool:
        logged = log_some(client)
        return logged and exit_code(in_child(lambda: log_some(client))) == 0

    assert exit_code(in_child(work)) == 0
    assert client.flush(PATIENCE_S)
    counters = server.hgetall(wire.stats_key(TAG))
    assert b"duplicates" not in counters
    assert int(counters[b"received:feedback"]) == 2 * CHILD_EVENTS
    client.close()


def test_a_child_ends_at_once_and_leaves_its_parents_alone(
    settings: Settings, server: redis.Redis, tmp_path: Path
) -> None:
    """A child that only closes does not wait for its parent's thread, nor touch its parent's events or spool."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0?socket_timeout=60"
        client = joinback.Client().init(url, spool_dir=tmp_path, buffer_events_max=10)
        for n in range(9):
            client.log_record("loans", inputs=n, outputs=0)
        child = in_child(lambda: client.stats()["logged"] == 0 and client.close(60) and not list(tmp_path.iterdir()))
        assert exit_code(child) == 0
        assert client.stats()["buffered"] == 9
        assert not client.close(0.1)
    heir = joinback.Client().init(settings.redis_url, spool_dir=tmp_path)
    heir.log_record("loans", inputs=1, outputs=0)
    while not heir.stats()["recovered"]:
        heir.flush(1)
    assert heir.flush(PATIENCE_S)
    assert int(server.hget(wire.stats_key(TAG), "received:prediction") or 0) == 10
    heir.close()


def test_where_the_kernel_empties_no_page_the_pid_is_compared() -> None:
    """Without a page that the kernel empties, a child is told by its pid."""
    mark = forks._Pid()
    mark[0] = 1
    assert mark[0]
    assert exit_code(in_child(lambda: not mark[0])) == 0
    assert mark[0]


def test_clients_leave_nothing_behind(settings: Settings) -> None:
    """Each init and each capture ends with its hooks: a test suite of thousands keeps none."""
    client = joinback.Client()
    # Those of clients that other tests left open.
    before = hooks_of(client)
    for _ in range(50):
        client.init(settings.redis_url)
        with capture(client):
            client.log_record("loans", inputs=1, outputs=0)
    client.close()
    assert hooks_of(client) <= before + 2


def hooks_of(client: joinback.Client) -> int:
    """How many hooks live: who asks adds one more."""
    gc.collect()
    forks.renewed_in_children(client._make_lock)
    return len(forks._owners)


SPAWNING = """
import multiprocessing, sys
import joinback

def work():
    joinback.log_record("loans", inputs=1, outputs=0)
    joinback.flush(0)

if __name__ == "__main__":
    joinback.init(sys.argv[1], redact=["inputs.ssn"])
    context = multiprocessing.get_context(sys.argv[2])
    child = context.Process(target=work)
    child.start()
    child.join()
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_a_child_that_inherits_nothing_says_so(settings: Settings, tmp_path: Path, method: str) -> None:
    """A spawned child's first event says where it goes and what its parent set that it has not; no secret is told."""
    script = tmp_path / "service.py"
    script.write_text(SPAWNING)
    url = settings.redis_url.replace("redis://", "redis://:hunter2@")
    done = subprocess.run([sys.executable, script, url, method], capture_output=True, text=True, timeout=PATIENCE_S)
    said = [line for line in done.stderr.splitlines() if "does not inherit" in line]
    assert "hunter2" not in done.stderr
    if method == "fork":
        assert said == []
        return
    (line,) = said
    assert "joinback.init(redis_url=…, redact=…)" in line
    assert "events go to redis://localhost:6379/0" in line


def test_a_child_configured_by_the_environment_says_nothing(settings: Settings, tmp_path: Path) -> None:
    """Where parent and child have all from the environment there is nothing to tell; so for a script of its own."""
    script = tmp_path / "service.py"
    script.write_text(SPAWNING.replace('joinback.init(sys.argv[1], redact=["inputs.ssn"])', "joinback.init()"))
    environment = os.environ | {"JOINBACK_REDIS_URL": settings.redis_url}
    command = [sys.executable, script, "", "spawn"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S)
    assert (done.returncode, done.stderr) == (0, "")
