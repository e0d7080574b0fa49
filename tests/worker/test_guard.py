"""The guard of the sink: rows of one Redis go to one place, named, until somebody says otherwise."""

import asyncio
import json
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import PATIENCE_S, Cli, Stack, nobody
from msgspec import structs

from joinback import wire
from joinback.errors import ConfigurationError
from joinback.settings import Settings
from joinback_worker.cli.names import warn_of_unknown
from joinback_worker.connection.connect import connect
from joinback_worker.drain.drainer import drain_all
from joinback_worker.drain.source import Source
from joinback_worker.notes.guard import adopt, guarded, published_of
from joinback_worker.sinks import open_sink, shown
from joinback_worker.sinks.place import absolute, warning
from joinback_worker.sinks.schemes import module_of, place_of


def log(stack: Stack, key: str = "k", application: str = "loans") -> None:
    stack.client.log_record(application, inputs=1, outputs=2, join_key=key)
    assert stack.client.flush(PATIENCE_S)


def other(stack: Stack, name: str = "other.db") -> str:
    return stack.settings.sink_url.replace("joinback.db", name)


def test_a_name_that_no_client_announced(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    """It is warned of by its name, with what was likely meant and what waits: it may be of a service to come."""
    log(stack)
    warn_of_unknown(stack.settings, ["lons", "loans", "cats"], "This worker")
    assert capsys.readouterr().err == (
        "joinback: no application lons; did you mean loans? This worker waits until an event of lons comes.\n"
        "joinback: no application cats; known are loans. This worker waits until an event of cats comes.\n"
    )


def test_another_sink_takes_nothing(stack: Stack, cli: Cli) -> None:
    """A drain with another sink claims nothing, names both, and says how to mend it; what waits waits on."""
    log(stack, "a")
    assert cli("drain").returncode == 0
    log(stack, "b")
    done = cli("drain", JOINBACK_SINK_URL=other(stack))
    assert done.returncode == 2
    assert done.stdout.startswith("failed claimed=0 rows=0")
    assert f"rows go to {stack.settings.sink_url}" in done.stderr
    assert f"the sink here is {other(stack)}" in done.stderr
    assert "nothing was claimed" in done.stderr
    assert "joinback sink adopt" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not Path(other(stack).removeprefix("sqlite:///")).exists()
    assert stack.books().pending == 1
    assert cli("drain").returncode == 0


def test_the_default_is_guarded_like_any_other(stack: Stack, cli: Cli, tmp_path: Path) -> None:
    """A worker that lost its JOINBACK_SINK_URL takes nothing, even when nothing is pending."""
    log(stack)
    assert cli("drain").returncode == 0
    done = cli("drain", JOINBACK_SINK_URL="", XDG_DATA_HOME=str(tmp_path / "data"))
    assert done.returncode == 2
    assert f"the sink here is sqlite:///{tmp_path}/data/joinback/joinback.db" in done.stderr
    assert not (tmp_path / "data").exists()


def test_adopt(stack: Stack, cli: Cli) -> None:
    """`joinback sink adopt` names the new and the former sink; then the new one takes rows and the former none."""
    log(stack, "a")
    assert cli("drain").returncode == 0
    log(stack, "b")
    done = cli("sink", "adopt", other(stack))
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        f"rows of all applications go to {other(stack)} from now on (before: {stack.settings.sink_url})\n"
    )
    assert cli("drain").returncode == 2
    assert cli("drain", JOINBACK_SINK_URL=other(stack)).returncode == 0
    assert stack.books().pending == 0


def test_one_application_elsewhere(stack: Stack, cli: Cli) -> None:
    """An application may be given a sink of its own: the worker for all leaves it alone, until that is taken back."""
    log(stack, "a", "loans")
    assert cli("drain").returncode == 0
    log(stack, "b", "ads")
    log(stack, "c", "loans")
    assert cli("drain", "--application", "ads", JOINBACK_SINK_URL=other(stack)).returncode == 2
    assert cli("sink", "adopt", other(stack), "--application", "ads").returncode == 0
    done = cli("drain")
    assert (done.returncode, done.stderr) == (0, "")
    assert "claimed=1 rows=1" in done.stdout
    assert f"rows go to {other(stack)}" in cli("explain", "ads", "b").stdout
    assert cli("drain", "--application", "ads", JOINBACK_SINK_URL=other(stack)).returncode == 0
    assert stack.books().pending == 0
    told = json.loads(cli("status", "--json").stdout)["sinks"]
    assert {sink["url"]: sink["applications"] for sink in told} == {stack.settings.sink_url: [], other(stack): ["ads"]}
    assert f"sink  {other(stack)}  of ads" in cli("status").stdout
    assert "ads has no sink of its own any more" in cli("sink", "release", "ads").stdout
    log(stack, "d", "ads")
    assert "claimed=1" in cli("drain").stdout


@pytest.mark.parametrize("command", [("release", "ads", "*"), ("adopt", "--application", "ads", "--application", "*")])
def test_the_sink_of_all_is_no_application(stack: Stack, cli: Cli, command: tuple[str, ...]) -> None:
    """`*` stands for all applications: as a name it is refused, and the guard of every application stays as it was."""
    log(stack, "a", "ads")
    assert cli("drain").returncode == 0
    assert cli("sink", "adopt", "--application", "ads").returncode == 0
    before = stack.server.hgetall(wire.SINK_KEY)
    done = cli("sink", *command)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("joinback: '*' stands for all applications; ")
    assert len(done.stderr.splitlines()) == 1
    assert stack.server.hgetall(wire.SINK_KEY) == before


def test_a_sink_adopted_in_the_middle_of_a_drain(stack: Stack, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """A drain asks before each merge whose sink is in use: once another is adopted it writes none more, and gives back
    what it has claimed ahead.
    """
    for n in range(2_500):
        stack.client.log_record("loans", inputs=n, outputs=0, join_key=f"key_{n}")
    assert stack.client.flush(PATIENCE_S)
    settle = Source.settle
    adopted: list[int] = []

    async def settle_and_adopt(self: Source, *arguments: Any) -> int:
        dead = await settle(self, *arguments)
        if not adopted:
            adopted.append(cli("sink", "adopt", other(stack)).returncode)
        return dead

    monkeypatch.setattr(Source, "settle", settle_and_adopt)
    drained = stack.drain()
    assert adopted == [0]
    assert (drained.rows, drained.released) == (1_000, 1_500)
    assert drained.error is not None
    assert f"rows go to {other(stack)}" in drained.error
    assert stack.books().pending == 1_500


def test_a_refold_keeps_to_the_guard(stack: Stack, cli: Cli, tmp_path: Path) -> None:
    """A refold of a sink that is not in use is refused, and makes no file."""
    log(stack, "a", "loans")
    assert cli("drain").returncode == 0
    done = cli("sink", "refold", "loans", other(stack))
    assert done.returncode == 2
    assert "rows go to" in done.stderr
    assert not Path(other(stack).removeprefix("sqlite:///")).exists()


def test_a_restricted_worker_publishes_its_applications_only(stack: Stack, cli: Cli) -> None:
    """The first worker of one application says nothing of the others."""
    log(stack, "a", "ads")
    log(stack, "b", "loans")
    assert cli("drain", "--application", "ads", JOINBACK_SINK_URL=other(stack)).returncode == 0
    assert "claimed=1" in cli("drain").stdout
    assert [name.decode() for name in sorted(stack.server.hkeys(wire.SINK_KEY))] == ["*", "ads"]


def test_of_two_first_workers_one_wins(stack: Stack) -> None:
    """Two workers with two sinks that begin at the same moment: one of them is refused, whatever the order."""
    urls = [other(stack, f"{n}.db") for n in range(8)]
    answers: dict[str, str | None] = {}
    barrier = threading.Barrier(len(urls))

    def first(url: str) -> None:
        async def ask() -> str | None:
            buffer = connect(stack.settings)
            await buffer.ping()
            barrier.wait(PATIENCE_S)
            _, refusal = await guarded(buffer, structs.replace(stack.settings, sink_url=url), [("loans", "loans")])
            await buffer.aclose()
            return refusal

        answers[url] = asyncio.run(ask())

    threads = [threading.Thread(target=first, args=(url,)) for url in urls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [refusal for refusal in answers.values()].count(None) == 1, answers


def test_what_is_published_holds_no_secret(stack: Stack) -> None:
    """The entry is JSON that a person can read: fingerprint, shown URL, host, time; with a TTL, renewed."""
    url = "postgresql://me:hunter2@db:5432/joinback?options=-csearch_path%3Dloans&sslpassword=hunter3"
    asyncio.run(_adopt(stack.settings, url))
    entry = json.loads(stack.server.hget(wire.SINK_KEY, "*"))
    assert set(entry) == {"fingerprint", "url", "host", "since", "found"}
    assert entry["host"] == socket.gethostname()
    assert entry["url"].startswith("postgresql://me:…@db:5432/joinback")
    assert "hunter" not in json.dumps(entry)
    stack.server.expire(wire.SINK_KEY, 60)
    asyncio.run(_guard(structs.replace(stack.settings, sink_url=url)))
    assert stack.server.ttl(wire.SINK_KEY) == wire.STATS_TTL_S


async def _adopt(settings: Settings, url: str) -> None:
    buffer = connect(settings)
    try:
        await adopt(buffer, url)
    finally:
        await buffer.aclose()


async def _guard(settings: Settings) -> str | None:
    buffer = connect(settings)
    try:
        return (await guarded(buffer, settings, [("loans", "loans")]))[1]
    finally:
        await buffer.aclose()


def test_a_full_redis_is_drained(stack: Stack, cli: Cli) -> None:
    """At maxmemory nothing can be published, and the drain goes on; what was published before is still kept to."""
    log(stack, "a")
    stack.server.config_set("maxmemory", 1)
    done = cli("drain")
    assert done.returncode == 0, done.stderr
    assert "claimed=1" in done.stdout
    stack.server.config_set("maxmemory", 0)
    assert cli("drain").returncode == 0
    log(stack, "b")
    stack.server.config_set("maxmemory", 1)
    assert cli("drain", JOINBACK_SINK_URL=other(stack)).returncode == 2
    assert cli("drain").returncode == 0
    assert stack.books().pending == 0


@pytest.mark.parametrize("value", [b"see ticket 12", b"\xff", b"{}", b""])
def test_an_entry_that_says_nothing_is_replaced(stack: Stack, value: bytes) -> None:
    """What somebody wrote over the entry names no sink: the next worker publishes its own again."""
    stack.server.hset(wire.SINK_KEY, "*", value)
    log(stack)
    assert stack.drain().error is None
    assert json.loads(stack.server.hget(wire.SINK_KEY, "*"))["url"] == stack.settings.sink_url


def test_a_key_of_another_type_stops_no_drain(stack: Stack, cli: Cli) -> None:
    """The guard is no reason to lose events: where its key cannot be used, the drain goes on."""
    stack.server.set(wire.SINK_KEY, "somebody's", ex=60)
    log(stack)
    assert "claimed=1" in cli("drain").stdout
    stack.server.delete(wire.SINK_KEY)
    log(stack, "b")
    assert stack.drain().error is None


def test_a_login_that_may_only_read_the_key(stack: Stack, cli: Cli) -> None:
    """Where the guard's script may not run, what is published is read, and kept to."""
    log(stack, "a")
    assert stack.drain().error is None
    log(stack, "b")
    stack.server.execute_command("ACL", "SETUSER", "poor", "on", ">x", "~*", "+@all", "-eval")
    try:
        poor = {"JOINBACK_REDIS_URL": stack.settings.redis_url.replace("redis://", "redis://poor:x@")}
        assert "nothing was claimed" in cli("drain", **poor, JOINBACK_SINK_URL=other(stack)).stderr
        assert "claimed=1" in cli("drain", **poor).stdout
    finally:
        stack.server.execute_command("ACL", "DELUSER", "poor")


def test_an_entry_of_a_later_version_is_kept_to(stack: Stack) -> None:
    """A field more in the entry is no reason to overwrite it."""
    log(stack)
    assert stack.drain().error is None
    entry = json.loads(stack.server.hget(wire.SINK_KEY, "*")) | {"colour": "blue", "fingerprint": "other"}
    stack.server.hset(wire.SINK_KEY, "*", json.dumps(entry))
    log(stack, "b")
    assert "nothing was claimed" in str(stack.drain().error)
    stack.server.delete(wire.SINK_KEY)
    assert stack.drain().error is None


def test_a_file_of_another_host_that_is_not_here(stack: Stack) -> None:
    """Two hosts with one path and no common disk are two sinks: where the file is absent the rows do not go.

    A container that comes back elsewhere with its volume finds the file, and goes on.
    """
    log(stack, "a")
    assert stack.drain().error is None
    entry = json.loads(stack.server.hget(wire.SINK_KEY, "*"))
    assert entry["found"]
    stack.server.hset(wire.SINK_KEY, "*", json.dumps(entry | {"host": "elsewhere"}))
    log(stack, "b")
    assert stack.drain().error is None
    file = Path(stack.settings.sink_url.removeprefix("sqlite:///"))
    file.rename(file.with_suffix(".kept"))
    log(stack, "c")
    assert "on elsewhere, but on" in str(stack.drain().error)
    file.with_suffix(".kept").rename(file)
    assert stack.drain().error is None


SAME = [
    ("postgresql://a:b@db/joinback", "postgres://c@DB:5432/joinback?timeout_s=5&sslmode=require"),
    ("sqlite:////srv/x.db", "sqlite:////srv/../srv/x.db?busy_timeout_s=3"),
    ("clickhouse://u:p@ch:8123/d", "clickhouse://ch/d"),
    ("delta+s3://bucket/lake?AWS_REGION=x", "delta+s3://bucket/lake/?AWS_SECRET_ACCESS_KEY=y"),
]
DIFFERENT = [
    ("postgresql://db/joinback", "postgresql://db/other"),
    ("postgresql://db/joinback", "postgresql://db:5433/joinback"),
    ("postgresql://db/joinback", "postgresql://db/joinback?options=-csearch_path%3Dloans"),
    ("postgresql:///joinback?host=/run/a", "postgresql:///joinback?host=/run/b"),
    ("sqlite:////srv/x.db", "sqlite:////srv/y.db"),
    ("jsonl:////srv/x", "parquet:////srv/x"),
    ("clickhouse://ch/d", "clickhouse://ch/e"),
    ("clickhouse://ch/d", "clickhouse://other/d"),
    ("delta+s3://bucket/lake", "delta+s3://bucket/other"),
    ("delta+s3://b/lake?AWS_ENDPOINT_URL=http://a", "delta+s3://b/lake?AWS_ENDPOINT_URL=http://c"),
    ("stdout:", "sqlite:////srv/x.db"),
]


@pytest.mark.parametrize(("one", "two", "same"), [(*p, True) for p in SAME] + [(*p, False) for p in DIFFERENT])
def test_what_makes_a_sink_this_one(one: str, two: str, same: bool) -> None:
    """Logins and options that move no rows do not count; host, port, database, schema and path do."""
    assert (published_of(one).fingerprint == published_of(two).fingerprint) is same


def test_a_worker_restarted_by_another_name_of_the_directory(tmp_path: Path) -> None:
    """A link to the file's folder is the same place."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert place_of(f"sqlite:///{tmp_path}/real/a.db") == place_of(f"sqlite:///{tmp_path}/link/a.db")


def test_the_default_place(stack: Stack, cli: Cli, tmp_path: Path) -> None:
    """Without JOINBACK_SINK_URL rows go to one file of this user, whatever the directory, in a folder for it alone."""
    log(stack)
    home = {"JOINBACK_SINK_URL": "", "HOME": str(tmp_path / "home"), "XDG_DATA_HOME": ""}
    looked = cli("explain", "loans", "k", **home)
    file = tmp_path / "home/.local/share/joinback/joinback.db"
    assert f"sink  sqlite:///{file}" in looked.stdout
    assert "does not exist yet" in looked.stdout
    assert not (tmp_path / "home").exists()
    done = cli("drain", **home)
    assert done.stdout.endswith(f" sink=sqlite:///{file}\n"), done
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home"]


def test_a_home_that_cannot_be_written(stack: Stack, cli: Cli, tmp_path: Path) -> None:
    """A default place that cannot be made is one line with the fix, and acknowledges nothing."""
    log(stack)
    (tmp_path / "home").write_text("a file")
    done = cli("drain", JOINBACK_SINK_URL="", HOME=str(tmp_path / "home"), XDG_DATA_HOME="")
    assert done.returncode == 2
    assert "cannot be created" in done.stderr
    assert "set JOINBACK_SINK_URL" in done.stderr
    assert stack.books().pending == 1


def test_a_first_url_that_leads_nowhere_binds_nobody(stack: Stack, cli: Cli, tmp_path: Path) -> None:
    """A typo in the first JOINBACK_SINK_URL is told and mended, and needs no adoption; no work, no publication."""
    assert cli("drain", JOINBACK_SINK_URL=other(stack)).returncode == 0
    log(stack)
    done = cli("drain", JOINBACK_SINK_URL=f"sqlite:///{tmp_path}/none/a.db")
    assert done.returncode == 2
    assert "cannot be opened; check that its directory exists" in done.stderr
    assert not stack.server.exists(wire.SINK_KEY)
    assert cli("drain").returncode == 0


def test_relative_paths_are_told(stack: Stack, cli: Cli, tmp_path: Path) -> None:
    """A relative path is told with the place it leads to, and what was probably meant; lines show it in full."""
    log(stack)
    done = cli("drain", JOINBACK_SINK_URL="jsonl:///data/lake")
    assert done.returncode == 0
    assert done.stderr == (
        f"joinback: jsonl:///data/lake is relative to the directory: {tmp_path}/data/lake;"
        " write jsonl:////data/lake for /data/lake\n"
    )
    assert done.stdout.endswith(f" sink=jsonl:///{tmp_path}/data/lake\n")
    assert f"'{tmp_path}/data/lake/*.jsonl'" in cli("sink", "schema", "jsonl:///data/lake").stdout


def test_paths() -> None:
    """Only a relative path of a file's URL is changed, or told."""
    here = Path.cwd()
    assert absolute("sqlite:///a%20b.db?busy_timeout_s=1") == f"sqlite:///{here}/a%20b.db?busy_timeout_s=1"
    assert warning("sqlite:///a.db") == f"sqlite:///a.db is relative to the directory: {here}/a.db"
    assert (warning("parquet:///tmp/x") or "").endswith("write parquet:////tmp/x for /tmp/x")
    for url in ("sqlite:////a.db", "postgresql://h/d", "stdout:", "delta+s3://b/p", "sqlite://", "nonsense"):
        assert (absolute(url), warning(url)) == (url, None)


@pytest.mark.parametrize("name", ["embedded:///x", "embedded:x", "", "hunter2", "hunter2@db/x"])
def test_a_url_that_is_none(name: str, tmp_path: Path, stack: Stack) -> None:
    """What is no sink's URL is refused, and not repeated: it may be a password."""
    with pytest.raises(ConfigurationError) as raised:
        asyncio.run(drain_all(structs.replace(stack.settings, sink_url=name)))
    assert "hunter2" not in str(raised.value)


def test_the_worker_waits_until_it_is_adopted(
    stack: Stack, spawn: Callable[..., Any], cli: Cli, wait_until: Callable[..., None]
) -> None:
    """A worker with another sink claims nothing while it waits, and drains once the sink is adopted."""
    log(stack, "a")
    assert stack.drain().error is None
    log(stack, "b")
    process = spawn("-m", "joinback_worker", "worker", JOINBACK_SINK_URL=other(stack), JOINBACK_INTERVAL_S="1")
    wait_until(lambda: "rows go to" in Path(process.log.name).read_text())
    assert stack.server.xpending(wire.pending_key("loans"), wire.GROUP)["pending"] == 0
    assert cli("sink", "adopt", other(stack)).returncode == 0
    wait_until(lambda: stack.books().pending == 0)


def test_a_file_adopted_from_elsewhere(stack: Stack, cli: Cli) -> None:
    """A new file may be adopted from another machine, before the worker has made it."""
    assert cli("sink", "adopt").returncode == 0
    entry = json.loads(stack.server.hget(wire.SINK_KEY, "*"))
    assert not entry["found"]
    stack.server.hset(wire.SINK_KEY, "*", json.dumps(entry | {"host": "elsewhere"}))
    log(stack)
    assert stack.drain().error is None
    assert stack.drain().error is None
    assert json.loads(stack.server.hget(wire.SINK_KEY, "*"))["found"]


def test_nobody_may_look_at_it(tmp_path: Path) -> None:
    """A place that may not be looked into is not there, and no traceback."""
    (tmp_path / "secret").mkdir(mode=0o700)
    with nobody():
        assert published_of(f"sqlite:///{tmp_path}/secret/x.db").found is False


def test_every_scheme_is_named_without_secrets() -> None:
    """`shown` is what lines say of a sink; each served scheme has a place."""
    assert shown("postgresql://me:hunter2@db/x") == "postgresql://me:…@db/x"
    for url in ("stdout:", "embedded:", "clickhouses://h/d"):
        assert place_of(url)
        assert module_of(url)
    with pytest.raises(ConfigurationError):
        open_sink("clickhouse://me:hun@ter2@h/d", None)  # type: ignore[arg-type]
