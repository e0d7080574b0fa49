"""`memory://`: client and worker of one process meet in its memory, and nobody else is there."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from conftest import PATIENCE_S, Cli
from msgspec import structs

import joinback
import joinback.testing
from joinback import memory, wire
from joinback.errors import ConfigurationError
from joinback.redis_url import redis_url
from joinback.settings import Settings
from joinback_worker.connection.connect import connect
from joinback_worker.drain.drainer import drain_all


@pytest.fixture(autouse=True)
def _nothing_stays() -> Iterator[None]:
    yield
    for name in ("", "other"):
        memory.forget(name)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(redis_url="memory://", sink_url=f"sqlite:///{tmp_path}/joinback.db")


def python(code: str, *path: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"PYTHONPATH": ":".join([*map(str, path), *sys.path])} | variables
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=PATIENCE_S
    )


def test_client_and_worker_meet(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """By `init`, by the environment and by a worker's settings the same URL leads to the same Redis."""
    monkeypatch.setenv("JOINBACK_REDIS_URL", "memory://")
    # Who is in the process needs no login.
    monkeypatch.setenv("JOINBACK_REDIS_CREDENTIALS", "builtins:int")
    for number, client in enumerate((joinback.Client().init("memory://"), joinback.Client())):
        client.log_record("loans", inputs=1, outputs=2, join_key=f"k{number}")
        assert client.flush(PATIENCE_S)
        assert client.ping()
        client.close()
    drained = asyncio.run(drain_all(structs.replace(settings, redis_credentials="builtins:int")))
    assert (drained.rows, drained.error) == (2, None)


def test_each_name_is_one_of_its_own(settings: Settings) -> None:
    """What is logged under one name is not seen under another; what was forgotten is gone."""
    with_name = joinback.Client().init("memory://other")
    with_name.log_record("loans", inputs=1, outputs=2)
    assert with_name.flush(PATIENCE_S)
    with_name.close()

    async def applications(url: str) -> int:
        buffer = connect(Settings(redis_url=url))
        try:
            return int(await buffer.execute_command("HLEN", wire.APPLICATIONS_KEY))
        finally:
            await buffer.aclose()

    assert asyncio.run(applications("memory://")) == 0
    assert asyncio.run(applications("memory://other")) == 1
    memory.forget("other")
    assert asyncio.run(applications("memory://other")) == 0


def test_a_notebook(tmp_path: Path) -> None:
    """What a process has logged to its memory is drained in a block; the next block takes what came since, and a table
    that is named stays.
    """
    client = joinback.Client().init("memory://")
    client.log_record("loans", inputs=1, outputs=2, join_key="a")
    with joinback.testing.local(client, redis_url="memory://") as local:
        assert local.drain().rows == 1
    client.log_record("loans", inputs=1, outputs=2, join_key="b")
    for turn in range(2):
        with joinback.testing.local(client, redis_url="memory://", sink_url=f"sqlite:///{tmp_path}/rows.db") as local:
            assert local.drain().rows == 1 - turn
            assert [row["join_key"] for row in local.rows()] == ["b"]
    client.close()
    with (
        pytest.raises(ConfigurationError, match="only a redis_url that begins with memory://"),
        joinback.testing.local(client, redis_url="redis://127.0.0.1:1/0"),
    ):
        pass


def test_what_is_not_installed(tmp_path: Path) -> None:
    """Without the extra, init says in one line what to install; a service configured by the environment goes on."""
    for package in ("fakeredis", "lupa"):
        folder = tmp_path / package
        folder.mkdir()
        (folder / f"{package}.py").write_text(f"raise ModuleNotFoundError(name={package!r})")
        line = f"memory:// needs {package}; in its clone: pip install '.[testing]'"
        assert line in python("import joinback; joinback.init('memory://')", folder).stderr.splitlines()[-1]
        logs = "import joinback; joinback.log_record('a', inputs=1, outputs=2); print(joinback.stats()['dropped'])"
        done = python(logs, folder, JOINBACK_REDIS_URL="memory://")
        assert "'misconfigured': 1" in done.stdout
        assert line in done.stderr


def test_another_process_says_so(cli: Cli) -> None:
    """A worker or a command is a process of its own: one line says what to use instead, and its exit code is 2."""
    for command in (("worker",), ("worker", "--check"), ("drain",), ("status",), ("doctor",), ("demo",), ("apps",)):
        done = cli(*command)
        assert done.returncode == 2, command
        assert done.stderr.startswith("joinback: JOINBACK_REDIS_URL is memory://, which lives in one process")
        assert "joinback demo --keep" in done.stderr
        assert done.stderr.count("\n") == 1
    arq = [sys.executable, "-m", "arq", "joinback_worker.main.WorkerSettings"]
    started = subprocess.run(
        arq, env=os.environ | {"JOINBACK_REDIS_URL": "memory://"}, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert (started.returncode, started.stderr.count("\n")) == (2, 1)
    queue = cli("worker", JOINBACK_REDIS_URL="", JOINBACK_QUEUE_URL="memory://x")
    assert (queue.returncode, "JOINBACK_QUEUE_URL is memory://x" in queue.stderr) == (2, True)


def test_a_process_that_ends(tmp_path: Path) -> None:
    """Its exit delivers, and waits for no connection that was left open; a child that outlives it is not held."""
    code = """
import atexit, os, joinback, redis
from joinback import memory
atexit.register(lambda: print(joinback.stats()["sent"], flush=True))
joinback.init("memory://")
host, port = memory.address_of("")
left_open = redis.Redis(host, port)
left_open.ping()
joinback.log_record("loans", inputs=1, outputs=2)
"""
    done = python(code)
    assert (done.stdout, done.stderr, done.returncode) == ("1\n", "", 0)


def test_a_fork_has_one_of_its_own() -> None:
    """A child begins with an empty Redis, and what it logs is not in its parent's; its parent's port is not held open
    by it.
    """
    code = """
import os, socket, warnings
warnings.simplefilter("ignore")
import joinback, redis
from joinback import memory

def logged():
    host, port = memory.address_of("")
    with redis.Redis(host, port) as connection:
        return connection.hgetall("joinback:applications")

joinback.init("memory://")
joinback.log_record("parents", inputs=1, outputs=2)
assert joinback.flush()
port = memory.address_of("")[1]
read, write = os.pipe()
if not os.fork():
    joinback.log_record("childs", inputs=1, outputs=2)
    assert joinback.flush()
    assert list(logged()) == [b"childs"], logged()
    assert memory.address_of("")[1] != port
    os.read(read, 1)
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except ConnectionRefusedError:
        print("refused", flush=True)
    os._exit(0)
assert list(logged()) == [b"parents"]
memory.forget("")
os.write(write, b"x")
os.wait()
"""
    done = python(code)
    assert (done.stdout, done.stderr, done.returncode) == ("refused\n", "", 0)


@pytest.mark.parametrize("text", ["memory://:hunter2@h", "memory://h:1", "memory:///", "memory://a?db=1", "memory://#"])
def test_it_takes_a_name_alone(text: str) -> None:
    """Neither login nor options are silently left unused."""
    with pytest.raises(ConfigurationError, match="comes a name") as raised:
        redis_url(text, "URL")
    assert "hunter2" not in str(raised.value)


def test_how_it_is_shown() -> None:
    """By its scheme and name."""
    assert repr(redis_url("memory://tests", "URL")) == "RedisUrl(memory://tests)"


def test_it_is_a_server_to_the_rest_of_the_process() -> None:
    """A test may look at it by any client."""
    host, port = memory.address_of("")
    with redis.Redis(host, port) as connection:
        assert connection.ping()
    assert host == "127.0.0.1"
