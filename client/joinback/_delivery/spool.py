"""Events on disk, in files that survive the process: what memory cannot hold while Redis is away.

The directory has segments, `<time_ns>-<pid>-<n>.spool`. They are read in order, and each is deleted once it is all
delivered. The process that writes a segment holds its lock. If the lock is free, that process is gone, and the process
that finds the segment delivers it. POSIX only. `spool_segment.py` describes the file.
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

from .places import NOWHERE, OLDEST
from .plain import Buffered
from .spool_segment import HAS_LOCKS, Frame, Segment, created, frame_of, locked

SEGMENT_BYTES = 16 << 20
"""A segment is deleted as a whole: small enough to free the disk soon, large enough for few files."""


class Spool:
    """Used by the sender's thread. Only the constructor raises OSError."""

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
        """Why the last append or read failed; None if the last append did not."""
        self._foreign: set[Path] = set()
        """Files that are not spools of this version. They are logged once."""
        # In a forked child: its copy of a lock would stay when the parent ends.
        forks.renewed_in_children(self.forget)

    @property
    def events(self) -> int:
        return sum(segment.events for segment in self._segments)

    def smallest_place(self) -> float:
        """Return a place that no event in the spool is before."""
        return min((segment.place for segment in self._segments), default=NOWHERE)

    def append(self, batch: Sequence[Buffered], place: float = OLDEST) -> bool:
        """Write a batch, durably. Return False if the disk or `bytes_max` does not allow it; `trouble` says why.

        `place` is that of its oldest event.
        """
        frame = frame_of(batch)
        segment = self._writing
        try:
            # At each append, as other processes may write to the same directory.
            if self._size() + len(frame) > self._bytes_max:
                self.trouble = "the spool is full; raise spool_bytes_max, or mend Redis"
                return False
            if segment is None or segment.size + len(frame) > SEGMENT_BYTES:
                segment = self._writing = self._new_segment()
            segment.append(frame, len(batch))
            segment.place = min(segment.place, place)
        except OSError as error:
            self.trouble = f"the spool cannot be written: {error.strerror}; look at {self._directory}"
            return False
        self.trouble = None
        return True

    def read(self) -> Frame | None:
        """Return the oldest frame, the same one until `delivered`; None if there is none, or it cannot be read now."""
        while self._segments:
            segment = self._segments[0]
            if segment is self._writing:
                # Later events go into a new file.
                self._writing = None
            if segment.offset < segment.size:
                try:
                    return segment.read()
                except OSError as error:
                    self.trouble = f"the spool cannot be read: {error.strerror}; look at {segment.path}"
                    return None
            self._segments.popleft().remove()
        return None

    def delivered(self, frame: Frame) -> int:
        """Note that the frame that was read last has ended, or is in the spool once more.

        Return, at the end of a segment, how many more events it was counted for than were in it; negative: how many
        fewer.
        """
        segment = self._segments[0]
        segment.delivered(frame)
        if segment.offset < segment.size:
            return 0
        self._segments.popleft().remove()
        return segment.events

    def adopt(self) -> int:
        """Take over the segments of processes that are gone. Return how many events they hold."""
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
                # It cannot be read now. The next call tries again.
                os.close(segment.fd)
                continue
            found.append(segment)
        self._segments.extendleft(reversed(found))
        return sum(segment.events for segment in found)

    def forget(self) -> None:
        """Close the files and leave them where they are."""
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
        segment.place = NOWHERE
        self._segments.append(segment)
        return segment
