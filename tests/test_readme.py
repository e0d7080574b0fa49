"""README does not lie: its code runs, its outputs are what comes out, its tables are what the code declares."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, get_type_hints

import pandas as pd
import pytest
import redis
from conftest import PATIENCE_S, Cli, Stack

import joinback
from joinback import wire
from joinback.settings import Settings, reader_of
from joinback.testing import capture

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """The fenced blocks of one language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.fixture
def default_client(stack: Stack) -> Any:
    """The module's own client, on the test's server, as README's code uses it."""
    joinback.init(stack.settings.redis_url, strict=True)
    yield joinback.default_client
    joinback.close()


def test_thirty_seconds(stack: Stack, default_client: joinback.Client, cli: Cli) -> None:
    """The service of README serves, its drain joins, and its query answers as README says."""
    namespace: dict[str, Any] = {}
    exec(blocks("python")[0], namespace)
    service = namespace["app"].test_client()
    assert service.post("/loans/loan_17/predict", json={"amount": 900}).json == {"default": 0.07}
    assert service.post("/loans/loan_17/repay").status_code == 204
    assert joinback.flush(PATIENCE_S)
    assert cli("drain").returncode == 0
    (query,) = blocks("sql")
    with closing(sqlite3.connect(stack.settings.sink_url.removeprefix("sqlite:///"))) as database:
        answer = ["|".join(map(str, row)) for row in database.execute(query)]
    assert "\n".join(answer) + "\n" == blocks("text")[0]


def test_the_transcript(stack: Stack, default_client: joinback.Client) -> None:
    """After README's two calls the record reads as README shows, but for the clock."""
    (calls,) = [block for block in blocks("python") if "booking-0815" in block]
    exec(calls, {"joinback": joinback})
    assert joinback.flush(PATIENCE_S)
    (transcript,) = [block for block in blocks("text") if block.startswith("$ redis-cli")]
    command, *expected = transcript.splitlines()
    key = re.search(r"'(.*)'", command)
    assert key is not None
    # A hash has no order of its own.
    answer = {field.decode(): _timeless(event.decode()) for field, event in stack.server.hgetall(key.group(1)).items()}
    assert answer == {field: _timeless(event) for field, event in zip(expected[::2], expected[1::2], strict=True)}


def test_in_your_service(
    stack: Stack, default_client: joinback.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """README's decorator and options do what their comments say."""
    monkeypatch.setenv("PSEUDONYM_KEY", "secret")
    monkeypatch.setenv("JOINBACK_REDIS_URL", stack.settings.redis_url)
    (setup,) = [block for block in blocks("python") if "spool_dir" in block]
    namespace: dict[str, Any] = {"joinback": joinback}
    exec(setup.replace("/var/lib/loans", str(tmp_path)), namespace)
    with capture() as events:
        namespace["score"](loan_id="loan_17", amount=900, email="a@b.c 1234567812345678")
        joinback.log_record("internal", inputs=1, outputs=1)
    (event,) = events
    assert event.inputs["email"] not in ("", "a@b.c 1234567812345678")
    assert event.inputs["amount"] == 900
    with capture() as events:
        joinback.log_record("loans", inputs={"text": "my card 1234 5678 1234 5678!"}, outputs=1)
    assert events[0].inputs == {"text": "my card <card>!"}
    assert joinback.flush(PATIENCE_S)
    assert stack.server.exists(stack.record("a"), stack.record("b")) == 2
    assert (tmp_path / "joinback").is_dir()


def test_the_limits() -> None:
    """The limits of README are those of wire.py."""
    (line,) = [line for line in README.splitlines() if line.startswith("At most 1 MiB per event")]
    numbers = [int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*(?= )", line)]
    limits = [wire.JOIN_KEY_BYTES_MAX, wire.APPLICATION_BYTES_MAX, wire.EVENT_ID_BYTES_MAX, wire.RECORD_EVENTS_MAX]
    assert numbers == [wire.EVENT_BYTES_MAX >> 20, *limits]


def test_a_table(stack: Stack, default_client: joinback.Client) -> None:
    """README's table of labels joins, may be logged again, and says nothing where a label is missing."""
    (call,) = [block for block in blocks("python") if "event_ids=" in block]
    joinback.log_records("loans", inputs=[900, 100], outputs=[0.07, 0.5], join_keys=[17, 18])
    frame = pd.DataFrame({"id": [17, 18], "repaid": [True, None], "day": ["2026-11-23", "2026-11-24"]})
    for _ in range(2):
        exec(call, {"joinback": joinback, "frame": frame})
    assert joinback.flush(PATIENCE_S)
    stack.drain()
    assert [(row["join_key"], row["status"]) for row in stack.rows()] == [("17", "joined"), ("18", "predicted")]
    assert stack.books().duplicates == 1


def _timeless(line: str) -> str:
    return re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "<time>", line)


def test_the_settings_table() -> None:
    """Each variable, its default, who reads it and its meaning are the Struct's own."""
    table = dict(re.findall(r"^\| `(JOINBACK_\w+)` \| (.*) \|$", README, re.MULTILINE))
    declared = {}
    for field in Settings.__struct_fields__:
        default = getattr(Settings(), field)
        description = _description(field)
        shown = "" if default is None else f"`{default}` "
        declared[f"JOINBACK_{field.upper()}"] = f"{shown}| {reader_of(field)} | {description}"
    assert table == declared


def _description(field: str) -> str:
    hint = get_type_hints(Settings, include_extras=True)[field]
    description: str = hint.__metadata__[0].description
    return description


def test_nobody_is_sent_to_a_package_index() -> None:
    """No error and no page advises to install a package of our name, which somebody else may take."""
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    for path in [*pages, *(ROOT / "client").rglob("*.py"), *(ROOT / "worker").rglob("*.py")]:
        assert not re.search(r"(?:pip|uv|poetry) (?:install|add) [^.\n]*\bjoinback\b", path.read_text()), path


def test_the_key_table() -> None:
    """The keys of README are the ones wire.py makes."""
    for key in (
        wire.record_key("loans", "loan_17"),
        wire.pending_key("loans"),
        wire.dead_key("loans"),
        wire.stats_key("loans"),
        wire.history_key("loans"),
        wire.APPLICATIONS_KEY,
        wire.PAUSED_KEY,
        wire.SINK_KEY,
    ):
        assert f"| `{key}` |" in README


def test_the_least_rights_are_enough(stack: Stack, cli: Cli, spawn: Any, wait_until: Any) -> None:
    """Client and worker do all their work with the ACL of README, and the client can do no other."""
    (acl,) = blocks("acl")
    for line in acl.splitlines():
        _, name, *rules = line.split()
        stack.server.execute_command("ACL", "SETUSER", name, "reset", *rules)
    host = stack.settings.redis_url.removeprefix("redis://")
    try:
        client = joinback.Client().init(f"redis://joinback-client:secret@{host}", strict=True)
        client.log_record("loans", inputs=1, outputs=2, feedback={"a": 1}, join_key="loan_17")
        client.retract("loans", "loan_17")
        # Enough events for the path of the full record.
        for n in range(wire.RECORD_EVENTS_MAX):
            client.log_record("loans", feedback={"n": n}, join_key="loan_17")
        assert client.flush(PATIENCE_S)
        assert client.stats()["sent"] == client.stats()["logged"]
        assert client.ping()
        client.close()
        losing = joinback.Client().init(f"redis://joinback-client:secret@{host}")
        losing.log_record("loans", inputs=1)
        losing.close()
        assert stack.server.xlen(wire.DROPS_KEY) == 1
        stack.server.hset(stack.record("loan_17"), "feedback:torn", "rubbish")
        as_worker = {"JOINBACK_REDIS_URL": f"redis://joinback-worker:secret@{host}", "JOINBACK_INTERVAL_S": "1"}
        process = spawn("-m", "joinback_worker", "worker", **as_worker)
        wait_until(lambda: stack.books().pending == 0)
        wait_until(lambda: stack.server.hlen(wire.WORKERS_KEY) == 1 and stack.server.keys("arq:joinback:health:*"))
        assert process.poll() is None
        assert cli("worker", "--check", **as_worker).returncode == 0
        done = cli("drain", **as_worker)
        assert done.returncode == 0, done.stderr
        with redis.Redis.from_url(f"redis://joinback-client:secret@{host}") as intruder:
            for command in (["KEYS", "*"], ["HGETALL", stack.record("loan_17")], ["FLUSHALL"], ["GET", "arq:x"]):
                with pytest.raises(redis.exceptions.NoPermissionError):
                    intruder.execute_command(*command)
    finally:
        stack.server.execute_command("ACL", "DELUSER", "joinback-client", "joinback-worker")


def test_what_the_commands_that_write_need_beside(stack: Stack, cli: Cli) -> None:
    """With the worker's rights and what README adds for them, `label` and `retract` reach Redis."""
    (line,) = [line for line in README.splitlines() if "`joinback retract` and `joinback label` need `" in line]
    beside = re.findall(r"`joinback label` need `([^`]*)`", line)
    (worker,) = [acl for acl in blocks("acl")[0].splitlines() if "joinback-worker" in acl]
    _, name, *rules = worker.split()
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="loan_17")
    stack.drain()
    host = stack.settings.redis_url.removeprefix("redis://")
    as_worker = {"JOINBACK_REDIS_URL": f"redis://joinback-worker:secret@{host}"}
    stack.server.execute_command("ACL", "SETUSER", name, "reset", *rules, *beside)
    try:
        assert cli("label", "loans", "loan_17", "repaid=true", **as_worker).returncode == 0
        stack.drain()
        done = cli("retract", "loans", "--key", "loan_17", "--yes", **as_worker)
        assert (done.returncode, done.stderr) == (0, "")
    finally:
        stack.server.execute_command("ACL", "DELUSER", name)


def test_ci_calls_readmes_test_command() -> None:
    """What README tells a stranger to run is what CI runs."""
    install, test = blocks("sh")
    ci = (ROOT / ".ci" / "run").read_text()
    assert test.strip() in ci
    assert "joinback demo" in install


def test_ci_runs_what_readmes_test_command_leaves_out() -> None:
    """The marker that README's command deselects is the one that CI's own step selects, with the extra it needs."""
    ci = (ROOT / ".ci" / "run").read_text()
    heavy = ".venv/bin/pip install -q -e '.[dev,heavy]' && .venv/bin/pytest -q -n 2 -m heavy"
    assert heavy in ci
    assert heavy in README
    assert '"-m", "not heavy"' in (ROOT / "pyproject.toml").read_text()


def test_every_guarantee_names_a_test_that_exists() -> None:
    """The proofs of the guarantees table are tests of this suite."""
    named = set(re.findall(r"`(test_\w+)`", README))
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert len(named) > 15
    assert {name for name in named if f"def {name}(" not in tests} == set()


def test_the_tree_is_as_readme_says() -> None:
    """Each module that README's tree names exists."""
    (tree,) = [block for block in blocks("text") if block.startswith("client/joinback/")]
    for line in tree.splitlines():
        folder, names = re.split(r"\s{2,}", line, maxsplit=1)
        assert (ROOT / folder).exists(), folder
        if folder.startswith(("client", "worker")):
            for name in re.findall(r"(\w+/?)(?: \([^)]*\))?(?: ·|$)", names):
                path = ROOT / folder / name
                assert path.is_dir() if name.endswith("/") else path.with_suffix(".py").exists(), path
