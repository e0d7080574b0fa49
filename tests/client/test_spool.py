"""Events on disk: in order, bounded, safe from a crash, and read by one process only."""

import os
import random
import stat
import struct
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import msgspec
import pytest
import redis
from conftest import PATIENCE_S, nobody, wait_for
from hypothesis import given
from hypothesis import strategies as st

import joinback
from joinback import wire
from joinback._delivery.plain import Buffered
from joinback._delivery.spool import SEGMENT_BYTES, Spool
from joinback.settings import Settings

FEEDBACK = b'{"v":1,"at":"2026-11-23T11:00:00Z","logged_at":"2026-11-23T11:00:00Z","feedback":{"x":1}}'
GIB = 1 << 30


def batch(first: int, number: int, size: int = 10) -> list[Buffered]:
    return [("loans", f"k{n}", f"feedback:{n}", b"x" * size) for n in range(first, first + number)]


def drained(spool: Spool) -> tuple[list[Buffered], int]:
    events: list[Buffered] = []
    damaged = 0
    while (frame := spool.read()) is not None:
        assert spool.read() == frame
        events += frame.events
        damaged += frame.damaged
        spool.delivered(frame)
    return events, damaged


@given(st.lists(st.one_of(st.integers(1, 20), st.just(0)), max_size=12))
def test_a_fifo(tmp_path_factory: pytest.TempPathFactory, steps: list[int]) -> None:
    """Whatever the turns of appending (n events) and reading (0), events come out once and in order."""
    spool = Spool(str(tmp_path_factory.mktemp("spool")), GIB)
    put: list[Buffered] = []
    got: list[Buffered] = []
    for number in steps:
        if number:
            put += batch(len(put), number)
            assert spool.append(put[-number:])
        elif (frame := spool.read()) is not None:
            got += frame.events
            spool.delivered(frame)
        assert spool.events == len(put) - len(got)
    got += drained(spool)[0]
    assert got == put
    assert spool.events == 0
    spool.forget()


def test_nothing_is_left_on_disk(tmp_path: Path) -> None:
    """A delivered segment is deleted; files and folder are for their owner only."""
    spool = Spool(str(tmp_path / "a" / "spool"), GIB)
    spool.append(batch(0, 10))
    (path,) = (tmp_path / "a" / "spool").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    drained(spool)
    assert not list(path.parent.iterdir())


def test_the_spool_is_bounded(tmp_path: Path) -> None:
    """Beyond its bound nothing more is written, and the trouble names the fix; room comes back with delivery."""
    spool = Spool(str(tmp_path), 2 * SEGMENT_BYTES)
    big = batch(0, 10, SEGMENT_BYTES // 11)
    written = 0
    while spool.append(big):
        written += 1
    assert written == 2
    assert spool.trouble is not None
    assert "raise spool_bytes_max" in spool.trouble
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 2 * SEGMENT_BYTES
    frame = spool.read()
    assert frame is not None
    spool.delivered(frame)
    assert spool.append(big)
    assert len(drained(spool)[0]) == 20


def test_the_bound_holds_while_a_segment_grows(tmp_path: Path) -> None:
    """Each append looks at the whole directory: two processes that write there keep to one bound."""
    spools = [Spool(str(tmp_path), 100_000) for _ in range(2)]
    written = 0
    while any(spool.append(batch(written, 10, 100)) for spool in spools):
        written += 10
    size = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert 95_000 < size <= 100_000
    for spool in spools:
        drained(spool)


def test_a_dead_process_leaves_its_spool_to_the_next(tmp_path: Path) -> None:
    """Segments whose lock is free are adopted, oldest first; those of a living process are not touched."""
    dead, alive = Spool(str(tmp_path), GIB), Spool(str(tmp_path), GIB)
    dead.append(batch(0, 5))
    alive.append(batch(5, 5))
    dead.forget()
    heir = Spool(str(tmp_path), GIB)
    heir.append(batch(10, 5))
    assert heir.adopt() == 5
    assert heir.adopt() == 0
    assert drained(heir) == (batch(0, 5) + batch(10, 5), 0)
    assert drained(alive) == (batch(5, 5), 0)


@pytest.mark.parametrize("seed", range(20))
def test_a_torn_tail(tmp_path: Path, seed: int) -> None:
    """A file cut anywhere gives all whole frames before the cut; what the torn one held is counted."""
    spool = Spool(str(tmp_path), GIB)
    for n in range(10):
        spool.append(batch(100 + n * 10, 10))  # names of one length
    spool.forget()
    (path,) = tmp_path.iterdir()
    whole = path.stat().st_size
    cut = random.Random(seed).randrange(1, whole)
    os.truncate(path, cut)
    heir = Spool(str(tmp_path), GIB)
    found = heir.adopt()
    events, damaged = drained(heir)
    frames = cut * 10 // whole
    assert events == batch(100, frames * 10)
    assert found == len(events) + damaged
    # A header that is torn itself cannot say how many it announced.
    assert damaged in ((0,) if cut % (whole // 10) == 0 else (1, 10))
    assert not list(tmp_path.iterdir())


def test_a_flipped_byte_costs_its_frame_only(tmp_path: Path) -> None:
    """A checksum tells a damaged frame, which is counted; the frames after it are read."""
    spool = Spool(str(tmp_path), GIB)
    for n in range(3):
        spool.append(batch(n * 10, 10))
    (path,) = tmp_path.iterdir()
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"\xff")
    assert drained(spool) == (batch(0, 10) + batch(20, 10), 10)


@pytest.mark.parametrize("count", [0, 3, 200])
def test_a_flipped_count(settings: Settings, server: redis.Redis, tmp_path: Path, count: int) -> None:
    """The number in a frame's header costs no event: all are delivered, and nothing stays buffered in the books."""
    first, second = (
        msgspec.msgpack.encode([("loans", f"k{n}", f"feedback:{n}", FEEDBACK) for n in range(start, start + 10)])
        for start in (0, 10)
    )
    (tmp_path / "1-1-1.spool").write_bytes(frame(first, count) + frame(second, 10))
    client = joinback.Client().init(settings.redis_url, spool_dir=tmp_path)
    client.log_record("loans", inputs=1, outputs=0)
    wait_for(lambda: client.stats()["sent"] == 21 and not client.stats()["buffered"])
    stats = client.stats()
    assert stats["dropped"]["spool_damaged"] == max(0, count - 10)
    assert stats["logged"] == stats["sent"] + sum(stats["dropped"].values())
    assert client.close() == (count <= 10)


def test_a_refused_application_holds_up_no_other(settings: Settings, server: redis.Redis, tmp_path: Path) -> None:
    """In the spool its events go to the end, on disk, as often as they are refused; once it is well they are there."""
    ours = [("b", "k", "feedback:0", FEEDBACK), ("a", "k0", "feedback:0", FEEDBACK)]
    theirs = [[("a", f"k{n}", f"feedback:{n}", FEEDBACK)] for n in range(1, 10)]
    frames = [frame(msgspec.msgpack.encode(events), len(events)) for events in (ours, *theirs)]
    (tmp_path / "1-1-1.spool").write_bytes(b"".join(frames))
    pending_a, pending_b = (wire.pending_key(wire.tag(name)) for name in "ab")
    server.set(pending_b, "x")
    client = joinback.Client().init(settings.redis_url, spool_dir=tmp_path)
    client.log_record("a", inputs=1, outputs=0, join_key="fresh")
    wait_for(lambda: server.xlen(pending_a) == 11)
    assert not client.flush(0)
    # Written to its end, it stands in two files until the one before is deleted.
    wait_for(lambda: len(list(tmp_path.glob("*.spool"))) == 1)
    wait_for(lambda: client.stats()["buffered"] == 1)
    server.delete(pending_b)
    wait_for(lambda: not client.stats()["buffered"])
    assert server.xlen(pending_b) == 1
    assert client.flush(PATIENCE_S)
    stats = client.stats()
    assert (stats["sent"], stats["recovered"], sum(stats["dropped"].values())) == (12, 11, 0)
    assert not list(tmp_path.glob("*.spool"))
    assert client.close()


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that the disk refuses leaves the segment as it was, and is told."""
    spool = Spool(str(tmp_path), GIB)
    spool.append(batch(0, 10))

    def refuse(fd: int, data: bytes, offset: int) -> int:
        return os.write(fd, data[:7])  # as much as fits

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", refuse)
        assert not spool.append(batch(10, 10))
    assert spool.trouble is not None
    assert "No space left" in spool.trouble
    assert spool.append(batch(20, 10))
    assert drained(spool) == (batch(0, 10) + batch(20, 10), 0)


def test_an_exit_without_redis_keeps_the_events(tmp_path: Path) -> None:
    """At close what was not delivered is on disk, and the books say buffered, not dropped."""
    client = joinback.Client().init("redis://127.0.0.1:1/0", spool_dir=tmp_path)
    for n in range(100):
        client.log_record("loans", inputs=n, outputs=0)
    assert not client.close(timeout_s=0.1)
    stats = client.stats()
    assert (stats["logged"], stats["buffered"], sum(stats["dropped"].values())) == (100, 100, 0)
    heir = Spool(str(tmp_path), GIB)
    adopted: list[int] = []
    # The sender's thread may lay them down a little after close has returned.
    wait_for(lambda: adopted.append(heir.adopt()) or sum(adopted) == 100)


# --- other processes, other versions, other disks -------------------------------------------------------------


def frame(content: bytes, count: int, magic: bytes = b"JBS1", checksum: int | None = None) -> bytes:
    return struct.pack("<4sIII", magic, count, len(content), checksum or zlib.crc32(content)) + content


def test_every_append_is_on_disk_when_it_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is synced for each batch, and its directory for each file: a power cut takes nothing back."""
    synced: list[str] = []
    fsync = os.fsync

    def counting(fd: int) -> None:
        synced.append("directory" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file")
        fsync(fd)

    monkeypatch.setattr(os, "fsync", counting)
    spool = Spool(str(tmp_path), GIB)
    spool.append(batch(0, 10))
    assert synced == ["directory", "file"]
    spool.append(batch(10, 10))
    assert synced == ["directory", "file", "file"]
    spool.forget()


@pytest.mark.parametrize(
    "content",
    [
        msgspec.msgpack.encode([("loans", "k", "feedback:1", b"x", "and a fifth")] * 7),
        msgspec.msgpack.encode({"seven": 7}),
        b"\x91" * 5_000,
        b"no msgpack",
    ],
)
def test_a_right_checksum_over_something_else(tmp_path: Path, content: bytes) -> None:
    """A frame whose content is no batch of ours is damaged: counted, and passed over."""
    path = tmp_path / "1-1-1.spool"
    good = msgspec.msgpack.encode(batch(0, 2))
    path.write_bytes(frame(content, 7) + frame(good, 2))
    spool = Spool(str(tmp_path), GIB)
    assert spool.adopt() == 9
    assert drained(spool) == (batch(0, 2), 7)
    assert spool.events == 0


@pytest.mark.parametrize("begins", [frame(b"x" * 100, 500, b"JBS2"), b"#!/bin/sh\necho not ours\n", b"\0" * 100])
def test_a_file_of_another_version_is_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture, begins: bytes) -> None:
    """What does not begin as our frames do is no spool of this version: put aside, told once, never deleted."""
    path = tmp_path / "1-1-1.spool"
    path.write_bytes(begins)
    spool = Spool(str(tmp_path), GIB)
    assert [spool.adopt(), spool.adopt()] == [0, 0]
    assert drained(spool) == ([], 0)
    assert path.with_suffix(".unread").read_bytes() == begins
    assert caplog.text.count("not a spool of this version") == 1


def test_a_damaged_spool_is_told_and_the_rest_delivered(
    settings: Settings, server: redis.Redis, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A client that finds damaged and foreign files delivers everything else, without a traceback."""
    (tmp_path / "1-1-1.spool").write_bytes(frame(msgspec.msgpack.encode([("a", "b", "c", b"d", "e")]), 1))
    (tmp_path / "2-1-1.spool").write_bytes(frame(b"x" * 100, 500, b"JBS2"))
    client = joinback.Client().init(settings.redis_url, spool_dir=tmp_path)
    for n in range(10):
        client.log_record("loans", inputs=n, outputs=0)
    while client.stats()["sent"] < 10:
        client.flush(1)
    assert client.stats()["dropped"]["spool_damaged"] == 1
    assert not [record for record in caplog.records if record.exc_info]
    client.close()


def test_files_that_go_away_while_others_are_counted(tmp_path: Path) -> None:
    """Another process delivers its segments meanwhile: the bound is still computed, and nothing is refused."""
    stop = threading.Event()

    def others() -> None:
        while not stop.is_set():
            (tmp_path / "9-9-9.spool").write_bytes(b"x")
            (tmp_path / "9-9-9.spool").unlink()

    thread = threading.Thread(target=others)
    thread.start()
    spool = Spool(str(tmp_path), GIB)
    try:
        for n in range(300):
            # A file of its own each time, so that the directory is looked through.
            spool._writing = None
            assert spool.append(batch(n, 1)), spool.trouble
    finally:
        stop.set()
        thread.join()
    assert len(drained(spool)[0]) == 300


def test_a_delivered_segment_that_cannot_be_deleted(
    settings: Settings, server: redis.Redis, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """In a directory that became read-only what is delivered is emptied, counted as sent, and told."""
    spool = Spool(str(tmp_path), GIB)
    spool.append([("loans", f"k{n}", f"feedback:{n}", FEEDBACK) for n in range(10)])
    spool.forget()
    (path,) = tmp_path.iterdir()
    tmp_path.chmod(0o777)
    path.chmod(0o666)
    for folder in tmp_path.parents:
        if not folder.stat().st_mode & 0o001:
            folder.chmod(0o755)
    client = joinback.Client().init(settings.redis_url, spool_dir=tmp_path)
    tmp_path.chmod(0o555)
    with nobody():
        client.log_record("loans", inputs=1, outputs=0)
        while client.stats()["sent"] < 11:
            client.flush(1)
        assert client.stats()["buffered"] == 0
        client.close()
    tmp_path.chmod(0o700)
    assert "cannot be deleted" in caplog.text
    assert path.stat().st_size == 0


def test_links_in_the_directory_are_not_followed(tmp_path: Path) -> None:
    """A link, a pipe or a directory under a segment's name is not opened, locked, read or deleted."""
    target = tmp_path / "target"
    target.write_bytes(frame(msgspec.msgpack.encode(batch(0, 2)), 2))
    folder = tmp_path / "spool"
    folder.mkdir(0o700)
    (folder / "1-1-1.spool").symlink_to(target)
    os.mkfifo(folder / "2-1-1.spool")
    (folder / "3-1-1.spool").mkdir()
    spool = Spool(str(folder), GIB)
    assert spool.adopt() == 0
    assert len(list(folder.iterdir())) == 3
    assert target.stat().st_size


def test_a_directory_that_stands_open_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where others may write they can put files: one line names the directory and the fix."""
    Spool(str(tmp_path), GIB).forget()
    assert caplog.text == ""
    tmp_path.chmod(0o777)
    Spool(str(tmp_path), GIB).forget()
    assert f"chmod 700 {tmp_path}" in caplog.text


def test_a_system_without_file_locks(tmp_path: Path) -> None:
    """Without fcntl (Windows) the client is imported and logs; a spool says that it cannot be there."""
    script = (
        "import sys; sys.modules['fcntl'] = None\n"
        "import joinback\n"
        f"client = joinback.Client().init('redis://127.0.0.1:1/0', spool_dir={str(tmp_path)!r})\n"
        "client.log_record('loans', inputs=1, outputs=0)\n"
        "client.close(0.1)\n"
        "print(client.stats()['dropped']['undelivered'])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.stdout == "1\n"
    assert "a spool needs the file locks of a POSIX system" in done.stderr
