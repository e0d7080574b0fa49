"""No password in any output, log line, traceback or list of processes: canaries stand in every login."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from conftest import PATIENCE_S, Cli, Stack, process_environment
from msgspec import structs

from joinback import wire
from joinback_worker.cli import main

CANARY = "c4n4ry"
PASSWORD = f"{CANARY}/p@ss%"
ENCODED = f"{CANARY}%2Fp%40ss%25"


def is_clean(*texts: str | bytes) -> bool:
    return not any(CANARY in (text.decode(errors="replace") if isinstance(text, bytes) else text) for text in texts)


@pytest.fixture
def redis_with_password(stack: Stack) -> Iterator[str]:
    """The server by a login whose password has to be encoded."""
    stack.server.execute_command("ACL", "SETUSER", "me", "on", f">{PASSWORD}", "~*", "+@all")
    yield stack.settings.redis_url.replace("redis://", f"redis://me:{ENCODED}@")
    stack.server.execute_command("ACL", "DELUSER", "me")


@pytest.fixture
def postgres_with_password() -> Iterator[str]:
    """An empty database, by a role that has to say its password."""
    from postgres_server import fresh_database, shared_server

    with psycopg.connect(shared_server().url, autocommit=True) as admin:
        admin.execute("DROP ROLE IF EXISTS locked")
        admin.execute(f"CREATE ROLE locked SUPERUSER LOGIN PASSWORD '{PASSWORD}'".encode())
    with fresh_database() as url:
        yield url.replace("postgres@", f"locked:{ENCODED}@")
    with psycopg.connect(shared_server().url, autocommit=True) as admin:
        admin.execute("DROP ROLE locked")


def processes(of: psutil.Process) -> list[str]:
    """The command lines of a process and what it started, as `ps` shows them to everybody."""
    return [" ".join(process.cmdline()) for process in [of, *of.children(recursive=True)]]


COMMANDS = [
    ("drain",), ("drain", "--json"), ("status",), ("status", "--json"), ("explain", "loans", "a"), ("doctor",),
    ("orphans", "loans"), ("tap", "loans", "--payloads"), ("doctor", "--probe"),
    ("explain", "loans", "a", "--json"), ("dead", "list", "loans"), ("dead", "replay", "loans", "--all"),
    ("requeue", "loans"), ("sink", "schema"), ("sink", "compact"), ("sink", "adopt"), ("sink", "refold", "loans"),
    ("sink", "copy", "JOINBACK_SINK_URL", "JOINBACK_SINK_URL"), ("sink", "views", "loans"),
    ("sink", "views", "loans", "--print"), ("export", "loans", "--json"), ("--help",), ("demo", "--json"),
]  # fmt: skip


def test_every_command(stack: Stack, cli: Cli, redis_with_password: str, postgres_with_password: str) -> None:
    """All that works, with passwords on both sides: every command does its work, and shows neither."""
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="a")
    stack.client.log_record("loans", feedback={"x": 1}, join_key="a", event_id="torn")
    assert stack.client.flush(PATIENCE_S)
    stack.server.hset(stack.record("a"), "feedback:torn", "rubbish")
    for command in COMMANDS:
        done = cli(*command, JOINBACK_REDIS_URL=redis_with_password, JOINBACK_SINK_URL=postgres_with_password)
        assert is_clean(done.stdout, done.stderr), command
        assert "Traceback" not in done.stderr
        # The letter is trouble, and a sink is not copied onto itself.
        expected = {("status",): 1, ("doctor",): 1, ("sink", "copy"): 2}
        assert done.returncode == expected.get(command[:2], expected.get(command[:1], 0)), (command, done)
    assert is_clean(*stack.server.hvals(wire.SINK_KEY))
    stack.drain()


def wrong_urls(postgres: str) -> dict[str, dict[str, str]]:
    """By name: settings that fail, each with the canary where a person may have put it."""
    port = postgres.rpartition(":")[2]
    sinks = {
        "wrong password": postgres.replace("p%40ss", "wrong"),
        "raw at": f"postgresql://me:first@{CANARY}@127.0.0.1:{port}",
        "raw slash": f"postgresql://me:12/{CANARY}@127.0.0.1:{port}",
        "raw question": f"postgresql://me:12?{CANARY}@127.0.0.1:{port}",
        "password option": f"postgresql://me@127.0.0.1:1/x?password={CANARY}",
        "no such option": f"postgresql://me@127.0.0.1:1/x?pasword={CANARY}",
        "clickhouse down": f"clickhouse://me:{CANARY}@127.0.0.1:1/d",
        "clickhouse raw at": f"clickhouse://me:first@{CANARY}@127.0.0.1:1/d",
        "clickhouse raw slash": f"clickhouse://me:12/{CANARY}@127.0.0.1:1/d",
        "clickhouse raw hash": f"clickhouse://me:12#{CANARY}@127.0.0.1:1/d",
        "postgresql bracket": f"postgresql://me:[{CANARY}@127.0.0.1:1/x",
        "clickhouse bracket": f"clickhouse://me:[{CANARY}@127.0.0.1:1/x",
        "sqlite bracket": f"sqlite://[{CANARY}/x.db",
        "no scheme": f"me:{CANARY}@host/db",
        "only the password": CANARY,
        "another scheme": f"mysql://me:{CANARY}@host/db",
        "sqlite with a login": f"sqlite://me:{CANARY}@host/x.db",
        "sqlite option": f"sqlite:////x.db?busy_timeout_s={CANARY}",
        "lake with a login": f"parquet://me:{CANARY}@host/x",
        "stdout": f"stdout:{CANARY}",
    }
    wrong = {name: {"JOINBACK_SINK_URL": url} for name, url in sinks.items()}
    for name, url in {
        "redis password": "redis://me:{}@127.0.0.1:{port}/0",
        "redis raw at": "redis://me:first@{}@127.0.0.1:1/0",
        "redis raw slash": "redis://me:12/{}@127.0.0.1:1/0",
        "redis no scheme": "me:{}@127.0.0.1:1/0",
        "redis option": "redis://127.0.0.1:1/0?password={}&socket_timeout=x",
        "redis unix": "unix://me:{}@/no/such.sock",
    }.items():
        wrong[name] = {"JOINBACK_REDIS_URL": url.format(CANARY, port="{redis_port}")}
    return wrong


def test_what_is_wrong(
    stack: Stack,
    cli: Cli,
    postgres_with_password: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """All that fails, at connecting or before: one line says what to mend, and does not repeat a password's tail."""
    port = stack.settings.redis_url.rpartition(":")[2].partition("/")[0]
    base = {"JOINBACK_REDIS_URL": stack.settings.redis_url, "JOINBACK_SINK_URL": stack.settings.sink_url}
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="a")
    assert stack.client.flush(PATIENCE_S)
    for name, wrong in wrong_urls(postgres_with_password).items():
        stack.server.delete(wire.SINK_KEY)
        variables = base | {key: value.replace("{redis_port}", port) for key, value in wrong.items()}
        answers = [cli("drain", **variables)]
        assert answers[0].returncode == 2, (name, answers)
        # The others in this process: starting one takes most of the time.
        for key, value in variables.items():
            monkeypatch.setenv(key, value)
        for command in (("explain", "loans", "a"), ("doctor",), ("sink", "adopt"), ("sink", "schema")):
            monkeypatch.setattr(sys, "argv", ["joinback", *command])
            with pytest.raises(SystemExit) as exit_:
                main()
            answers.append(subprocess.CompletedProcess(command, int(str(exit_.value.code or 0)), *capsys.readouterr()))
        for done in answers:
            assert is_clean(done.stdout, done.stderr), (name, done)
            assert "Traceback" not in done.stderr, (name, done)
            assert len(done.stderr.splitlines()) <= 1, (name, done)
    stack.server.delete(wire.SINK_KEY)
    stack.drain()


def test_worker_demo_and_the_list_of_processes(
    stack: Stack,
    spawn: Callable[..., Any],
    wait_until: Callable[..., None],
    redis_with_password: str,
    postgres_with_password: str,
) -> None:
    """A worker whose sink fails and comes back, and a demo that is kept: no log, and no command line, shows a login."""
    variables = {"JOINBACK_REDIS_URL": redis_with_password, "JOINBACK_INTERVAL_S": "1"}
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="a")
    assert stack.client.flush(PATIENCE_S)
    bad = postgres_with_password.replace("p%40ss", "wrong")
    failing = spawn("-m", "joinback_worker", "worker", **variables, JOINBACK_SINK_URL=bad)
    wait_until(lambda: "refuses the connection" in Path(failing.log.name).read_text())
    assert is_clean(*processes(psutil.Process(failing.pid)))
    failing.terminate()
    failing.wait(PATIENCE_S)
    good = spawn("-m", "joinback_worker", "worker", **variables, JOINBACK_SINK_URL=postgres_with_password)
    wait_until(lambda: stack.books().pending == 0)
    demo = spawn("-m", "joinback_worker", "demo", "--keep", **variables, JOINBACK_SINK_URL=postgres_with_password)
    wait_until(lambda: "until Ctrl-C" in Path(demo.log.name).read_text())
    shown = Path(demo.log.name).read_text()
    assert "psql postgresql://locked@127.0.0.1" in shown
    assert "REDISCLI_AUTH" in shown
    assert is_clean(*processes(psutil.Process(demo.pid)), *processes(psutil.Process(good.pid)))
    for process in (good, demo):
        process.terminate()
        process.wait(PATIENCE_S)
    assert is_clean(*(Path(process.log.name).read_text() for process in (failing, good, demo)))
    assert not stack.server.keys("joinback:*demo*")


def test_a_traceback(stack: Stack, redis_with_password: str) -> None:
    """A fault that nobody foresaw ends in a traceback that shows code, and no setting."""
    broken = (
        "import joinback_worker.drain.drainer as drainer, joinback_worker.cli as cli\n"
        "async def drain(*_, **__): raise ZeroDivisionError\n"
        "drainer.drain = drain\n"
        "cli.main()"
    )
    stack.client.log_record("loans", inputs=1, outputs=2)
    assert stack.client.flush(PATIENCE_S)
    settings = structs.replace(stack.settings, redis_url=redis_with_password)
    environment = process_environment(settings)
    done = subprocess.run(
        [sys.executable, "-c", broken, "drain"], env=environment, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert "ZeroDivisionError" in done.stderr
    assert is_clean(done.stdout, done.stderr)
    stack.server.xgroup_destroy(wire.pending_key("loans"), wire.GROUP)
    stack.drain()


def test_the_canary_is_seen() -> None:
    """These tests look at something."""
    assert not is_clean("", f"x{CANARY}x")
