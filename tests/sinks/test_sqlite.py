"""What is particular to the SQLite sink: its file in trouble, and readers beside the writer."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from conftest import nobody
from events import feedback, prediction, record
from ruled import policy

from joinback.errors import ConfigurationError
from joinback.settings import Settings
from joinback_worker.errors import SinkRefused, SinkUnavailable
from joinback_worker.law.rules import Policy
from joinback_worker.sinks import open_sink
from joinback_worker.sinks.sqlite import schema
from joinback_worker.sinks.sqlite_table import MIGRATIONS

POLICY = policy(join_window_s=86_400)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "joinback.db"


def merge(path: Path, *joined: Any, options: str = "") -> None:
    async def run() -> None:
        async with open_sink(f"sqlite:///{path}{options}", POLICY) as sink:
            await sink.merge(joined or [record({"prediction:p": prediction()})])

    asyncio.run(run())


def test_a_locked_file_is_retryable(path: Path) -> None:
    """A writer that does not let go is waited for a while, then told; nothing is stored half."""
    merge(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(SinkUnavailable, match="locked by another process; end its transaction"):
            merge(path, record({"prediction:p": prediction()}, "later"), options="?busy_timeout_s=0.05")
    merge(path, record({"prediction:p": prediction()}, "later"))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        *((f"?busy_timeout_s={wrong}", "must be a number of seconds") for wrong in ("soon", "nan", "-1", "1e12")),
        ("?timeout=1", "no option 'timeout'"),
    ],
)
def test_a_wrong_option_is_told(path: Path, options: str, says: str) -> None:
    """An option nobody knows, or a value that is none, is a ConfigurationError."""
    with pytest.raises(ConfigurationError, match=says):
        merge(path, options=options)


def test_a_read_only_file_is_told(path: Path) -> None:
    """No right to write: one line that says what to give."""
    merge(path)
    path.parent.chmod(0o555)
    path.chmod(0o444)
    for parent in path.parents[:3]:
        parent.chmod(parent.stat().st_mode | 0o555)
    with nobody(), pytest.raises(SinkUnavailable, match=r"joinback\.db (is read-only|cannot be opened);"):
        merge(path, record({"prediction:p": prediction()}, "later"))


@pytest.mark.parametrize(
    ("content", "says"), [(b"this is a text file, not a database" * 100, "is not an SQLite database"), (None, "opened")]
)
def test_a_file_that_cannot_be_one(path: Path, content: bytes | None, says: str) -> None:
    """A text file, or a folder that is not there, is told with the path."""
    if content is None:
        path = path.parent / "missing" / "joinback.db"
    else:
        path.write_bytes(content)
    with pytest.raises(SinkUnavailable, match=says) as raised:
        merge(path)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize(
    ("alter", "says", "mend"),
    [
        ("ALTER TABLE records RENAME TO mine", "lost its table `records`", "ALTER TABLE mine RENAME TO records"),
        (
            "ALTER TABLE records RENAME COLUMN outputs TO scores",
            "lost column 'outputs' in its table `records`",
            "ALTER TABLE records RENAME COLUMN scores TO outputs",
        ),
        (
            "ALTER TABLE records RENAME COLUMN row_version TO mine",
            "lost column 'row_version'",
            "ALTER TABLE records RENAME COLUMN mine TO row_version",
        ),
    ],
)
def test_a_table_somebody_altered_is_told(path: Path, alter: str, says: str, mend: str) -> None:
    """A missing table or column stops the drain with one line that names it, and is retried once it is mended."""
    merge(path)
    with closing(sqlite3.connect(path)) as other:
        other.execute(alter)
        with pytest.raises(SinkUnavailable, match=f"{says}.*; restore it"):
            merge(path)
        other.execute(mend)
    merge(path)


def test_a_table_altered_meanwhile_is_told(path: Path) -> None:
    """An alteration between two merges of one worker is retryable as well: no row is to blame for it."""

    async def run() -> None:
        async with open_sink(f"sqlite:///{path}", POLICY) as sink:
            with closing(sqlite3.connect(path)) as other:
                other.execute("ALTER TABLE records RENAME COLUMN outputs TO scores")
            with pytest.raises(SinkUnavailable, match="not as the worker made it"):
                await sink.merge([record({"prediction:p": prediction()})])

    asyncio.run(run())


def test_a_migration_is_recorded_with_what_it_made(path: Path) -> None:
    """A migration that cannot be finished leaves nothing of itself, and is begun anew by the next try."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("CREATE TABLE mine (x)")
        other.execute("CREATE INDEX records_by_time ON mine (x)")
        with pytest.raises(SinkUnavailable, match="not as the worker made it"):
            merge(path)
        tables = other.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        assert (tables, other.execute("PRAGMA user_version").fetchone()) == ([("mine",)], (0,))
        other.execute("DROP INDEX records_by_time")
        merge(path)
        assert other.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)


def test_workers_that_start_at_once(path: Path) -> None:
    """Several workers on a new file make one schema, each migration once."""

    async def run() -> None:
        sinks = [open_sink(f"sqlite:///{path}", POLICY) for _ in range(6)]
        await asyncio.gather(*(sink.__aenter__() for sink in sinks))
        await asyncio.gather(*(sink.merge([record({"prediction:p": prediction()}, "k")]) for sink in sinks))
        await asyncio.gather(*(sink.__aexit__(None, None, None) for sink in sinks))

    asyncio.run(run())
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT join_key, row_version FROM records").fetchall() == [("k", 1)]


def test_the_printed_schema_is_the_workers(path: Path, tmp_path: Path) -> None:
    """What `joinback sink schema` prints makes the file that the worker would make."""
    merge(path)
    printed = tmp_path / "printed.db"
    definitions = "SELECT name, sql FROM sqlite_master ORDER BY name"
    with closing(sqlite3.connect(printed)) as mine, closing(sqlite3.connect(path)) as workers:
        mine.executescript(schema(f"sqlite:///{printed}", Settings()))
        assert mine.execute(definitions).fetchall() == workers.execute(definitions).fetchall()
    merge(printed)


def test_a_newer_schema_is_not_touched(path: Path) -> None:
    """A file that a later worker migrated is left alone."""
    merge(path)
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA user_version = 99")
    with pytest.raises(SinkUnavailable, match="upgrade the worker"):
        merge(path)


def test_a_commit_is_on_the_disk(path: Path) -> None:
    """A commit survives a power cut: synchronous=FULL, the write-ahead log included."""

    async def pragma() -> Any:
        async with open_sink(f"sqlite:///{path}", Policy()) as sink:
            opened: Any = sink
            ask = opened._open_connection().execute
            return await opened._run(lambda: [ask(f"PRAGMA {name}").fetchone()[0] for name in PRAGMAS])

    assert asyncio.run(pragma()) == ["wal", 2]


PRAGMAS = ("journal_mode", "synchronous")


def test_a_reader_is_not_in_the_way(path: Path) -> None:
    """A transaction that reads keeps its view, and the writer goes on."""
    merge(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT status FROM records").fetchall() == [("predicted",)]
        merge(path, record({"feedback:f": feedback(a=1)}))
        assert reader.execute("SELECT status FROM records").fetchall() == [("predicted",)]
        reader.execute("COMMIT")
        assert reader.execute("SELECT status FROM records").fetchall() == [("joined",)]


def test_what_is_erased_is_not_in_the_file(path: Path) -> None:
    """The bytes of an erased row stand neither in the file nor in its log, also while another one has it open."""
    secret, large = "it is called Ada", "of which Ada has so much " * 10_000
    records = [record({"prediction:p": prediction(inputs=[secret, large])}, f"k{n}") for n in range(3)]

    async def run() -> None:
        async with open_sink(f"sqlite:///{path}", POLICY) as sink:
            await sink.merge(records)
            assert any(secret.encode() in file.read_bytes() for file in path.parent.glob(f"{path.name}*"))
            assert await sink.erase("loans", ["k0", "k1", "k2"]) == 3
            for file in path.parent.glob(f"{path.name}*"):
                assert b"Ada" not in file.read_bytes(), file

    with closing(sqlite3.connect(path)) as other:
        asyncio.run(run())
        assert other.execute("SELECT count(*) FROM records").fetchone() == (0,)


def test_a_failed_batch_leaves_nothing(path: Path) -> None:
    """All of a call's rows or none: a batch that fails at its last row stores no row."""
    merge(path)
    with closing(sqlite3.connect(path)) as other:
        other.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON records WHEN NEW.join_key = 'z'"
            " BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
    with pytest.raises(SinkRefused):
        merge(path, *(record({"prediction:p": prediction()}, key) for key in "abz"))
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT join_key FROM records").fetchall() == [("k",)]


def test_times_and_json_are_sqlites_own(path: Path) -> None:
    """SQLite's date and JSON functions read the columns as they are."""
    merge(path, record({"prediction:p": prediction(), "feedback:f": feedback(90, ok=True)}))
    with closing(sqlite3.connect(path)) as database:
        found = database.execute(
            "SELECT date(predicted_at), strftime('%s', feedback_at) - strftime('%s', predicted_at),"
            " json_extract(inputs, '$.a'), json_extract(feedback, '$.ok'),"
            " (SELECT group_concat(key) FROM json_each(feedback_events)) FROM records"
        ).fetchall()
    assert found == [("2026-11-23", 90, 1, 1, "feedback:f")]
