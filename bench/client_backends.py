"""What the peers send to: a real Valkey, a local HTTP stub, a file; and what of it has come there."""

import re
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import redis
from client_behaviour import CHILD_EVENTS, GOOD_EVENTS
from client_peers import Entry
from client_stub import hanging, http_stub, received

from joinback_worker.embedded import embedded_valkey

HERE = Path(__file__).parent
EXIT_S_MAX = 15.0
"""Longer than any supervisor waits."""
CASE_S_MAX = 60.0


class Backends:
    """All three, until the stack closes."""

    def __init__(self, stack: ExitStack) -> None:
        self._file = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "events.jsonl"
        self.urls = {
            "redis": stack.enter_context(embedded_valkey()),
            "http": stack.enter_context(http_stub()),
            "file": f"file://{self._file}",
        }
        self._redis = stack.enter_context(redis.Redis.from_url(self.urls["redis"]))

    def empty(self) -> None:
        self._redis.flushall()
        self._file.write_bytes(b"")
        received(self.urls["http"])

    def holds(self, backend: str) -> bytes:
        """All that has come since `empty`."""
        if backend == "file":
            return self._file.read_bytes()
        if backend == "http":
            return received(self.urls["http"])
        found = []
        for key in self._redis.scan_iter(count=10_000, _type="hash"):
            found += [key, *self._redis.hvals(key)]
        return b"\n".join(found)


def behaviour(entry: Entry, backends: Backends) -> dict[str, str]:
    """What the peer does in each bad moment, in words."""

    def marks(case: str, mark: str) -> int:
        backends.empty()
        command = [sys.executable, str(HERE / "client_behaviour.py"), entry.name, case, backends.urls[entry.backend]]
        with suppress(subprocess.TimeoutExpired):
            subprocess.run(command, timeout=CASE_S_MAX, capture_output=True)
        return len(set(re.findall(rb"\b%b_\d+" % mark.encode(), backends.holds(entry.backend))))

    return {
        "exit": "-" if entry.backend == "file" else _exit_time(entry),
        "fork": f"{marks('fork', 'child')} of {CHILD_EVENTS}",
        "bad_object": f"{marks('bad_object', 'good')} of {GOOD_EVENTS}",
        "change": "yes" if marks("change", "changed") else "no",
    }


def _exit_time(entry: Entry) -> str:
    """Seconds from the last call to the end of the process, while the backend takes all and answers nothing."""
    with hanging() as port:
        url = f"{'redis' if entry.backend == 'redis' else 'http'}://127.0.0.1:{port}"
        command = [sys.executable, str(HERE / "client_behaviour.py"), entry.name, "exit", url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            assert process.stdout is not None
            last_call_at = float(process.stdout.readline())
            try:
                process.wait(EXIT_S_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                return f"> {EXIT_S_MAX:.0f} s"
            return f"{time.time() - last_call_at:.1f} s"
