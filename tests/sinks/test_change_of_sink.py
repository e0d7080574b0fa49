"""A sink is read without being touched, copied into another, refolded, and filled again from what Redis holds."""

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import model
import pytest
from conftest import PATIENCE_S, Cli, Stack, nobody
from engines import ENGINES, Engine
from events import records as any_record
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from loans import loans
from msgspec import structs
from ruled import file, reducing

from joinback.errors import ConfigurationError
from joinback.settings import Settings
from joinback_worker.by_hand import copying
from joinback_worker.by_hand.copying import Copied, copy
from joinback_worker.errors import SinkMissing, SinkUnavailable
from joinback_worker.law.record import Record
from joinback_worker.law.rules import Policy
from joinback_worker.sinks import open_sink, row_store

POLICY = Policy()
every_engine = pytest.mark.parametrize(
    "engine",
    [pytest.param(engine, id=name, marks=[pytest.mark.heavy] * engine.is_heavy) for name, engine in ENGINES.items()],
)


def put(url: str, *batches: Sequence[Record]) -> None:
    async def run() -> None:
        async with open_sink(url, POLICY) as sink:
            for batch in batches:
                await sink.merge(batch)

    asyncio.run(run())


def copied(from_url: str, to_url: str, settings: Settings | None = None) -> Copied:
    async def run() -> Copied:
        return [so_far async for so_far in copy(settings or Settings(), from_url, to_url)][-1]

    return asyncio.run(run())


def plain(rows: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Rows without what tells when and how often they were written, and what no view has."""
    written = ("updated_at", "row_version", "matures_at")
    return {key: {name: cell for name, cell in row.items() if name not in written} for key, row in rows.items()}


@every_engine
def test_a_sink_that_is_not_there_is_not_made_by_reading(engine: Engine, tmp_path: Path) -> None:
    """Whoever only reads is told that there is none, and there is none afterwards."""

    async def look(url: str) -> None:
        async with open_sink(url, POLICY, read_only=True) as sink:
            await sink.get("loans", ["k"])

    with engine.place(tmp_path) as url:
        for _ in range(2):
            with pytest.raises(SinkMissing):
                asyncio.run(look(url))
        assert engine.name == "clickhouse" or not list(tmp_path.iterdir())


@every_engine
def test_reading_finds_the_rows(engine: Engine, tmp_path: Path) -> None:
    """A sink opened to read answers as one opened to write."""

    async def look(url: str) -> Any:
        async with open_sink(url, POLICY, read_only=True) as sink:
            return await sink.get("loans", ["loan_0", "loan_399"])

    with engine.place(tmp_path) as url:
        put(url, loans())
        assert set(asyncio.run(look(url))) == {"loan_0"} | ({"loan_399"} if len(loans()) >= 400 else set())


@every_engine
@pytest.mark.parametrize("direction", ["from", "to"])
def test_a_copy_is_the_same_rows(
    engine: Engine, direction: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From any sink into SQLite, and from SQLite into any: the same rows, in batches of few, and twice is once."""
    monkeypatch.setattr(row_store, "PAGE_ROWS", 70)
    records = loans()
    for number, record in enumerate(records):
        record.application = "loans" if number % 3 else "cards"
    with engine.place(tmp_path) as url, ENGINES["sqlite"].place(tmp_path / "..") as _:
        plain_url = f"sqlite:///{tmp_path}/plain.db"
        source, target = (url, plain_url) if direction == "from" else (plain_url, url)
        put(source, records[::2], records[1::2])
        assert copied(source, target).records >= len(records)
        assert copied(source, target).refused == []
        ours, theirs = (ENGINES["sqlite"], plain_url), (engine, url)
        assert plain(ours[0].rows(ours[1])) == plain(theirs[0].rows(theirs[1]))
        assert len(ours[0].rows(ours[1])) == len(records)


@hypothesis_settings(max_examples=25)
@given(st.lists(any_record.filter(lambda record: record.has_events), min_size=1, max_size=6))
def test_a_copy_of_any_history(tmp_path_factory: pytest.TempPathFactory, records: list[Record]) -> None:
    """Whatever a sink holds, conflicts, retractions and late feedback too, its copy has the rows of the model."""
    folder = tmp_path_factory.mktemp("copy")
    for number, record in enumerate(records):
        record.join_key = f"k{number}"
    put(f"jsonl:///{folder}/a", records, records[::-1])
    assert copied(f"jsonl:///{folder}/a", f"sqlite:///{folder}/b.db").refused == []
    assert copied(f"sqlite:///{folder}/b.db", f"sqlite:///{folder}/c.db").refused == []
    rows = {row["join_key"]: row for row in ENGINES["sqlite"].records(f"sqlite:///{folder}/c.db", Settings())}
    assert len(rows) == len(records)
    for record in records:
        want = model.row(model.events_of(record))
        got = model.parts(lambda column, row=rows[record.join_key]: row.get(column))
        for part in ("status", "inputs", "outputs", "feedback", "feedback_delay_s"):
            assert got[part] == want[part], part


def test_what_the_new_sink_cannot_hold_is_named(tmp_path: Path) -> None:
    """A row that the target refuses is told by its key, the rest is copied, and the exit is not a success."""
    records = loans()[:9]
    records[4].join_key = "nul\0here"
    with ENGINES["postgresql"].place(tmp_path) as url:
        put(f"sqlite:///{tmp_path}/a.db", records)
        done = copied(f"sqlite:///{tmp_path}/a.db", url)
        assert done.records == 8
        (refused,) = done.refused
        assert "nul" in refused
        assert len(ENGINES["postgresql"].rows(url)) == 8


def test_a_cell_that_somebody_edited_stops_a_copy(tmp_path: Path) -> None:
    """A copy leaves nothing behind in silence: a row that cannot be read back ends it, by name."""
    put(f"sqlite:///{tmp_path}/a.db", loans()[:3])
    with closing(sqlite3.connect(tmp_path / "a.db")) as database, database:
        database.execute("UPDATE records SET feedback_events = 'see ticket 12' WHERE join_key = 'loan_1'")
    with pytest.raises(SinkUnavailable, match="'loan_1' is not as a worker wrote it"):
        copied(f"sqlite:///{tmp_path}/a.db", f"sqlite:///{tmp_path}/b.db")


def test_a_newer_event_stops_a_copy(tmp_path: Path) -> None:
    """An event that this version cannot read is not left behind in silence."""
    put(f"jsonl:///{tmp_path}/a", loans()[:3])
    (file,) = (tmp_path / "a").iterdir()
    file.write_bytes(file.read_bytes().replace(b'"event":{"v":1', b'"event":{"v":99', 1))
    with pytest.raises(SinkUnavailable, match="upgrade"):
        copied(f"jsonl:///{tmp_path}/a", f"sqlite:///{tmp_path}/b.db")


def test_a_sink_is_not_copied_onto_itself(tmp_path: Path) -> None:
    """One place by two URLs is one sink."""
    with pytest.raises(ConfigurationError, match="one sink"):
        copied(f"sqlite:///{tmp_path}/a.db", f"sqlite:///{tmp_path}/./a.db?busy_timeout_s=2")


def test_large_rows_come_in_small_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page holds few rows where rows are large: a copy's memory is bounded in bytes."""
    monkeypatch.setattr(row_store, "PAGE_BYTES", 200_000)
    monkeypatch.setattr(row_store, "PAGE_ROWS", 100)
    records = loans()[:60]
    for record in records:
        for prediction in record.predictions.values():
            prediction.inputs = type(prediction.inputs)(b'"' + b"x" * 20_000 + b'"')
    put(f"sqlite:///{tmp_path}/a.db", records)

    async def pages() -> list[int]:
        async with open_sink(f"sqlite:///{tmp_path}/a.db", POLICY, read_only=True) as sink:
            return [len(page) async for page in sink.records()]

    sizes = asyncio.run(pages())
    assert sum(sizes) == 60
    assert sizes[0] == 10
    assert max(sizes[1:]) <= 2


def test_copy_by_the_command(stack: Stack, cli: Cli, tmp_path: Path) -> None:
    """The way that docs/how-to/sinks.md tells: copy, adopt, drain; late feedback then joins in the new sink."""
    log(stack, "a")
    assert cli("drain").returncode == 0
    new = f"sqlite:///{tmp_path}/new.db"
    done = cli("sink", "copy", "JOINBACK_SINK_URL", new)
    assert (done.returncode, done.stdout) == (0, f"copied 1 records from {stack.settings.sink_url} to {new}\n")
    assert cli("sink", "adopt", new).returncode == 0
    stack.server.delete(stack.record("a"))
    stack.client.log_record("loans", feedback={"repaid": True}, join_key="a")
    stack.client.flush(PATIENCE_S)
    assert cli("drain", JOINBACK_SINK_URL=new).returncode == 0
    assert ENGINES["sqlite"].rows(new)["a"]["status"] == "joined"
    missing = cli("sink", "copy", f"sqlite:///{tmp_path}/none.db", new)
    assert (missing.returncode, missing.stderr) == (
        2,
        f"joinback: the sink {tmp_path}/none.db does not exist yet\n",
    )
    assert not (tmp_path / "none.db").exists()


def log(stack: Stack, key: str) -> None:
    stack.client.log_record("loans", inputs=1, outputs=2, join_key=key)
    assert stack.client.flush(PATIENCE_S)


def test_requeue(stack: Stack, cli: Cli) -> None:
    """What Redis holds is pending again, the books balance, and an emptied sink gets its rows back."""
    for n in range(1_200):
        stack.client.log_record("loans", inputs=n, outputs=0, join_key=f"loan_{n}")
    stack.client.log_record("loans", feedback={"a": 1}, join_key="loan_7")
    stack.client.log_record("loans*", inputs=1, outputs=0, join_key="other")
    assert stack.client.flush(PATIENCE_S)
    assert cli("drain").returncode == 0
    Path(stack.settings.sink_url.removeprefix("sqlite:///")).unlink()
    stack.server.expire(stack.record("loan_7"), 30)
    stack.server.set(stack.record("odd"), "somebody's", ex=60)
    done = cli("requeue", "loans")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("requeued 1200 records of loans;")
    assert stack.books().pending == 1_200
    assert stack.server.ttl(stack.record("loan_7")) > 30
    assert cli("drain").returncode == 0
    assert len(stack.rows()) == 1_200
    assert stack.row("loan_7")["status"] == "joined"
    assert stack.books().difference == 0
    wrong = cli("requeue", "laons")
    assert (wrong.returncode, wrong.stderr) == (2, "joinback: no application laons; did you mean loans?\n")
    assert cli("requeue", "loans*").stdout.startswith("requeued 1 records")
    stack.drain()


def test_requeued_bad_events_stay_on_the_books(stack: Stack, cli: Cli) -> None:
    """A requeued record with a torn event is a row and a dead letter, counted once."""
    log(stack, "a")
    stack.drain()
    stack.server.hset(stack.record("a"), "feedback:torn", "rubbish")
    cli("requeue", "loans")
    stack.drain()
    assert stack.books().difference == 0


@pytest.mark.parametrize("name", ["sqlite", "postgresql"])
def test_refold(name: str, stack: Stack, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the reducers changed, the rows that stand are projected anew, of this application alone."""
    monkeypatch.setattr(row_store, "PAGE_ROWS", 20)
    engine = ENGINES[name]
    with engine.place(tmp_path) as url:
        before = structs.replace(stack.settings, sink_url=url)
        for application in ("ads", "loans", "zoo"):
            for n in range(15):
                for clicks in (1, 2):
                    stack.client.log_record(application, feedback={"clicks": clicks}, join_key=f"{application}_{n}")
        stack.drain(sink_url=url)
        assert {row["feedback"]["clicks"] for row in engine.rows(url, before).values()} == {2}
        variables = {"JOINBACK_CONFIG": file(tmp_path, loans=reducing(clicks="sum")), "JOINBACK_SINK_URL": url}
        refused = cli("sink", "refold", "loans", **variables)
        assert refused.returncode == 2
        assert "folds by other rules" in refused.stderr
        dry = cli("sink", "refold", "loans", "--dry-run", **variables)
        assert dry.stdout.endswith(": 15 rows would change\n  15 orphan\n")
        assert {row["feedback"]["clicks"] for row in engine.rows(url, before).values()} == {2}
        # As a worker with the new file does at its next tick, whether anything waits or not.
        stack.drain(sink_url=url, config=variables["JOINBACK_CONFIG"])
        done = cli("sink", "refold", "loans", **variables)
        assert done.returncode == 0, done.stderr
        assert done.stdout.endswith(": 15 rows changed\n  15 orphan\n")
        sums = {key: row["feedback"]["clicks"] for key, row in engine.rows(url).items()}
        assert {key for key, clicks in sums.items() if clicks == 3} == {f"loans_{n}" for n in range(15)}
        assert cli("sink", "refold", "loans", **variables).stdout.endswith(": 0 rows changed\n")
        assert cli("sink", "refold", "loans", JOINBACK_SINK_URL=url).returncode == 2


def test_explain_of_a_file_one_may_only_read(stack: Stack, cli: Cli, tmp_path: Path) -> None:
    """`explain` shows the row of a file and folder that are read-only, and leaves no file beside it."""
    log(stack, "a")
    folder = tmp_path / "sink"
    folder.mkdir()
    url = f"sqlite:///{folder}/a.db"
    assert stack.drain(sink_url=url).rows == 1
    before = sorted(folder.iterdir())
    folder.chmod(0o555)
    (folder / "a.db").chmod(0o444)
    tmp_path.chmod(0o755)

    async def look() -> Any:
        async with open_sink(url, POLICY, read_only=True) as sink:
            return await sink.get("loans", ["a"])

    with nobody_in(tmp_path):
        assert set(asyncio.run(look())) == {"a"}
    done = cli("explain", "loans", "a", JOINBACK_SINK_URL=url)
    assert "status  predicted" in done.stdout
    assert sorted(folder.iterdir()) == before == [folder / "a.db"]
    folder.chmod(0o755)


def nobody_in(folder: Path) -> Any:
    """As a user without rights, who may look into the test's folder."""
    for parent in [folder, *folder.parents]:
        # Above the folders of this run nothing is ours to open, and nothing need be.
        if parent.stat().st_mode & 0o005 != 0o005:
            parent.chmod(parent.stat().st_mode | 0o055)
    return nobody()


def test_explain_sees_what_a_writer_has_not_yet_checkpointed(stack: Stack, cli: Cli) -> None:
    """While a worker has the file open, what it committed is seen."""
    log(stack, "a")
    stack.drain()
    file = stack.settings.sink_url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(file)) as writer:
        writer.execute("UPDATE records SET version = 'from the log'")
        writer.commit()
        assert "version  from the log" in cli("explain", "loans", "a").stdout


def test_doctor(stack: Stack, cli: Cli, tmp_path: Path) -> None:
    """`joinback doctor` tries everything and leaves nothing: each line is well, or says what to mend."""
    done = cli("doctor")
    assert done.returncode == 0, done.stdout
    marks = [line.split()[0] for line in done.stdout.splitlines() if not line.startswith(" ")]
    # The tests' own server keeps nothing over a restart.
    assert sorted(set(marks)) == ["LOOK", "ok"]
    assert done.stdout.count("LOOK") == done.stdout.count("not_persistent") == 1
    assert f"sink  {stack.settings.sink_url}: can be written" in done.stdout
    assert stack.rows() == []
    assert stack.server.keys("joinback:*") == []
    wrong = cli("doctor", JOINBACK_SINK_URL=f"sqlite:///{tmp_path}/none/a.db")
    assert wrong.returncode == 1
    assert "FIX   sink  sink_wrong: " in wrong.stdout
    assert "check that its directory exists" in wrong.stdout
    away = cli("doctor", JOINBACK_REDIS_URL="redis://127.0.0.1:1/0")
    assert (away.returncode, away.stderr) == (1, "")
    assert "FIX   redis  redis_away: redis://127.0.0.1:1/0: no connection to Redis" in away.stdout
    log(stack, "a")
    stack.drain()
    other = cli("doctor", JOINBACK_SINK_URL=f"sqlite:///{tmp_path}/other.db")
    assert "FIX   sink  sink_differs: Redis says that rows go to" in other.stdout
    assert not (tmp_path / "other.db").exists()


def test_doctor_without_rights(stack: Stack, cli: Cli) -> None:
    """A login that lacks a right is told before the first event comes."""
    stack.server.execute_command("ACL", "SETUSER", "poor", "on", ">x", "~*", "+@all", "-xautoclaim")
    try:
        url = stack.settings.redis_url.replace("redis://", "redis://poor:x@")
        done = cli("doctor", JOINBACK_REDIS_URL=url)
        assert done.returncode == 1
        assert "FIX   rights  right_missing: the Redis user lacks a right: it may not run xautoclaim" in done.stdout
    finally:
        stack.server.execute_command("ACL", "DELUSER", "poor")


def test_doctor_of_a_role_without_rights(stack: Stack, cli: Cli, tmp_path: Path) -> None:
    """A role of PostgreSQL that may not insert is told, and nothing stays in the table."""
    import psycopg

    with ENGINES["postgresql"].place(tmp_path) as url:
        assert cli("doctor", JOINBACK_SINK_URL=url).returncode == 0
        assert ENGINES["postgresql"].rows(url) == {}
        with psycopg.connect(url, autocommit=True) as admin:
            admin.execute("CREATE ROLE reader LOGIN")
            admin.execute("GRANT SELECT ON records, joinback_migrations TO reader")
        try:
            done = cli("doctor", JOINBACK_SINK_URL=url.replace("postgres@", "reader@"))
            assert done.returncode == 1
            assert "this role lacks a right" in done.stdout
        finally:
            with psycopg.connect(url, autocommit=True) as admin:
                admin.execute("DROP OWNED BY reader; DROP ROLE reader")


def test_a_staging_table_of_an_older_release(tmp_path: Path) -> None:
    """A pooled session that still has another release's staging table takes merges."""
    from joinback_worker.sinks.postgres import PostgresSink

    records = loans()[:2]

    async def run(url: str) -> int:
        async with open_sink(url, POLICY) as sink:
            assert isinstance(sink, PostgresSink)
            await sink.merge(records)
            with sink._session.transaction():
                sink._session.execute("CREATE TEMPORARY TABLE joinback_staging (old text)")
            later = datetime.now(UTC) + timedelta(minutes=1)
            for record in records:
                for event in record.feedback.values():
                    event.at = event.logged_at = later
            return (await sink.merge(records)).rows

    with ENGINES["postgresql"].place(tmp_path) as url:
        assert asyncio.run(run(url)) == 2


def test_what_is_lost_is_known() -> None:
    """The module's word for lost is held to the reasons of a merge: late feedback is not."""
    from joinback_worker.law.record import Rejected

    assert copying._is_lost(Rejected("k", "feedback:e", "feedback_overflow", "full", b""))
    assert not copying._is_lost(Rejected("k", "feedback:e", "after_window", "late", b"", "late:e"))
