"""One file of a spool: a sequence of frames, each a batch of events as it was appended.

    magic "JBS1" | number of events | length | CRC-32 of the content | content: a batch of events, MessagePack

A frame is appended with fsync. A crash can tear at most the last frame. Its length or checksum shows that, and its
events are counted as lost; so are those of a frame whose content is not a batch. The checksum does not cover the number
of events: what it said wrongly is evened out at the end of the file. A file that begins with another
header, such as that of another version, is renamed to `*.unread` and never deleted.
"""

import contextlib
import errno
import os
import stat
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from joinback import log

from .places import OLDEST
from .plain import Buffered

try:
    import fcntl
except ImportError:  # Windows: nobody needs it before there is a spool
    fcntl = None  # type: ignore[assignment]

HAS_LOCKS = fcntl is not None
_MAGIC = b"JBS1"
_HEADER = struct.Struct("<4sIII")
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(list[Buffered]).decode


class Frame(NamedTuple):
    """One batch as it was appended. Or no events, and in `damaged` how many were lost with it."""

    events: list[Buffered]
    damaged: int


class Segment:
    """A file that this process has locked."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self.fd = fd
        self.events = 0
        """Events that are not delivered yet."""
        self.place = OLDEST
        """A place that no event in it is before: as long as the file is there, some of them may wait."""
        self.size = os.fstat(fd).st_size
        self.offset = 0
        self.frame_end = 0
        """The end of the frame that was read last."""

    def remove(self) -> None:
        """Delete the file, or at least empty it, so that delivered events are not found again. Then close it."""
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self.fd, 0)
            log.warning("joinback: %s cannot be deleted: %s; delete it yourself", self.path, error.strerror)
        os.close(self.fd)

    def set_aside(self) -> None:
        """Rename the file so that nobody reads or deletes it, and close it."""
        try:
            self.path.rename(self.path.with_suffix(".unread"))
        except OSError as error:
            log.warning("joinback: %s is not a spool of this version, and stays: %s", self.path, error.strerror)
        else:
            log.warning(
                "joinback: %s is not a spool of this version; kept as *.unread. Name it *.spool again for the version "
                "that wrote it",
                self.path,
            )
        os.close(self.fd)

    def append(self, frame: bytes, events: int) -> None:
        """Write a frame of so many events, durably. Raises OSError; the file is then as it was before."""
        try:
            if os.pwrite(self.fd, frame, self.size) < len(frame):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self.fd)
        except OSError:
            os.ftruncate(self.fd, self.size)
            raise
        self.size += len(frame)
        self.events += events

    def read(self) -> Frame:
        """Return the oldest frame that is not delivered. Raises OSError."""
        header = self._header(self.offset)
        if header is None:
            # Where the next frame begins is not known either, so all that is left is lost.
            self.frame_end = self.size
            return Frame([], self.events)
        count, length, checksum = header
        self.frame_end = self.offset + _HEADER.size + length
        if self.frame_end > self.size:
            return Frame([], count)
        content = os.pread(self.fd, length, self.offset + _HEADER.size)
        if len(content) == length and zlib.crc32(content) == checksum:
            # The frame is whole, but another program may have written it.
            with contextlib.suppress(ValueError, RecursionError):
                return Frame(_unpack(content), 0)
        return Frame([], count)

    def delivered(self, frame: Frame) -> None:
        """Note that the frame that was read last has ended."""
        self.events -= len(frame.events) + frame.damaged
        self.offset = self.frame_end

    def is_foreign(self) -> bool:
        """Return whether the file begins with another header than ours. A shorter file was torn in its first header."""
        header = os.pread(self.fd, _HEADER.size, 0)
        return len(header) == _HEADER.size and not header.startswith(_MAGIC)

    def count(self) -> int:
        """Return the sum of the events in the frames' headers. A tail that is not a frame counts as one event."""
        events, offset = 0, 0
        while offset < self.size:
            header = self._header(offset)
            if header is None:
                return events + 1
            events += header[0]
            offset += _HEADER.size + header[1]
        return events

    def _header(self, offset: int) -> tuple[int, int, int] | None:
        """Return number of events, length and checksum of a frame; None if no frame begins here."""
        header = os.pread(self.fd, _HEADER.size, offset)
        if len(header) < _HEADER.size or not header.startswith(_MAGIC):
            return None
        _, count, length, checksum = _HEADER.unpack(header)
        return (count, length, checksum) if count <= length else None


def frame_of(batch: Sequence[Buffered]) -> bytes:
    """Return the batch as a frame."""
    content = _pack(list(batch))
    return _HEADER.pack(_MAGIC, len(batch), len(content), zlib.crc32(content)) + content


def created(path: Path) -> Segment:
    """Return a new segment, locked. Raises OSError."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    fcntl.flock(fd, fcntl.LOCK_EX)
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)
    return Segment(path, fd)


def locked(path: Path) -> Segment | None:
    """Lock the segment and return it; None if its lock is taken or the file is gone."""
    try:
        # Follow no link: in a directory where others may write, it could lead to any file of this user.
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        status = os.fstat(fd)
        # Its owner may have deleted it in between.
        if status.st_nlink and stat.S_ISREG(status.st_mode):
            return Segment(path, fd)
    except OSError:
        pass
    os.close(fd)
    return None
