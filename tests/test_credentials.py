"""Logins that rotate, named by JOINBACK_REDIS_CREDENTIALS: services, the worker, arq and every command ask for them."""

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from conftest import PATIENCE_S, Cli, Stack, process_environment, wait_for
from topologies import Cluster, Sentinels

import joinback
from joinback import wire
from joinback.credentials import credentials_at
from joinback.errors import ConfigurationError
from joinback.settings import Settings
from joinback_worker.connection import login as login_module
from joinback_worker.connection.connect import connect
from joinback_worker.connection.login import Login, NoLogin

SECRET = "c4n4ry"
USER = "iam"
MODULE = f"""
from pathlib import Path

HERE = Path(__file__).parent

def login():
    with (HERE / "asked").open("a") as asked:
        asked.write("x")
    if (HERE / "broken").exists():
        raise RuntimeError("no token for {SECRET}")
    return "{USER}", (HERE / "token").read_text()

def odd():
    return ["{SECRET}"]

number = 7
"""
WORKER = ("-m", "joinback_worker", "worker")
ARQ = ("-m", "arq", "joinback_worker.main.WorkerSettings")


class Tokens:
    """A module of the user's, whose function returns what stands in a file; it may be broken for a while."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        (folder / "tokens.py").write_text(MODULE)
        self.folder = folder
        self.say(f"{SECRET}1")
        self.variables = {
            "JOINBACK_REDIS_CREDENTIALS": "tokens:login",
            "PYTHONPATH": f"{folder}:{os.environ.get('PYTHONPATH', '')}",
        }

    def say(self, token: str) -> None:
        # Whole: a login that reads half a token would be refused.
        (self.folder / "new").write_text(token)
        (self.folder / "new").replace(self.folder / "token")

    def times_asked(self) -> int:
        return len((self.folder / "asked").read_text()) if (self.folder / "asked").exists() else 0


@pytest.fixture
def tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tokens:
    made = Tokens(tmp_path / "tokens")
    monkeypatch.syspath_prepend(str(made.folder))
    # Each test has a module of its own of this name.
    monkeypatch.delitem(sys.modules, "tokens", raising=False)
    login_module.credentials_at.__globals__["_found"].cache_clear()
    return made


def rotate(*servers: Callable[..., Any], token: str) -> None:
    """From now on the user has this password alone, and no connection."""
    for ask in servers:
        ask("ACL", "SETUSER", USER, "reset", "on", f">{token}", "~*", "&*", "+@all")
        ask("CLIENT", "KILL", "USER", USER)


@pytest.fixture
def locked(stack: Stack) -> Iterator[Stack]:
    """A stack whose server knows a user with a token."""
    rotate(stack.server.execute_command, token=f"{SECRET}1")
    yield stack
    stack.server.execute_command("ACL", "DELUSER", USER)


def log_of(process: Any) -> str:
    return Path(process.log.name).read_text()


def log_one(stack: Stack, join_key: str) -> None:
    stack.client.log_record("loans", inputs=1, outputs=2, join_key=join_key)
    assert stack.client.flush(PATIENCE_S)


@pytest.mark.parametrize("command", [WORKER, ARQ], ids=["joinback", "arq"])
def test_a_worker_follows_a_token(
    locked: Stack, spawn: Callable[..., Any], tokens: Tokens, command: tuple[str, ...]
) -> None:
    """Its connections killed and the password another, the running worker logs in with the new one; while the callable
    fails it tells so and waits, and no line shows a secret.
    """
    process = spawn(*command, JOINBACK_INTERVAL_S="1", **tokens.variables)
    log_one(locked, "a")
    wait_for(lambda: locked.books().pending == 0)
    tokens.say(f"{SECRET}2")
    rotate(locked.server.execute_command, token=f"{SECRET}2")
    log_one(locked, "b")
    wait_for(lambda: locked.books().pending == 0)
    (tokens.folder / "broken").touch()
    rotate(locked.server.execute_command, token=f"{SECRET}3")
    wait_for(lambda: "raised RuntimeError" in log_of(process))
    (tokens.folder / "broken").unlink()
    tokens.say(f"{SECRET}3")
    log_one(locked, "c")
    wait_for(lambda: locked.books().pending == 0)
    assert process.poll() is None
    assert len(locked.rows()) == 3
    shown = log_of(process)
    assert "the callable for Redis's credentials, tokens:login, raised RuntimeError" in shown
    assert SECRET not in shown
    assert "Traceback" not in shown
    process.terminate()
    assert process.wait(PATIENCE_S) == 0 or command is ARQ


def test_arq_finds_the_sign(locked: Stack, spawn: Callable[..., Any], tokens: Tokens) -> None:
    """The sign for `arq --check` stands on the same server, written and found by the same login; the worker does not
    ask for one more at each of its signs.
    """
    process = spawn(*WORKER, JOINBACK_INTERVAL_S="1", **tokens.variables)
    wait_for(lambda: locked.server.keys("arq:*"))
    before = tokens.times_asked()
    for turn in range(4):
        log_one(locked, f"k{turn}")
        wait_for(lambda: locked.books().pending == 0)
    # As many as connections were open at once.
    assert tokens.times_asked() <= before + 2
    for queue in ({}, {"JOINBACK_QUEUE_URL": locked.settings.redis_url}):
        checked = subprocess.run(
            [sys.executable, *ARQ, "--check"],
            env=process_environment(locked.settings, **tokens.variables, **queue),
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        assert "alive" in checked.stderr + checked.stdout, checked
        assert checked.returncode == 0
    process.terminate()


@pytest.mark.heavy
def test_every_command_asks(locked: Stack, cli: Cli, tokens: Tokens) -> None:
    """Where the server lets nobody else in, each command works with the setting, and not without it."""
    log_one(locked, "a")
    assert locked.client.flush(PATIENCE_S)
    locked.server.execute_command("ACL", "SETUSER", "default", "resetpass", f">{SECRET}", "on")
    try:
        assert cli("drain").returncode == 2
        for command in (("drain",), ("status",), ("doctor",), ("apps",), ("explain", "loans", "a")):
            done = cli(*command, **tokens.variables)
            assert done.returncode == 0, (command, done)
            assert SECRET not in done.stdout + done.stderr
        assert "JOINBACK_REDIS_CREDENTIALS" in cli("explain", "loans", "a", **tokens.variables).stdout
    finally:
        locked.server.execute_command("ACL", "SETUSER", "default", "nopass")


def test_a_service_asks(
    locked: Stack, tokens: Tokens, monkeypatch: pytest.MonkeyPatch, settings: Settings, redis_url: str
) -> None:
    """A client takes the setting as `credentials`, unless it is given some; a client you made has its own login."""
    monkeypatch.setenv("JOINBACK_REDIS_CREDENTIALS", "tokens:login")
    for given in ({}, {"credentials": lambda: ("iam", f"{SECRET}1")}):
        before = tokens.times_asked()
        client = joinback.Client().init(redis_url, **given)
        assert client.ping()
        assert (tokens.times_asked() > before) is not bool(given)
        client.close()
    before = tokens.times_asked()
    with redis.Redis.from_url(redis_url) as theirs:
        client = joinback.Client().init(redis=theirs)
        assert client.ping()
        client.close()
    assert tokens.times_asked() == before


@pytest.mark.heavy
@pytest.mark.parametrize("site", ["cluster", "sentinels"])
def test_on_every_topology(
    site: str, request: pytest.FixtureRequest, tmp_path: Path, spawn: Callable[..., Any], cli: Cli, tokens: Tokens
) -> None:
    """On a cluster and behind Sentinels a worker that runs follows a token on every node, and so does a service."""
    topology: Cluster | Sentinels = request.getfixturevalue(site)
    asks = [node.ask for node in topology.nodes]
    variables = tokens.variables | {"JOINBACK_REDIS_URL": topology.url}
    rotate(*asks, token=f"{SECRET}1")
    client = joinback.Client().init(topology.url, credentials=credentials_at("tokens:login", "X"))
    try:
        worker = spawn(*WORKER, **variables, JOINBACK_INTERVAL_S="1")
        for turn in (1, 2):
            tokens.say(f"{SECRET}{turn}")
            rotate(*asks, token=f"{SECRET}{turn}")
            for application in ("loans", "ads", "fraud", "churn"):
                client.log_record(application, inputs=1, outputs=2)
            assert client.flush(PATIENCE_S)
            wait_for(lambda turn=turn: rows_of(cli, variables) == 4 * turn)
        assert worker.poll() is None
        assert SECRET not in log_of(worker)
    finally:
        client.close()
        for ask in asks:
            ask("ACL", "DELUSER", USER)


def rows_of(cli: Cli, variables: dict[str, str]) -> int:
    status = json.loads(cli("status", "--json", **variables).stdout)
    return sum(books["in_rows"] for books in status["applications"].values())


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        (f"{SECRET}", "names no callable; write package.module:function"),
        (f":{SECRET}", "names no callable; write package.module:function"),
        (
            f"{USER}:{SECRET}",
            f"names the module {USER}, which is not there; install it beside joinback",
        ),
        ("tokens.of:login", "names the module tokens.of, which is not there"),
        ("no_such_package.of:login", "names the module no_such_package, which is not there"),
        ("awaits:login", "names what is a coroutine function; give a plain function"),
        ("awaits:Login", "names what is a coroutine function; give a plain function"),
        ("tokens:logout", "names nothing in its module that can be called; write package.module:function"),
        ("tokens:number", "names nothing in its module that can be called"),
        ("needs_boto:login", "names a module that imports no_such_boto, which is not there; install it"),
        ("raises:login", "names a module whose import raised ZeroDivisionError"),
        ("exits:login", "names a module whose import raised SystemExit"),
    ],
)
def test_a_reference_that_leads_nowhere(
    reference: str, says: str, tokens: Tokens, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Client, worker and commands say in one line what to mend, and never what stands there: it may be a login."""
    (tokens.folder / "needs_boto.py").write_text("import no_such_boto")
    (tokens.folder / "awaits.py").write_text(
        "async def login(): ...\nclass Token:\n    async def __call__(self): ...\nLogin = Token()"
    )
    (tokens.folder / "raises.py").write_text(f"'{SECRET}', 1 / 0")
    (tokens.folder / "exits.py").write_text("raise SystemExit")
    with pytest.raises(ConfigurationError, match=says) as raised:
        credentials_at(reference, "JOINBACK_REDIS_CREDENTIALS")
    assert SECRET not in str(raised.value)
    monkeypatch.setenv("JOINBACK_REDIS_CREDENTIALS", reference)
    with pytest.raises(ConfigurationError, match=f"JOINBACK_REDIS_CREDENTIALS {says}"):
        joinback.Client().init()
    if reference in (f"{USER}:{SECRET}", "raises:login"):
        for command in (("worker",), ("drain",)):
            done = cli(*command, **tokens.variables | {"JOINBACK_REDIS_CREDENTIALS": reference})
            assert done.returncode == 2
            assert done.stderr.startswith("joinback: JOINBACK_REDIS_CREDENTIALS names ")
            assert done.stderr.count("\n") == 1
            assert SECRET not in done.stderr


def test_a_coroutine_function_is_refused() -> None:
    """Credentials are asked for where no event loop runs, so a coroutine function is told at `init`."""

    async def login() -> str:
        return "token"

    with pytest.raises(ConfigurationError, match="credentials is a coroutine function; give a plain function"):
        joinback.Client().init("redis://127.0.0.1:1/0", credentials=login)  # type: ignore[arg-type]


@pytest.mark.parametrize("spools", [False, True], ids=["counted", "spooled"])
@pytest.mark.parametrize("close_s", [0.0, 1.5], ids=["at once", "after a while"])
def test_a_close_does_not_wait_for_a_callable_that_hangs(
    stack: Stack, tmp_path: Path, caplog: pytest.LogCaptureFixture, spools: bool, close_s: float
) -> None:
    """What is left is spooled, or counted as undelivered, with a line that says why; and once, whenever it answers."""
    asked, goes_on, answered = threading.Event(), threading.Event(), threading.Event()
    others = set(threading.enumerate())

    def hangs() -> str:
        asked.set()
        goes_on.wait(PATIENCE_S)
        answered.set()
        return "token"

    def runs(name: str) -> bool:
        return any(thread.name == name for thread in set(threading.enumerate()) - others)

    client = joinback.Client().init(
        stack.settings.redis_url, credentials=hangs, spool_dir=tmp_path / "spool" if spools else None
    )
    for number in range(3):
        client.log_record("loans", inputs=number, outputs=2, join_key=f"k{number}")
    assert asked.wait(PATIENCE_S)
    assert not client.close(close_s)
    # It may take a loaded machine longer than a close waits.
    wait_for(lambda: not runs("joinback-sender"))

    def check() -> None:
        stats = client.stats()
        assert (stats["logged"], stats["sent"]) == (3, 0)
        assert (stats["buffered"], stats["dropped"]["undelivered"]) == ((3, 0) if spools else (0, 3))

    check()
    assert "hangs, does not answer; see what it waits for" in caplog.text
    assert ("3 events stay in the spool" if spools else "undelivered=3") in caplog.text
    goes_on.set()
    assert answered.wait(PATIENCE_S)
    wait_for(lambda: not runs("joinback-login"))
    check()
    assert not stack.server.exists(wire.APPLICATIONS_KEY)


def test_a_slow_callable_is_waited_for(locked: Stack, caplog: pytest.LogCaptureFixture) -> None:
    """A close gives up what hangs, and takes an answer that comes in its time; the callable is asked once."""
    asked = []

    closing = threading.Event()

    def slow() -> tuple[str, str]:
        asked.append(1)
        closing.wait(PATIENCE_S)
        return USER, f"{SECRET}1"

    client = joinback.Client().init(locked.settings.redis_url, credentials=slow)
    client.log_record("loans", inputs=1, outputs=2, join_key="k")
    wait_for(lambda: asked)
    client._funnel._sender.abort()  # type: ignore[union-attr]
    # Else its answer may still be taken for a connection that is given up.
    wait_for(lambda: "does not answer" in caplog.text)
    closing.set()
    assert client.flush(PATIENCE_S)
    assert len(asked) == 1
    client.close()


def test_an_event_does_not_import_again(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that fails to import is tried once, not at each event; each is counted."""
    (tokens.folder / "fails.py").write_text("import tokens\ntokens.login()\n1 / 0")
    monkeypatch.setenv("JOINBACK_REDIS_CREDENTIALS", "fails:login")
    client = joinback.Client()
    for _ in range(3):
        client.log_record("loans", inputs=1, outputs=2)
    assert client.stats()["dropped"]["misconfigured"] == 3
    assert tokens.times_asked() == 1


def test_what_the_callable_returns(tokens: Tokens, cli: Cli, locked: Stack) -> None:
    """What is neither a password nor (user, password) is told by its place, not shown."""
    done = cli("status", **tokens.variables | {"JOINBACK_REDIS_CREDENTIALS": "tokens:odd"})
    assert done.returncode == 2
    assert done.stderr == (
        "joinback: the callable for Redis's credentials, tokens:odd, returned neither a password nor (user, password)\n"
    )


def test_a_callable_that_exits_ends_nobody() -> None:
    """What calls sys.exit, such as a command's function, is told like any other failure."""
    for exits in (sys.exit, lambda: (_ for _ in ()).throw(SystemExit(1))):
        with pytest.raises(NoLogin, match="raised SystemExit"):
            asyncio.run(Login(exits).get_credentials_async())


def test_a_callable_that_hangs_holds_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked off the event loop, once for all logins of that time, and given up after a while."""
    monkeypatch.setattr(login_module, "ASK_S", 0.05)
    goes_on = threading.Event()
    asked = []

    def hangs() -> str:
        asked.append(threading.current_thread())
        goes_on.wait(PATIENCE_S)
        return "token"

    login = Login(hangs)

    async def run() -> None:
        results = await asyncio.gather(*(login.get_credentials_async() for _ in range(3)), return_exceptions=True)
        assert all(isinstance(result, NoLogin) for result in results)
        monkeypatch.setattr(login_module, "ASK_S", PATIENCE_S)
        later = asyncio.create_task(login.get_credentials_async())
        await asyncio.sleep(0)
        goes_on.set()
        assert await later == ("token",)

    asyncio.run(run())
    assert len(asked) == 1
    assert asked[0].daemon


def test_no_connection_is_kept_half_logged_in(locked: Stack, tokens: Tokens) -> None:
    """After a login that failed for its callable, the next command connects anew: redis-py keeps others open."""
    settings = Settings(redis_url=locked.settings.redis_url, redis_credentials="tokens:login")

    async def run() -> None:
        buffer = connect(settings)
        (tokens.folder / "broken").touch()
        with pytest.raises(NoLogin):
            await buffer.execute_command("ACL", "WHOAMI")
        (tokens.folder / "broken").unlink()
        assert await buffer.execute_command("ACL", "WHOAMI") == USER.encode()
        await buffer.aclose()

    asyncio.run(run())
