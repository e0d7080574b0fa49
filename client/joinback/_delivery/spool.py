"""Events on disk: what memory cannot hold while Redis is away, in files that survive the process.

A directory of segments, `<time_ns>-<pid>-<n>.spool`, read in order, each deleted once all of it is delivered. A
segment is locked by the process that wrote it; one whose lock is free belongs to nobody any more, and whoever
finds it delivers it. POSIX only. `spool_segment.py` says what is in a file.
"""

import contextlib
import errno
import os
import stat
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from joinback import forks, log

from .buffer import Buffered
from .spool_segment import HAS_LOCKS, Frame, Segment, created, frame_of, locked

SEGMENT_BYTES = 16 << 20
"""Deleted as a whole: small enough to give room back soon, large enough for few files."""


class Spool:
    """The sender's; one thread uses it. Raises OSError only from the constructor."""

    def __init__(self, directory: str, bytes_max: int) -> None:
        if not HAS_LOCKS:
            raise OSError(errno.ENOSYS, "a spool needs the file locks of a POSIX system")
        self._directory = Path(directory)
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._directory.stat().st_mode & stat.S_IWOTH:
            log.warning("joinback: others may write to the spool's directory; chmod 700 %s", directory)
        self._bytes_max = bytes_max
        self._segments: deque[Segment] = deque()
        self._writing: Segment | None = None
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
        frame = frame_of(batch)
        segment = self._writing
        try:
            if segment is None or segment.size + len(frame) > SEGMENT_BYTES:
                if self._size() + len(frame) > self._bytes_max:
                    self.trouble = "the spool is full; raise spool_bytes_max, or mend Redis"
                    return False
                segment = self._writing = self._new_segment()
            segment.append(frame, len(batch))
        except OSError as error:
            self.trouble = f"the spool cannot be written: {error.strerror}; look at {self._directory}"
            return False
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
                    return segment.read()
                except OSError as error:
                    self.trouble = f"the spool cannot be read: {error.strerror}; look at {segment.path}"
                    return None
            self._segments.popleft().remove()
        return None

    def delivered(self, frame: Frame) -> None:
        """The frame that was read last has ended."""
        segment = self._segments[0]
        segment.delivered(frame)
        if segment.offset >= segment.size:
            self._segments.popleft().remove()

    def adopt(self) -> int:
        """Take over the segments of processes that are gone; returns how many events they hold."""
        known = {segment.path for segment in self._segments} | self._foreign
        found = []
        for path in self._files():
            if path in known or (segment := locked(path)) is None:
                continue
            try:
                if segment.is_foreign():
                    self._foreign.add(path)
                    segment.set_aside()
                    continue
                segment.events = segment.count()
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

    def _new_segment(self) -> Segment:
        self._made += 1
        path = self._directory / f"{time.time_ns()}-{os.getpid()}-{self._made}.spool"
        segment = created(path)
        self._segments.append(segment)
        return segment
