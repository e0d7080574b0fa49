"""Events on disk: in order, bounded, safe from a crash, and read by one process only."""

import os
import random
from pathlib import Path
from typing import Any

import pytest
from conftest import wait_for
from hypothesis import given
from hypothesis import strategies as st

import joinback
from joinback.buffer import Buffered
from joinback.spool import SEGMENT_BYTES, Spool

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


def test_a_spool_that_cannot_be(tmp_path: Path) -> None:
    """A spool that cannot be made is told at init, not at the first outage."""
    (tmp_path / "file").write_text("")
    for wrong in ({"spool_dir": tmp_path / "file"}, {"spool_dir": tmp_path, "spool_bytes_max": 1}):
        options: dict[str, Any] = wrong
        with pytest.raises(joinback.ConfigurationError, match="spool_"):
            joinback.Client().init("redis://127.0.0.1:1/0", **options)


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
