"""`joinback dashboard`, as it is typed: where it listens, what it refuses, what it logs, and how it ends."""

import base64
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import psutil
import pytest
from conftest import PATIENCE_S, Cli, Stack, free_port, process_environment
from dashboard.pages import Page

PASSWORD = "hunter2-of-the-dashboard"
Started = Callable[..., tuple[Any, str]]


@pytest.fixture
def start(spawn: Callable[..., Any], wait_until: Callable[..., None]) -> Started:
    """Start one on a free port, and return the process and its URL."""

    def run(*arguments: str, **variables: str) -> tuple[Any, str]:
        process = spawn("-m", "joinback_worker", "dashboard", "--port", "0", *arguments, **variables)
        wait_until(lambda: "Started server process" in log(process) or process.poll() is not None)
        found = re.search(r"^http://\S+/$", log(process), re.MULTILINE)
        assert found is not None, log(process)
        return process, found[0]

    return run


def log(process: Any) -> str:
    return Path(process.log.name).read_text()


def get(url: str, password: str | None = None) -> tuple[int, str]:
    headers = {}
    if password is not None:
        headers["Authorization"] = f"Basic {base64.b64encode(f'me:{password}'.encode()).decode()}"
    try:
        with urlopen(Request(url, headers=headers), timeout=PATIENCE_S) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


def test_it_serves_what_redis_and_the_sink_hold(start: Started, stack: Stack) -> None:
    """The overview has the books, an application's page its rows, a key's its verdict; SIGTERM ends it cleanly."""
    stack.client.log_record("loans", inputs={"amount": 1}, outputs={"default": 0.1}, join_key="loan_17")
    stack.client.log_record("loans", feedback={"repaid": True}, join_key="loan_17")
    stack.drain()
    process, url = start()
    overview = Page(get(url)[1])
    assert overview.tables["books"][1] == ["loans", "2", "2", "0", "0", "0", "0", "0", "0"]
    assert overview.tables["applications"][1][0].endswith("loans")
    assert "1 joined" in Page(get(f"{url}application?application=loans")[1]).said
    assert "joined: the label repaid came" in Page(get(f"{url}key?application=loans&join_key=loan_17")[1]).said
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_S) in (0, -signal.SIGTERM)
    assert "Traceback" not in log(process)


def test_without_redis_the_answers_are_there(start: Started, stack: Stack) -> None:
    """The overview says how to mend Redis; accuracy and delays need the sink alone."""
    stack.client.log_record("loans", inputs={"amount": 1}, outputs={"default": 0.1}, join_key="loan_17")
    stack.drain()
    _, url = start(JOINBACK_REDIS_URL=f"redis://:{PASSWORD}@127.0.0.1:{free_port()}/0")
    status, text = get(url)
    assert status == 503
    assert "Redis does not answer" in Page(text).said
    assert PASSWORD not in text
    assert get(f"{url}application?application=loans")[0] == 200
    assert get(f"{url}readyz") == (503, "Redis does not answer\n")
    assert get(f"{url}healthz") == (200, "alive\n")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "dashboard.example"])
def test_beyond_this_machine_it_wants_a_password(cli: Cli, host: str) -> None:
    """Exit code 2, and what to set."""
    done = cli("dashboard", "--host", host, "--port", "0")
    assert (done.returncode, done.stdout) == (2, "")
    assert "JOINBACK_DASHBOARD_PASSWORD" in done.stderr


def test_with_a_password_it_listens_beyond_and_shows_it_nowhere(start: Started) -> None:
    """Not in its log, nor in the list of processes, nor to who has none."""
    process, url = start("--host", "0.0.0.0", JOINBACK_DASHBOARD_PASSWORD=PASSWORD)
    assert get(url)[0] == 401
    assert get(url, "wrong")[0] == 401
    status, text = get(url, PASSWORD)
    assert status == 200
    assert PASSWORD not in text + log(process)
    assert all(PASSWORD not in " ".join(one.cmdline()) for one in [psutil.Process(process.pid)])


def test_probes_are_left_out_of_the_log(start: Started) -> None:
    """Other requests have a line each."""
    process, url = start()
    for path in ("healthz", "readyz", "healthz?from=kubelet", "nowhere"):
        get(url + path)
    assert '"GET /nowhere HTTP/1.1" 404' in log(process)
    assert "healthz" not in log(process)
    assert "readyz" not in log(process)


def test_behind_a_proxy(start: Started) -> None:
    """By the proxy's name and under its prefix: the links lead there."""
    _, url = start("--name", "tools.example", "--root-path", "/joinback")
    with urlopen(Request(url, headers={"Host": "tools.example"}), timeout=PATIENCE_S) as answer:
        text = answer.read().decode()
    assert 'href="/joinback/doctor"' in text
    assert get(url.replace("/joinback/", "/joinback/static/style.css"))[0] == 200


def test_a_port_that_is_taken(cli: Cli) -> None:
    """One line, exit code 2."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = cli("dashboard", "--port", str(taken.getsockname()[1]))
    assert done.returncode == 2
    assert "cannot listen on 127.0.0.1 port" in done.stderr
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_start_is_one_line(cli: Cli, tmp_path: Path) -> None:
    """A prefix without its slash, a file of rules that is none: exit code 2, before anything listens."""
    rules = tmp_path / "joinback.toml"
    rules.write_text("applications = 1")
    for arguments, variables in ((("--root-path", "joinback"), {}), ((), {"JOINBACK_CONFIG": str(rules)})):
        done = cli("dashboard", "--port", "0", *arguments, **variables)
        assert (done.returncode, done.stdout) == (2, "")
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [("dashboard",), ("report", "loans", "--html", "x.html")])
def test_without_the_extra_it_says_what_to_install(stack: Stack, arguments: tuple[str, ...]) -> None:
    """And all other commands work without it."""
    stack.client.log_record("loans", inputs={"amount": 1}, outputs={"default": 0.1}, join_key="loan_17")
    stack.drain()
    lacks = "import sys; sys.modules.update(dict.fromkeys(['starlette', 'jinja2', 'uvicorn', 'markupsafe']));"
    code = f"{lacks} sys.argv = ['joinback', *{arguments!r}]; from joinback_worker.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], env=process_environment(stack.settings), capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "pip install '.[dashboard]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_in_a_terminal_the_demo_stays_until_it_is_ended(wait_until: Callable[..., None]) -> None:
    """So that its page can be looked at: the figures beside the truth, where it says it is."""
    ours, theirs = os.openpty()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JOINBACK_")}
    said = bytearray()
    with subprocess.Popen(
        [sys.executable, "-m", "joinback_worker", "demo"],
        env=environment | {"COLUMNS": "200", "TERM": "dumb"}, stdin=theirs, stdout=theirs, stderr=theirs,
    ) as process:  # fmt: skip
        os.close(theirs)
        reader = threading.Thread(target=lambda: [said.extend(chunk) for chunk in iter(lambda: _read(ours), b"")])
        reader.start()
        wait_until(lambda: b"until Ctrl-C" in said or process.poll() is not None)
        found = re.search(rb"http://127\.0\.0\.1:\d+/application\?\S+", bytes(said))
        assert found is not None, said.decode()
        page = Page(get(found[0].decode())[1])
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 128 + signal.SIGINT
        reader.join()
        os.close(ours)
    days = [row for row in page.tables["days-table"][1:] if row[6]]
    off = {column: fmean(float(row[column]) - float(row[7]) for row in days[:14]) for column in (3, 6)}
    assert off[3] > 0.02
    assert abs(off[6]) < off[3]


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError:  # its other end is closed
        return b""
