"""A service of several processes: what each of them dropped is one figure, on the worker's side."""

import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from conftest import PATIENCE_S, Cli, Stack, free_port
from prometheus_client.parser import text_string_to_metric_families

HOSTS = Path(__file__).parents[1] / "hosts"


def dropped(cli: Cli) -> dict[tuple[str, str], float]:
    """What metrics say that clients dropped, by service and reason."""
    name = "joinback_client_dropped_events_of_day"
    return {
        (sample.labels["service"], sample.labels["reason"]): sample.value
        for family in text_string_to_metric_families(cli("status", "--prometheus").stdout)
        for sample in family.samples
        if sample.name == name
    }


def test_gunicorn(stack: Stack, cli: Cli, tmp_path: Path, wait_until: Callable[..., Any]) -> None:
    """Two processes of gunicorn drop events; metrics tell their sum, under the name of the service."""
    port = free_port()
    environment = os.environ | {
        "JOINBACK_REDIS_URL": stack.settings.redis_url,
        "OTEL_SERVICE_NAME": "scoring",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(HOSTS), os.environ.get("PYTHONPATH")])),
    }
    command = ["gunicorn", "--timeout", f"{PATIENCE_S:.0f}", "-w", "2", "-b", f"127.0.0.1:{port}", "lossy:wsgi"]
    pids: list[bytes] = []

    def ask() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=PATIENCE_S) as answer:
                pids.append(answer.read())
        except OSError:
            return False
        return len(set(pids)) == 2

    with (tmp_path / "host.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", *command], env=environment, stdout=log, stderr=log)
        try:
            # Which process takes a request is the system's choice: until each has had one.
            wait_until(ask)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE_S)
    assert dropped(cli) == {("scoring", "invalid"): len(pids)}
