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
from conftest import PATIENCE_S, Cli, Stack
from front import Front
from ruled import file

from joinback import wire
from joinback.errors import ConfigurationError
from joinback.sampling import keeps
from joinback.settings import Settings
from joinback_worker.cli.show import folded, printable
from joinback_worker.operating.redis_cli import config_fix, redis_cli, redis_fix, redis_password_hint
from joinback_worker.operating.sql_line import sql_line
from joinback_worker.sinks.schemes import module_of

ROOT = Path(__file__).parents[2]


def log_a_loan(stack: Stack, key: str = "loan_17") -> None:
    stack.client.log_record("loans", inputs={"amount": 900}, outputs=0.07, join_key=key, event_id="served")
    stack.client.log_record("loans", feedback={"repaid": True}, join_key=key, event_id="repaid")
    assert stack.client.flush(PATIENCE_S)


def test_drain_prints_one_line(stack: Stack, cli: Cli) -> None:
    """`joinback drain` drains once and says what it did and where the rows went, in one line."""
    log_a_loan(stack)
    done = cli("drain")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(
        "drained claimed=2 rows=1 joined=1 orphans=0 matured=0 dead=0 erased=0 released=0 duration"
    )
    assert done.stdout.endswith(f" sink={stack.settings.sink_url}\n")
    assert stack.row("loan_17")["status"] == "joined"


def test_drain_json(stack: Stack, cli: Cli) -> None:
    """With --json the same as one object, with the names that scripts rely on."""
    log_a_loan(stack)
    result = json.loads(cli("drain", "--json").stdout)
    assert result.pop("duration_s") >= 0
    counts = {"claimed": 2, "rows": 1, "joined": 1, "orphans": 0, "matured": 0, "dead": 0, "erased": 0, "released": 0}
    assert result == counts | {"sink": stack.settings.sink_url, "error": None}
    assert json.loads(cli("drain", "--json").stdout)["claimed"] == 0


def test_drain_with_a_locked_sink(stack: Stack, cli: Cli) -> None:
    """Exit code 2 and no word of success; the claim is released and the next drain does it."""
    log_a_loan(stack, "first")
    assert cli("drain").returncode == 0
    log_a_loan(stack)
    with closing(sqlite3.connect(stack.settings.sink_url.removeprefix("sqlite:///"), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        done = cli("drain", JOINBACK_SINK_URL=f"{stack.settings.sink_url}?busy_timeout_s=0.1")
    assert done.returncode == 2
    assert done.stdout.startswith("failed claimed=2 rows=0")
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


COMMANDS = [
    ("drain",), ("explain", "loans", "loan_17"), ("retract", "loans", "--key", "loan_17", "--yes"),
    ("label", "loans", "loan_17", "repaid=true"), ("demo",), ("worker",),
]  # fmt: skip
WRONG_SETTINGS = [
    ({"JOINBACK_REDIS_URL": "127.0.0.1:6379"}, "JOINBACK_REDIS_URL is not a Redis URL"),
    ({"JOINBACK_SINK_URL": "oracle://db"}, "known are: embedded, sqlite"),
    ({"JOINBACK_SINK_URL": "sqlite:/x.db"}, "the path must follow three slashes; write sqlite:////x.db"),
    ({"JOINBACK_EMITT": "all"}, "did you mean JOINBACK_EMIT?"),
    ({"JOINBACK_INTERVAL_S": "soon"}, "JOINBACK_INTERVAL_S='soon' must be a whole number of seconds, such as 300"),
]
WRONG_SERVERS = [
    ({"JOINBACK_REDIS_URL": "redis://127.0.0.1:1/0"}, "no connection to Redis; check that it runs"),
    ({"JOINBACK_REDIS_URL": "redis://u:hunter2@{server}"}, "check user, password and database in JOINBACK_REDIS_URL"),
]


@pytest.mark.parametrize("scheme", ["sqlite", "chdb", "delta", "parquet", "jsonl"])
def test_a_path_after_one_slash_is_refused(scheme: str) -> None:
    """Of every sink that is a file: each such URL would name a relative place, and all of them the same one."""
    for wrong in (f"{scheme}:/var/lib/x", f"{scheme}:var/lib/x"):
        with pytest.raises(ConfigurationError, match=f"write {scheme}:////var/lib/x"):
            module_of(wrong)


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
    for arguments in (("drian",), ("drain", "--jason"), ("explain", "loans")):
        done = cli(*arguments)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr


def test_explain_shows_both_sides(stack: Stack, cli: Cli) -> None:
    """`joinback explain` begins with its verdict; then the evidence in time, the row, and the same by redis-cli."""
    log_a_loan(stack)
    before = cli("explain", "loans", "loan_17").stdout
    assert "prediction:served" in before
    assert '"inputs":{"amount":900}' in before
    assert before.splitlines()[0].startswith("in the queue for ")
    assert before.count("entered the queue") == 2
    assert f"sink  {stack.settings.sink_url}" in before
    assert "does not exist yet" in before
    assert "HGETALL 'joinback:{loans}:record:loan_17'" in before
    cli("drain")
    after = cli("explain", "loans", "loan_17").stdout
    assert after.splitlines()[0].startswith("joined: the label repaid came ")
    assert "entered the queue" not in after
    assert "status  joined" in after


def test_explain_json(stack: Stack, cli: Cli) -> None:
    """With --json the same as one object."""
    log_a_loan(stack)
    cli("drain")
    found = json.loads(cli("explain", "loans", "loan_17", "--json").stdout)
    assert set(found["events"]) == {"prediction:served", "feedback:repaid"}
    assert found["row"]["status"] == "joined"
    assert found["row"]["outputs"] == "0.07"
    assert 0 < found["expires_in_s"] <= stack.settings.buffer_ttl_s


def test_explain_of_nothing(stack: Stack, cli: Cli) -> None:
    """An unknown key is exit code 1: scripts can ask. An unknown application is a typo."""
    log_a_loan(stack)
    assert cli("explain", "loans", "loan_99").returncode == 1
    done = cli("explain", "laons", "loan_17")
    assert (done.returncode, done.stderr) == (2, "joinback: no application laons; did you mean loans?\n")


def test_explain_of_a_key_outside_the_sample(stack: Stack, cli: Cli) -> None:
    """A key that nobody logs at this rate is told as such, not as one that was never logged."""
    stack.client.set_sample_rate("ads", 0.01)
    keys = [f"key_{n}" for n in range(500)]
    for key in keys:
        stack.client.log_record("ads", inputs=1, outputs=2, join_key=key)
    assert stack.client.flush(PATIENCE_S)
    outside = next(key for key in keys if not keeps("ads", key, 0.01))
    done = cli("explain", "ads", outside)
    assert done.returncode == 1
    assert done.stdout.splitlines()[0].startswith("sampled out: 0.01 of the keys of 'ads' are logged")


def test_status_before_the_first_event(stack: Stack, cli: Cli) -> None:
    """An empty Redis is said to be empty, with what comes next."""
    done = cli("status")
    assert done.returncode == 0
    assert "no application yet" in done.stdout


def test_explain_shows_dead_letters_and_wrong_types(stack: Stack, cli: Cli) -> None:
    """What could not become a row is found under its key, with the reason."""
    log_a_loan(stack)
    stack.server.hset(stack.record("loan_17"), "feedback:repaid", "rubbish")
    cli("drain")
    shown = cli("explain", "loans", "loan_17").stdout
    assert shown.splitlines()[0].startswith("dead, because undecodable: ")
    assert "dead letter: undecodable of feedback:repaid" in shown
    stack.server.set(stack.record("loan_18"), "somebody's", ex=60)
    assert "a string, not a record, stands at its key" in cli("explain", "loans", "loan_18").stdout


def test_explain_does_not_drive_the_terminal(stack: Stack, cli: Cli) -> None:
    """Text from elsewhere is shown escaped: no control sequences, no direction marks, no markup."""
    stack.server.hset(stack.record("k"), "feedback:\x1b[2J", "\x9b2J\u202e[red]")
    stack.server.expire(stack.record("k"), 60)
    shown = cli("explain", "loans", "k").stdout
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
        ("unix:///run/redis.sock", "redis-cli --raw -s /run/redis.sock"),
        ("unix://me:secret@/run/redis.sock?db=3", "redis-cli --raw -s /run/redis.sock --user me -n 3"),
        ("redis://cache:6380/?db=3", "redis-cli --raw -h cache -p 6380 -n 3"),
        ("redis://cache/2?db=3", "redis-cli --raw -h cache -n 3"),
        ("redis://cache?username=me&password=secret", "redis-cli --raw -h cache --user me"),
        ("rediss://c?ssl_ca_certs=/etc/my%20ca.pem", "redis-cli --raw -h c --tls --cacert '/etc/my ca.pem'"),
        ("redis+cluster://me:secret@a:7000,b:7001", "redis-cli --raw -c -h a -p 7000 --user me"),
        (
            "redis+sentinel://:secret@s,t/loans/2?sentinel_username=watch&sentinel_password=secret",
            "redis-cli --raw -n 2 $(redis-cli -h s -p 26379 --user watch SENTINEL GET-MASTER-ADDR-BY-NAME loans"
            " | xargs printf -- '-h %s -p %s')",
        ),
        ("redis://me%3Bid:x@cache", "redis-cli --raw -h cache --user 'me;id'"),
    ],
)
def test_redis_cli_line(url: str, command: str) -> None:
    """The line leads to the same server, and does not repeat a password."""
    assert redis_cli(url, raw=True) == command
    assert redis_cli(url) == command.replace(" --raw", "")


@pytest.mark.parametrize(
    ("url", "line"),
    [
        ("sqlite:////srv/a b.db", "sqlite3 -readonly '/srv/a b.db' 'select 1'"),
        ("postgresql://me:secret@db:5433/x?timeout_s=3", "psql postgresql://me@db:5433/x -c 'select 1'"),
        (
            "postgres://me:s%40t@db/x?sslmode=require&password=secret&sslpassword=t",
            "psql 'postgres://me@db/x?sslmode=require' -c 'select 1'",
        ),
        ("clickhouse://ch/d", "clickhouse-client --host ch --database d --query 'select 1'"),
        (
            "clickhouses://me:secret@ch:8443",
            "clickhouse-client --host ch --secure --user me --password --database default --query 'select 1'",
        ),
        ("jsonl:////srv/lake", "(joinback sink schema jsonl:////srv/lake; echo 'select 1') | duckdb"),
        ("stdout:", None),
    ],
)
def test_sql_line(url: str, line: str | None) -> None:
    """Each sink's own tool, led to the same place, and no password."""
    assert sql_line(url, "select 1") == line
    assert "secret" not in (line or "")


def test_a_password_is_asked_for_by_redis_cli(stack: Stack, cli: Cli) -> None:
    """Where the URL has a password, the lines say how redis-cli is told it; and they never hold it."""
    hints = [redis_password_hint(Settings(redis_url=f"redis://{rest}")) for rest in (":secret@h", "h?password=secret")]
    assert hints[0] == hints[1]
    assert "REDISCLI_AUTH" in (hints[0] or "")
    assert redis_password_hint(Settings(redis_url="redis://h")) is None
    assert "REDISCLI_AUTH" in (redis_password_hint(Settings(redis_credentials="a:b")) or "")


def test_a_redis_cli_line_that_mends() -> None:
    """A fix leads to the Redis of the URL, says how redis-cli gets the password, and how to keep a setting."""
    cache = Settings(redis_url="rediss://me:secret@cache/2")
    line = redis_fix(cache, "HINCRBY k f 1")
    assert line.startswith("redis-cli -h cache --tls --user me -n 2 HINCRBY k f 1; redis-cli takes the password from")
    assert "secret" not in line
    assert config_fix(Settings(redis_url="redis+cluster://a:7000,b:7001"), "appendonly", "yes") == (
        "redis-cli -c -h a -p 7000 CONFIG SET appendonly yes; the same on each server;"
        " then CONFIG REWRITE, or put it into redis.conf"
    )


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
        env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result | DEMO == result
    assert "joinback:{loans}:record:loan_17" in done.stderr
    assert not list(tmp_path.iterdir())
    # Each status has a sentence, no JSON is cut, and no line names what is gone by now.
    for word in ("joined   ", "predicted", "orphan   ", "duplicate", "conflict ", "laon_20 is misspelt"):
        assert f"\n{word}" in done.stderr or word in done.stderr
    assert '{"days_late":14,"repaid":true}' in done.stderr
    assert "redis-cli" not in done.stderr
    assert "sqlite3" not in done.stderr
    # Nor the address of a page that ends with the demo.
    assert "/application?" not in done.stderr
    assert "joinback demo --keep" in done.stderr


def test_demo_on_a_given_redis_leaves_other_applications_alone(stack: Stack, cli: Cli) -> None:
    """On a Redis in use the demo has an application of its own, and touches no other's events."""
    log_a_loan(stack)
    # What is set for other applications is no matter to the demo.
    done = cli("demo", "--json", JOINBACK_EMIT="joined", JOINBACK_CONFIG=file(stack.folder, loans={"maturity_s": 60}))
    result = json.loads(done.stdout)
    assert result | DEMO == result
    assert stack.server.xlen(wire.pending_key("loans")) == 2
    # Of its application nothing is left in Redis, and it says which rows are left in the sink.
    application = result["application"]
    assert application != "loans"
    assert not stack.server.keys(f"joinback:*{application}*")
    assert stack.server.hkeys(wire.APPLICATIONS_KEY) == [b"loans"]
    assert not stack.server.exists(wire.SINK_KEY)
    assert (
        f"The rows of application '{application}' stay in {stack.settings.sink_url}. Delete them there." in done.stderr
    )


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_demo_keep_leaves_nothing_behind(
    sign: signal.Signals, spawn: Callable[..., Any], wait_until: Callable[..., None], tmp_path: Path
) -> None:
    """`joinback demo --keep` runs until it is stopped, and then its server and its worker are gone too."""
    process = spawn("-m", "joinback_worker", "demo", "--keep", JOINBACK_REDIS_URL="")
    wait_until(lambda: "until Ctrl-C" in Path(process.log.name).read_text())
    port = re.search(r"127\.0\.0\.1:(\d+)", Path(process.log.name).read_text())
    assert port is not None
    with redis.Redis("127.0.0.1", int(port.group(1))) as connection:
        assert connection.hlen("joinback:{loans}:record:loan_17") == 2
    process.send_signal(sign)
    assert process.wait(PATIENCE_S) == 128 + sign
    with redis.Redis("127.0.0.1", int(port.group(1))) as connection, pytest.raises(redis.ConnectionError):
        connection.ping()


def test_demo_beside_another_sink(stack: Stack, cli: Cli) -> None:
    """On a Redis whose rows go elsewhere the demo keeps to its own sink, and the other stays published."""
    log_a_loan(stack)
    assert cli("drain").returncode == 0
    result = json.loads(cli("demo", "--json", JOINBACK_SINK_URL="").stdout)
    assert result | DEMO == result
    assert stack.server.hkeys(wire.SINK_KEY) == [b"*"]
    assert len(stack.rows()) == 1


def test_help_is_whole(cli: Cli) -> None:
    """No command's summary is cut off in --help, at 80 columns."""
    for arguments in ((), ("dead",), ("sink",)):
        summaries = cli(*arguments, "--help", COLUMNS="80").stdout.partition("Commands:")[2].strip().splitlines()
        assert len(summaries) >= 4
        for line in summaries:
            assert line.endswith("."), line
            assert not line.endswith(".."), line


@pytest.mark.parametrize(
    ("words", "offered"),
    [("joinback sta", "status"), ("joinback dead re", "replay"), ("joinback status --wa", "--watch")],
)
def test_completion(cli: Cli, words: str, offered: str) -> None:
    """The variable that docs/reference/commands.md sets makes a shell complete commands and options."""
    assert "_JOINBACK_COMPLETE=bash_source joinback" in (ROOT / "docs/reference/commands.md").read_text()
    number = str(words.count(" "))
    done = subprocess.run(
        [Path(sys.executable).with_name("joinback")], capture_output=True, text=True, check=True,
        env=os.environ | {"_JOINBACK_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": number},
    )  # fmt: skip
    assert f"plain,{offered}" in done.stdout.splitlines()


@pytest.mark.parametrize("arguments", [("drain", "--application"), ("dead", "list"), ("requeue",), ("sink", "refold")])
def test_a_wrong_application_is_told(stack: Stack, cli: Cli, arguments: tuple[str, ...]) -> None:
    """A misspelt application is exit code 2, with the name that was meant; not an empty answer."""
    assert "no application has logged yet" in cli(*arguments, "fraud").stderr
    stack.client.log_record("fraud", inputs=1, outputs=2)
    assert stack.client.flush(PATIENCE_S)
    done = cli(*arguments, "fruad")
    assert (done.returncode, done.stderr) == (2, "joinback: no application fruad; did you mean fraud?\n")
    assert done.stdout == ""
    assert "known are fraud" in cli(*arguments, "something-else").stderr


def test_a_worker_for_an_application_that_has_not_logged_yet(
    stack: Stack, spawn: Callable[..., Any], wait_until: Callable[..., None]
) -> None:
    """A worker may be there before its application: it says so, waits, and drains the first event."""
    log_a_loan(stack)
    process = spawn("-m", "joinback_worker", "worker", "--application", "laons", JOINBACK_INTERVAL_S="1")
    wait_until(lambda: "did you mean loans?" in Path(process.log.name).read_text())
    stack.client.log_record("laons", inputs=1, outputs=2, join_key="first")
    assert stack.client.flush(PATIENCE_S)
    wait_until(lambda: stack.server.hget(wire.stats_key("laons"), "in_rows") == b"1")
    assert stack.server.xlen(wire.pending_key("loans")) == 2


def test_the_script_is_installed() -> None:
    """`joinback` is on the path of the environment it was installed into."""
    done = subprocess.run([Path(sys.executable).parent / "joinback", "--version"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "joinback" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("sink", "schema", "foo://host/db"), "joinback: URL "),
        (("sink", "compact", "nonsense"), "joinback: URL "),
        (("sink", "copy", "sqlite:///a.db", "sqlite:/b.db"), "joinback: TO: "),
        (("sink", "copy", "sqlite://", "sqlite:///b.db"), "joinback: FROM "),
        (("sink", "schema", "LAKE_URL"), "joinback: LAKE_URL "),
        (("sink", "copy", "sqlite:///text.db", "sqlite:///b.db"), " its URL "),
    ],
)
def test_a_wrong_url_is_blamed_by_its_own_name(cli: Cli, tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    """An error of a URL that was given names its argument or its variable, not the setting."""
    (tmp_path / "text.db").write_text("this is no database, but a text of some length\n" * 100)
    done = cli(*arguments, LAKE_URL="foo://host/db")
    assert done.returncode == 2, done
    assert says in done.stderr
    assert "JOINBACK_SINK_URL" not in done.stderr


def test_how_long_a_silent_redis_was_waited_for(settings: Settings, cli: Cli) -> None:
    """Of a server that takes connections and says nothing, place and time waited are named."""
    with Front(0) as front:
        front.answer = lambda command: b""
        done = cli("status", JOINBACK_REDIS_URL=front.url)
    assert done.returncode == 2
    assert re.fullmatch(rf"joinback: {front.url}, after \d+ s: Redis did not answer in time; .*\n", done.stderr), done


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("! sink_down: ads: the sink is away", "! sink_down: ads:\n  the sink is away"),
        ("FIX   sink  down: it is away", "FIX   sink  down:\n            it is\n            away"),
        ("      why: No row is written.", "      why: No row\n           is\n           written."),
        ("a sentence that is too long", "a sentence that is\ntoo long"),
        # A command is copied whole, and a long word has nowhere to break.
        ("    redis-cli -h cache CONFIG SET a b", "    redis-cli -h cache CONFIG SET a b"),
        ("    then: joinback requeue loans", "    then: joinback requeue loans"),
        ("sqlite:////var/lib/joinback/a.db", "sqlite:////var/lib/joinback/a.db"),
    ],
)
def test_sentences_break_at_blanks(line: str, shown: str) -> None:
    """At a terminal, below the text that they continue; a line with a command, and piped output, stay whole."""
    assert folded(line, 18) == shown
    assert folded(line, None) == line
