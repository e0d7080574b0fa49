"""Events on disk: what memory cannot hold while Redis is away, in files that survive the process.

A directory of segments, `<time_ns>-<pid>-<n>.spool`, each a sequence of frames:

    magic "JBS1" | number of events | length | CRC-32 of the content | content: a batch of events, MessagePack

Appended with fsync, read in order, deleted once all of it is delivered. Each segment is locked by the process
that wrote it; one whose lock is free belongs to nobody any more, and whoever finds it delivers it. A crash
leaves at most a torn last frame, which is told from its length or checksum and counted. POSIX only.
"""

import errno
import fcntl
import os
import struct
import time
import weakref
import zlib
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from .buffer import Buffered

SEGMENT_BYTES = 16 << 20
"""Deleted as a whole: small enough to give room back soon, large enough for few files."""
_MAGIC = b"JBS1"
_HEADER = struct.Struct("<4sIII")
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Buffered]).decode


class Frame(NamedTuple):
    """One batch as it was appended; or none, and how many events were lost with it."""

    events: list[Buffered]
    damaged: int


class _Segment:
    """A file that this process has locked."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self.fd = fd
        self.events = 0
        """Not yet delivered."""
        self.size = os.fstat(fd).st_size
        self.offset = 0

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        os.close(self.fd)


class Spool:
    """The sender's; one thread uses it. Raises OSError only from the constructor."""

    def __init__(self, directory: str, bytes_max: int) -> None:
        self._directory = Path(directory)
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._bytes_max = bytes_max
        self._segments: deque[_Segment] = deque()
        self._writing: _Segment | None = None
        self._made = 0
        self.trouble: str | None = None
        """Why the last append failed."""
        # A child's copy of a lock would outlive its parent's.
        this = weakref.WeakMethod(self.forget)
        os.register_at_fork(after_in_child=lambda: (method := this()) is not None and method())

    @property
    def events(self) -> int:
        return sum(segment.events for segment in self._segments)

    def append(self, batch: Sequence[Buffered]) -> bool:
        """Write a batch, durably. False if the disk or the bound does not allow it: see `trouble`."""
        content = _encode(batch)
        frame = _HEADER.pack(_MAGIC, len(batch), len(content), zlib.crc32(content)) + content
        segment = self._writing
        try:
            if segment is None or segment.size + len(frame) > SEGMENT_BYTES:
                if self._size() + len(frame) > self._bytes_max:
                    self.trouble = "the spool is full; raise spool_bytes_max, or mend Redis"
                    return False
                segment = self._writing = self._new_segment()
            try:
                if os.pwrite(segment.fd, frame, segment.size) < len(frame):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(segment.fd)
            except OSError:
                os.ftruncate(segment.fd, segment.size)
                raise
        except OSError as error:
            self.trouble = f"the spool cannot be written: {error.strerror}; look at {self._directory}"
            return False
        segment.size += len(frame)
        segment.events += len(batch)
        self.trouble = None
        return True

    def read(self) -> Frame | None:
        """The oldest frame, again and again until `delivered`; None if there is none."""
        while self._segments:
            segment = self._segments[0]
            if segment is self._writing:
                # What comes later goes into a file of its own.
                self._writing = None
            if segment.offset < segment.size:
                return self._frame(segment)
            self._segments.popleft().remove()
        return None

    def delivered(self, frame: Frame) -> None:
        """The frame that was read last has ended."""
        segment = self._segments[0]
        segment.events -= len(frame.events) + frame.damaged
        header = os.pread(segment.fd, _HEADER.size, segment.offset)
        whole = not frame.damaged or _is_header(header)
        segment.offset = segment.offset + _HEADER.size + _HEADER.unpack(header)[2] if whole else segment.size
        self.read()

    def adopt(self) -> int:
        """Take over the segments of processes that are gone; returns how many events they hold."""
        mine = {segment.path for segment in self._segments}
        found = []
        for path in sorted(self._directory.glob("*.spool")):
            if path not in mine and (segment := _locked(path)) is not None:
                segment.events = _count(segment)
                found.append(segment)
        self._segments.extendleft(reversed(found))
        return sum(segment.events for segment in found)

    def forget(self) -> None:
        """Let go of the files and leave them where they are."""
        for segment in self._segments:
            os.close(segment.fd)
        self._segments.clear()
        self._writing = None

    def _size(self) -> int:
        return sum(path.stat().st_size for path in self._directory.glob("*.spool"))

    def _new_segment(self) -> _Segment:
        self._made += 1
        path = self._directory / f"{time.time_ns()}-{os.getpid()}-{self._made}.spool"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX)
        folder = os.open(self._directory, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
        segment = _Segment(path, fd)
        self._segments.append(segment)
        return segment

    def _frame(self, segment: _Segment) -> Frame:
        header = os.pread(segment.fd, _HEADER.size, segment.offset)
        if not _is_header(header):
            return Frame([], segment.events)
        _, count, length, checksum = _HEADER.unpack(header)
        content = os.pread(segment.fd, length, segment.offset + _HEADER.size)
        if len(content) < length or zlib.crc32(content) != checksum:
            return Frame([], count)
        return Frame(_decode(content), 0)


def _is_header(header: bytes) -> bool:
    return len(header) == _HEADER.size and header.startswith(_MAGIC)


def _locked(path: Path) -> _Segment | None:
    """The segment, if its lock is free and it is still there."""
    try:
        fd = os.open(path, os.O_RDWR)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Its owner may have deleted it in between.
        if os.fstat(fd).st_nlink:
            return _Segment(path, fd)
    except OSError:
        pass
    os.close(fd)
    return None


def _count(segment: _Segment) -> int:
    """How many events its frames say they hold; a tail that is no frame counts as one."""
    events, offset = 0, 0
    while offset < segment.size:
        header = os.pread(segment.fd, _HEADER.size, offset)
        if not _is_header(header):
            return events + 1
        _, count, length, _ = _HEADER.unpack(header)
        events += count
        offset += _HEADER.size + length
    return events
