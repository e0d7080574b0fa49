"""Events on disk: what memory cannot hold while Redis is away, in files that survive the process.

A directory of segments, `<time_ns>-<pid>-<n>.spool`, each a sequence of frames:

    magic "JBS1" | number of events | length | CRC-32 of the content | content: a batch of events, MessagePack

Appended with fsync, read in order, deleted once all of it is delivered. Each segment is locked by the process
that wrote it; one whose lock is free belongs to nobody any more, and whoever finds it delivers it. A crash
leaves at most a torn last frame, which is told from its length or checksum and counted; so is one whose content
is no batch. A file that begins otherwise, such as another version's, is put aside as `*.unread`, never deleted.
POSIX only.
"""

import contextlib
import errno
import os
import stat
import struct
import time
import zlib
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from . import forks, log
from .buffer import Buffered

try:
    import fcntl
except ImportError:  # Windows: nobody needs it before there is a spool
    fcntl = None  # type: ignore[assignment]

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
        self.frame_end = 0
        """Where the frame ends that was read last."""

    def remove(self) -> None:
        """Delete the file, or at least empty it: what is delivered must not be found again."""
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self.fd, 0)
            log.warning("joinback: %s cannot be deleted: %s; delete it yourself", self.path, error.strerror)
        os.close(self.fd)

    def set_aside(self) -> None:
        """Give the file a name under which nobody reads or deletes it, and let go of it."""
        try:
            self.path.rename(self.path.with_suffix(".unread"))
        except OSError as error:
            log.warning("joinback: %s is no spool of this version, and stays: %s", self.path, error.strerror)
        else:
            log.warning(
                "joinback: %s is no spool of this version; kept as *.unread. Name it *.spool again for the one "
                "that wrote it",
                self.path,
            )
        os.close(self.fd)


class Spool:
    """The sender's; one thread uses it. Raises OSError only from the constructor."""

    def __init__(self, directory: str, bytes_max: int) -> None:
        if fcntl is None:
            raise OSError(errno.ENOSYS, "a spool needs the file locks of a POSIX system")
        self._directory = Path(directory)
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._directory.stat().st_mode & stat.S_IWOTH:
            log.warning("joinback: others may write to the spool's directory; chmod 700 %s", directory)
        self._bytes_max = bytes_max
        self._segments: deque[_Segment] = deque()
        self._writing: _Segment | None = None
        self._made = 0
        self.trouble: str | None = None
        """Why the last append failed."""
        self._foreign: set[Path] = set()
        """Files that are no spools, and could not be put aside: told once."""
        # A child's copy of a lock would outlive its parent's.
        forks.renewed_in_children(self.forget)

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
        """The oldest frame, again and again until `delivered`; None if there is none, or none can be read now."""
        while self._segments:
            segment = self._segments[0]
            if segment is self._writing:
                # What comes later goes into a file of its own.
                self._writing = None
            if segment.offset < segment.size:
                try:
                    return self._frame(segment)
                except OSError as error:
                    self.trouble = f"the spool cannot be read: {error.strerror}; look at {segment.path}"
                    return None
            self._segments.popleft().remove()
        return None

    def delivered(self, frame: Frame) -> None:
        """The frame that was read last has ended."""
        segment = self._segments[0]
        segment.events -= len(frame.events) + frame.damaged
        segment.offset = segment.frame_end
        if segment.offset >= segment.size:
            self._segments.popleft().remove()

    def adopt(self) -> int:
        """Take over the segments of processes that are gone; returns how many events they hold."""
        known = {segment.path for segment in self._segments} | self._foreign
        found = []
        for path in self._files():
            if path in known or (segment := _locked(path)) is None:
                continue
            try:
                if _is_foreign(segment):
                    self._foreign.add(path)
                    segment.set_aside()
                    continue
                segment.events = _count(segment)
            except OSError:
                # The disk does not give it now; it is looked at again.
                os.close(segment.fd)
                continue
            found.append(segment)
        self._segments.extendleft(reversed(found))
        return sum(segment.events for segment in found)

    def forget(self) -> None:
        """Let go of the files and leave them where they are."""
        for segment in self._segments:
            with contextlib.suppress(OSError):
                os.close(segment.fd)
        self._segments.clear()
        self._writing = None

    def _files(self) -> list[Path]:
        try:
            return sorted(self._directory.glob("*.spool"))
        except OSError:
            return []

    def _size(self) -> int:
        size = 0
        for path in self._files():
            # Another process may have delivered it meanwhile.
            with contextlib.suppress(OSError):
                size += path.lstat().st_size
        return size

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
        header = _header(segment, segment.offset)
        if header is None:
            # Where the next one would begin is not known either.
            segment.frame_end = segment.size
            return Frame([], segment.events)
        count, length, checksum = header
        segment.frame_end = segment.offset + _HEADER.size + length
        if segment.frame_end > segment.size:
            return Frame([], count)
        content = os.pread(segment.fd, length, segment.offset + _HEADER.size)
        if len(content) == length and zlib.crc32(content) == checksum:
            # Whole, but it may have been written by something else.
            with contextlib.suppress(ValueError, RecursionError):
                events = _decode(content)
                if len(events) == count:
                    return Frame(events, 0)
        return Frame([], count)


def _header(segment: _Segment, offset: int) -> tuple[int, int, int] | None:
    """Number of events, length and checksum of a frame; None if no frame begins here."""
    header = os.pread(segment.fd, _HEADER.size, offset)
    if len(header) < _HEADER.size or not header.startswith(_MAGIC):
        return None
    _, count, length, checksum = _HEADER.unpack(header)
    return (count, length, checksum) if count <= length else None


def _locked(path: Path) -> _Segment | None:
    """The segment, if its lock is free and it is still there."""
    try:
        # No link is followed: in a directory that stands open, it could lead to any file of ours.
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        status = os.fstat(fd)
        # Its owner may have deleted it in between.
        if status.st_nlink and stat.S_ISREG(status.st_mode):
            return _Segment(path, fd)
    except OSError:
        pass
    os.close(fd)
    return None


def _is_foreign(segment: _Segment) -> bool:
    """Whether it begins with a header, and not with ours. What is shorter was torn in its first one."""
    header = os.pread(segment.fd, _HEADER.size, 0)
    return len(header) == _HEADER.size and not header.startswith(_MAGIC)


def _count(segment: _Segment) -> int:
    """How many events its frames say they hold; a tail that is no frame counts as one."""
    events, offset = 0, 0
    while offset < segment.size:
        header = _header(segment, offset)
        if header is None:
            return events + 1
        events += header[0]
        offset += _HEADER.size + header[1]
    return events
