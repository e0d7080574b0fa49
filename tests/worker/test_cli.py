"""The command: what it prints, its exit codes, and one line for every foreseen trouble."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis
from conftest import Cli, Stack

from joinback import wire
from joinback.settings import Settings
from joinback_worker.cli.redis_cli import redis_cli
from joinback_worker.cli.show import printable


def log_a_loan(stack: Stack, key: str = "loan_17") -> None:
    stack.client.log_record("loans", inputs={"amount": 900}, outputs=0.07, join_key=key, event_id="served")
    stack.client.log_record("loans", feedback={"repaid": True}, join_key=key, event_id="repaid")
    assert stack.client.flush()


def test_drain_prints_one_line(stack: Stack, cli: Cli) -> None:
    """`joinback drain` drains once and says what it did, in one line."""
    log_a_loan(stack)
    done = cli("drain")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("drained claimed=2 rows=1 joined=1 orphans=0 dead=0 released=0 duration_s=")
    assert stack.row("loan_17")["status"] == "joined"


def test_drain_json(stack: Stack, cli: Cli) -> None:
    """With --json the same as one object, with the names that scripts rely on."""
    log_a_loan(stack)
    result = json.loads(cli("drain", "--json").stdout)
    assert result.pop("duration_s") >= 0
    assert result == {"claimed": 2, "rows": 1, "joined": 1, "orphans": 0, "dead": 0, "released": 0}
    assert json.loads(cli("drain", "--json").stdout)["claimed"] == 0


def test_drain_with_a_locked_sink(stack: Stack, cli: Cli) -> None:
    """Exit code 2 and the line; the claim is released and the next drain does it."""
    log_a_loan(stack, "first")
    assert cli("drain").returncode == 0
    log_a_loan(stack)
    with closing(sqlite3.connect(stack.settings.sink_url.removeprefix("sqlite:///"), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        done = cli("drain", JOINBACK_SINK_URL=f"{stack.settings.sink_url}?busy_timeout_s=0.1")
    assert done.returncode == 2
    assert "released=2" in done.stdout
    assert len(done.stderr.splitlines()) == 1
    assert "locked by another process; end its transaction" in done.stderr
    assert cli("drain").returncode == 0
    assert stack.row("loan_17")["status"] == "joined"


def test_drain_with_a_wrong_type_at_pending(stack: Stack, cli: Cli) -> None:
    """One application's broken key is told, and does not stop the other applications."""
    log_a_loan(stack)
    stack.server.hset(wire.APPLICATIONS_KEY, "broken", '{"shards":1}')
    stack.server.set(wire.pending_key("broken"), "somebody's", ex=60)
    done = cli("drain")
    assert done.returncode == 2
    assert "holds another type" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert len(stack.rows()) == 1
    stack.server.delete(wire.pending_key("broken"))


COMMANDS = [("drain",), ("inspect", "loans", "loan_17"), ("demo",), ("worker",)]
WRONG_SETTINGS = [
    ({"JOINBACK_REDIS_URL": "127.0.0.1:6379"}, "JOINBACK_REDIS_URL is not a Redis URL"),
    ({"JOINBACK_SINK_URL": "oracle://db"}, "known are: sqlite"),
    ({"JOINBACK_EMITT": "all"}, "did you mean JOINBACK_EMIT?"),
    ({"JOINBACK_INTERVAL_S": "soon"}, "JOINBACK_INTERVAL_S='soon': Expected int"),
]
WRONG_SERVERS = [
    ({"JOINBACK_REDIS_URL": "redis://127.0.0.1:1/0"}, "no connection to Redis; check that it runs"),
    ({"JOINBACK_REDIS_URL": "redis://u:hunter2@{server}"}, "check user, password and database in JOINBACK_REDIS_URL"),
]


@pytest.mark.parametrize(
    ("command", "variables", "says"),
    [(command, *wrong) for command in COMMANDS for wrong in WRONG_SETTINGS]
    # All but the worker, which waits for its Redis.
    + [(command, *wrong) for command in COMMANDS[:-1] for wrong in WRONG_SERVERS],
)
def test_trouble_is_one_line(
    settings: Settings, cli: Cli, command: tuple[str, ...], variables: dict[str, str], says: str
) -> None:
    """Every foreseen trouble: exit code 2, one line on stderr with the fix, no traceback, no password."""
    server = settings.redis_url.removeprefix("redis://")
    done = cli(*command, **{name: value.format(server=server) for name, value in variables.items()})
    assert done.returncode == 2, done
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "hunter2" not in done.stderr + done.stdout


def test_usage_errors_exit_with_2(cli: Cli) -> None:
    """A mistyped command or option is told as such."""
    for arguments in (("drian",), ("drain", "--jason"), ("inspect", "loans")):
        done = cli(*arguments)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr


def test_inspect_shows_both_sides(stack: Stack, cli: Cli) -> None:
    """`joinback inspect` shows the record in Redis, what is pending, the row, and the same by redis-cli."""
    log_a_loan(stack)
    before = cli("inspect", "loans", "loan_17").stdout
    assert "prediction:served" in before
    assert '"inputs":{"amount":900}' in before
    assert "pending  2 of" in before
    assert "holds no row" in before
    assert "HGETALL 'joinback:{loans}:record:loan_17'" in before
    cli("drain")
    after = cli("inspect", "loans", "loan_17").stdout
    assert "pending  0 of" in after
    assert "status  joined" in after


def test_inspect_json(stack: Stack, cli: Cli) -> None:
    """With --json the same as one object."""
    log_a_loan(stack)
    cli("drain")
    found = json.loads(cli("inspect", "loans", "loan_17", "--json").stdout)
    assert set(found["events"]) == {"prediction:served", "feedback:repaid"}
    assert found["row"]["status"] == "joined"
    assert found["row"]["outputs"] == "0.07"
    assert 0 < found["expires_in_s"] <= stack.settings.buffer_ttl_s


def test_inspect_of_nothing(stack: Stack, cli: Cli) -> None:
    """An unknown key is exit code 1: scripts can ask."""
    assert cli("inspect", "loans", "loan_99").returncode == 1


def test_inspect_shows_dead_letters_and_wrong_types(stack: Stack, cli: Cli) -> None:
    """What could not become a row is found under its key, with the reason."""
    log_a_loan(stack)
    stack.server.hset(stack.record("loan_17"), "feedback:repaid", "rubbish")
    cli("drain")
    assert "dead  feedback:repaid  undecodable" in cli("inspect", "loans", "loan_17").stdout
    stack.server.set(stack.record("loan_18"), "somebody's", ex=60)
    assert "holds a string, not a record" in cli("inspect", "loans", "loan_18").stdout


def test_inspect_does_not_drive_the_terminal(stack: Stack, cli: Cli) -> None:
    """Text from elsewhere is shown escaped: no control sequences, no direction marks, no markup."""
    stack.server.hset(stack.record("k"), "feedback:\x1b[2J", "\x9b2J\u202e[red]")
    stack.server.expire(stack.record("k"), 60)
    shown = cli("inspect", "loans", "k").stdout
    assert "feedback:\\x1b[2J  \\x9b2J\\u202e[red]" in shown


def test_printable() -> None:
    """Everything that is not printable is escaped, lone surrogates included."""
    assert printable("a\x00\r\n\u202e\udc80é") == "a\\x00\\r\\n\\u202e\\udc80é"


@pytest.mark.parametrize(
    ("url", "command"),
    [
        ("redis://localhost:6379/0", "redis-cli --raw"),
        ("redis://10.0.0.1:7000/2", "redis-cli --raw -h 10.0.0.1 -p 7000 -n 2"),
        ("rediss://me:secret@cache:6379", "redis-cli --raw -h cache --tls --user me"),
        ("rediss://cache?ssl_ca_certs=/ca.pem", "redis-cli --raw -h cache --tls --cacert /ca.pem"),
        ("unix:///run/redis.sock", "redis-cli --raw -s /run/redis.sock"),
        ("redis+cluster://me:secret@a:7000,b:7001", "redis-cli --raw -c -h a -p 7000 --user me"),
        (
            "redis+sentinel://:secret@s,t/loans/2?sentinel_username=watch&sentinel_password=secret",
            "redis-cli --raw -n 2 $(redis-cli -h s -p 26379 --user watch SENTINEL GET-MASTER-ADDR-BY-NAME loans"
            " | xargs printf -- '-h %s -p %s')",
        ),
    ],
)
def test_redis_cli_line(url: str, command: str) -> None:
    """The line leads to the same server, and does not repeat a password."""
    assert redis_cli(url) == command


DEMO = {
    "rows": 7,
    "joined": 4,
    "orphans": 1,
    "conflicts": 1,
    "accounting": {"received": 14, "in_rows": 13, "pending": 0, "dead": 0, "duplicates": 1, "difference": 0},
}


def test_demo_needs_nothing(tmp_path: Path) -> None:
    """`joinback demo` with an empty environment brings its own Redis, joins, and its books balance."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JOINBACK_")}
    done = subprocess.run(
        [sys.executable, "-m", "joinback_worker", "demo", "--json"],
        env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result | DEMO == result
    assert "joinback:{loans}:record:loan_17" in done.stderr
    assert not list(tmp_path.iterdir())


def test_demo_on_a_given_redis_leaves_other_applications_alone(stack: Stack, cli: Cli) -> None:
    """On a Redis in use the demo has an application of its own, and touches no other's events."""
    log_a_loan(stack)
    # What is set for other applications is no matter to the demo.
    result = json.loads(cli("demo", "--json", JOINBACK_EMIT="joined", JOINBACK_MATURITY_S='{"loans": 60}').stdout)
    assert result | DEMO == result
    assert stack.server.xlen(wire.pending_key("loans")) == 2


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_demo_keep_leaves_nothing_behind(
    sign: signal.Signals, spawn: Callable[..., Any], wait_until: Callable[..., None], tmp_path: Path
) -> None:
    """`joinback demo --keep` runs until it is stopped, and then its server and its worker are gone too."""
    process = spawn("-m", "joinback_worker", "demo", "--keep", JOINBACK_REDIS_URL="")
    wait_until(lambda: "until Ctrl-C" in Path(process.log.name).read_text(), 60)
    port = re.search(r"127\.0\.0\.1:(\d+)", Path(process.log.name).read_text())
    assert port is not None
    with redis.Redis(port=int(port.group(1))) as connection:
        assert connection.hlen("joinback:{loans}:record:loan_17") == 2
    process.send_signal(sign)
    assert process.wait(30) == 128 + sign
    with redis.Redis(port=int(port.group(1))) as connection, pytest.raises(redis.ConnectionError):
        connection.ping()


def test_the_script_is_installed() -> None:
    """`joinback` is on the path of the environment it was installed into."""
    done = subprocess.run([Path(sys.executable).parent / "joinback", "--version"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "joinback" in done.stdout
