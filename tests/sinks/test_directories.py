"""Directories of Parquet and JSON Lines: files whole or absent, named by content, compacted, and told when foreign."""

import asyncio
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import libfaketime
import pytest
from conftest import Cli, nobody
from engines import ENGINES
from events import feedback, prediction, record
from loans import loans

from joinback_worker.errors import SinkUnavailable
from joinback_worker.law.record import Record
from joinback_worker.law.rules import Policy
from joinback_worker.sinks import open_sink
from joinback_worker.sinks.schemes import module_of

POLICY = Policy()


@pytest.fixture(params=["parquet", "jsonl"])
def scheme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def directory(tmp_path: Path, scheme: str) -> Path:
    return tmp_path / scheme


@pytest.fixture
def url(scheme: str, directory: Path) -> str:
    return f"{scheme}:///{directory}"


def put(url: str, *batches: list[Record]) -> None:
    async def run() -> None:
        async with open_sink(url, POLICY) as sink:
            for batch in batches:
                await sink.merge(batch)

    asyncio.run(run())


def get(url: str, *keys: str) -> set[str]:
    async def run() -> set[str]:
        async with open_sink(url, POLICY) as sink:
            return set(await sink.get("loans", keys))

    return asyncio.run(run())


def test_the_same_batch_is_the_same_file(url: str, directory: Path) -> None:
    """A batch that is repeated, in any order of its records, takes the place of its own file."""
    put(url, loans(), loans()[::-1])
    assert len(list(directory.iterdir())) == 1
    put(url, loans()[:10])
    assert len(list(directory.iterdir())) == 2


def test_a_file_gets_its_name_when_it_is_on_disk(url: str, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until its content is synced a file stands under a name that nobody reads; the directory is synced after it."""
    seen: list[list[str]] = []
    synced: list[int] = []
    sync = os.fsync

    def noting(fd: int) -> None:
        seen.append([path.name for path in directory.iterdir()])
        synced.append(os.fstat(fd).st_ino)
        sync(fd)

    monkeypatch.setattr("joinback_worker.sinks.directory.os.fsync", noting)
    put(url, loans())
    (before,), (after,) = seen
    assert (before.startswith("."), before.endswith(".part")) == (True, True)
    (file,) = directory.iterdir()
    assert file.name == after
    # What was synced, and not a copy of it.
    assert synced == [file.stat().st_ino, directory.stat().st_ino]


def test_compaction_changes_no_row(url: str, scheme: str, directory: Path) -> None:
    """Many small files become one, repeated events once, and `records` answers what it answered before."""
    put(url, *([loan] for loan in loans()[:50]), loans()[:25])
    before = ENGINES[scheme].rows(url)
    assert module_of(url).compact(url) == "51 files became 1"
    (file,) = directory.iterdir()
    assert ENGINES[scheme].rows(url) == before
    assert module_of(url).compact(url) == "0 files became 0"
    assert get(url, "loan_0", "loan_49", "loan_50") == {"loan_0", "loan_49"}
    if scheme == "jsonl":
        assert len(file.read_text().splitlines()) == sum(len(r.predictions) + len(r.feedback) for r in loans()[:50])


def erase(url: str, *keys: str) -> int:
    async def run() -> int:
        async with open_sink(url, POLICY) as sink:
            return await sink.erase("loans", keys)

    return asyncio.run(run())


def held(url: str) -> set[str]:
    """The join keys of all files, read one by one."""

    async def run() -> set[str]:
        async with open_sink(url, POLICY) as sink:
            return {record.join_key async for page in sink.records() for record in page}

    return asyncio.run(run())


def test_each_file_that_holds_an_erased_key_is_written_anew(url: str, scheme: str, directory: Path) -> None:
    """A file without it stays as it is, one with it loses it, and one of it alone goes."""
    put(url, loans()[:100], loans()[50:150], loans()[200:300], loans()[60:61])
    before, rows = set(directory.iterdir()), ENGINES[scheme].rows(url)
    assert erase(url, "loan_60") == sum(3 * (len(r.predictions) + len(r.feedback)) for r in loans()[60:61])
    after = set(directory.iterdir())
    assert (len(after), len(after & before)) == (3, 1)
    del rows["loan_60"]
    assert ENGINES[scheme].rows(url).keys() == held(url) == rows.keys()
    assert erase(url, "loan_60") == 0
    assert set(directory.iterdir()) == after


def test_an_erasure_that_dies_in_between_is_completed_by_the_next(
    url: str, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stays is whole at any moment, and after another try nothing of the erased key is left."""
    put(url, loans()[:10], loans()[5:15])
    rows = ENGINES[scheme].rows(url)

    def dies(self: Path, missing_ok: bool = False) -> None:
        if not missing_ok:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("joinback_worker.sinks.directory.Path.unlink", dies)
        with pytest.raises(KeyboardInterrupt):
            erase(url, "loan_7")
    assert ENGINES[scheme].rows(url) == rows
    del rows["loan_7"]
    assert erase(url, "loan_7") > 0
    assert ENGINES[scheme].rows(url) == rows
    assert held(url) == rows.keys()


def test_a_compaction_beside_an_erasure_brings_nothing_back(url: str, scheme: str) -> None:
    """Whichever comes first, the other waits for it."""
    batches = [[loan] for loan in loans()[:20]]
    put(url, *batches)
    with ThreadPoolExecutor(2) as pool:
        for n in range(20):
            compacted = pool.submit(module_of(url).compact, url)
            erased = pool.submit(erase, url, f"loan_{n}")
            assert erased.result() > 0
            compacted.result()
            assert f"loan_{n}" not in held(url)
            put(url, *batches[n + 1 :])
    assert held(url) == set()


def test_a_compaction_that_dies_in_between_changes_no_row(
    url: str, scheme: str, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The combined file is there before the small ones go, and both together are the same rows."""
    put(url, *([loan] for loan in loans()[:5]))
    before = ENGINES[scheme].rows(url)

    def dies(self: Path, missing_ok: bool = False) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("joinback_worker.sinks.directory.Path.unlink", dies)
        with pytest.raises(KeyboardInterrupt):
            module_of(url).compact(url)
    assert len(list(directory.glob("*.*"))) >= 6
    assert ENGINES[scheme].rows(url) == before


def test_what_a_killed_writer_left_is_no_row_and_goes(url: str, scheme: str, directory: Path) -> None:
    """A file half written is never read, and is removed once nobody can be writing it."""
    put(url, loans()[:5])
    fresh, old = directory / f".x.{scheme}.1-a.part", directory / f".y.{scheme}.2-b.part"
    for path in (fresh, old):
        path.write_bytes(b"half a fi")
    yesterday = time.time() - 2 * 86_400
    os.utime(old, (yesterday, yesterday))
    assert len(ENGINES[scheme].rows(url)) == 5
    put(url, loans()[5:6])
    assert fresh.exists()
    assert not old.exists()


def test_a_worker_with_a_wrong_clock_leaves_others_alone(cli: Cli, url: str, scheme: str, directory: Path) -> None:
    """A worker whose clock is two days ahead does not take a file that another is writing for a dead one's."""
    put(url, loans()[:5])
    fresh, old = directory / f".x.{scheme}.1-a.part", directory / f".y.{scheme}.2-b.part"
    for path in (fresh, old):
        path.write_bytes(b"half a fi")
    os.utime(old, (time.time() - 2 * 86_400,) * 2)
    library = next(Path(libfaketime.__file__).parent.rglob("libfaketime.so.1"))
    ahead = {"LD_PRELOAD": str(library), "FAKETIME": "+2d", "NO_FAKE_STAT": "1"}
    assert "can be written" in cli("doctor", JOINBACK_SINK_URL=url, **ahead).stdout
    assert (fresh.exists(), old.exists()) == (True, False)


@pytest.mark.parametrize("command", ["drain", "worker"])
def test_emit_joined_is_refused(cli: Cli, url: str, command: str) -> None:
    """A directory has no index to find a label's row by: told at start, with what to do instead."""
    done = cli(command, JOINBACK_SINK_URL=url, JOINBACK_EMIT="joined")
    assert done.returncode == 2
    assert "leave JOINBACK_EMIT unset, and read the view with status = 'joined'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_of_somebody_elses_is_told(url: str, scheme: str, directory: Path) -> None:
    """A file that holds no events of ours is named, and read again once it is gone."""
    put(url, loans()[:5])
    foreign = directory / f"notes.{scheme}"
    foreign.write_text('{"application": 1}\n')
    with pytest.raises(SinkUnavailable, match=r"notes\.\w+ .*; move (it|the file) elsewhere"):
        get(url, "loan_0")
    with pytest.raises(SinkUnavailable, match=r"notes\.\w+ .*; move (it|the file) elsewhere"):
        module_of(url).compact(url)
    foreign.unlink()
    assert get(url, "loan_0") == {"loan_0"}


def test_a_directory_that_cannot_be_written(url: str, directory: Path) -> None:
    """No right to write is told with the path; once there is one, the batch goes in."""
    put(url, loans()[:5])
    for parent in directory.parents[:3]:
        parent.chmod(parent.stat().st_mode | 0o555)
    directory.chmod(0o555)
    with (
        nobody(),
        pytest.raises(SinkUnavailable, match="Permission denied; repair it, and the worker goes on") as raised,
    ):
        put(url, loans())
    assert str(directory) in str(raised.value)
    directory.chmod(0o755)
    put(url, loans())
    assert len(list(directory.iterdir())) == 2


def test_a_line_is_plain_json(tmp_path: Path) -> None:
    """A line of JSON Lines reads as the event was logged, its JSON not in quotes."""
    put(f"jsonl:///{tmp_path}/lake", [record({"prediction:p": prediction(), "feedback:f": feedback(5, ok=True)})])
    (file,) = (tmp_path / "lake").iterdir()
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(line["kind"], line["join_key"]) for line in lines] == [("prediction", "k"), ("feedback", "k")]
    assert lines[0]["inputs"] == {"a": 1}
    assert lines[0]["event_at"] == "2026-11-23T12:00:00Z"
    assert lines[1]["event"]["feedback"] == {"ok": True}
