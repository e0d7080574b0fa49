"""Where the sender's events go that memory cannot hold: to the spool, if there is one, and from there again."""

import os
import time
from collections.abc import Sequence

from joinback import log
from joinback.options import Options

from .aside import backoff_s
from .buffer import Buffer, Buffered
from .spool import Spool
from .spool_segment import Frame

SPOOL_AT, SPOOL_TO = 0.5, 0.25
"""How full the memory is when events begin to go to disk, and when they cease: room for a burst on either side."""
LOOK_S = 0.1
"""How often to look meanwhile: at 100,000 events per second a tenth of the default buffer comes in that time."""
ADOPT_S = 60.0
"""How often to look for the spool of a process that is gone."""
RETRY_S = 60.0
"""How long a disk that took nothing is left alone."""


class Overflow:
    """The spool beside the buffer; without a spool, all of this is nothing. One thread uses it."""

    def __init__(self, options: Options, buffer: Buffer) -> None:
        self._buffer = buffer
        self._spool = _spool(options)
        self._adopt_at = 0.0
        self._append_at = 0.0
        self._read_at = 0.0
        self._attempt = 0
        self._is_relieving = False

    @property
    def events(self) -> int:
        """How many events are on disk."""
        return 0 if self._spool is None else self._spool.events

    def due_at(self) -> float:
        """When to look again though nothing came."""
        if self._spool is None:
            return float("inf")
        return min(self._adopt_at, self._read_at) if self._spool.events else self._adopt_at

    def look_s(self, remaining_s: float) -> float:
        """How long to wait before looking at the memory again."""
        return remaining_s if self._spool is None else min(remaining_s, LOOK_S)

    # --- to the disk ------------------------------------------------------------------------------------

    def is_crowded(self) -> bool:
        """Whether events should go to disk, as far as the disk takes them."""
        if self._spool is None or time.monotonic() < self._append_at:
            self._is_relieving = False
        else:
            self._is_relieving = self._buffer.fill() > (SPOOL_TO if self._is_relieving else SPOOL_AT)
        return self._is_relieving

    def append(self, batch: Sequence[Buffered]) -> bool:
        """Move events from memory to disk. False if there is no disk, or it does not take them; says so."""
        if self._spool is None:
            return False
        if not self._spool.append(batch):
            self._append_at = time.monotonic() + RETRY_S
            log.warning("joinback: %s", self._spool.trouble)
            return False
        self._buffer.leave(batch)
        return True

    # --- and back ---------------------------------------------------------------------------------------

    def read(self) -> Frame | None:
        """The oldest frame, if it is time for it."""
        if self._spool is None or time.monotonic() < self._read_at:
            return None
        frame = self._spool.read()
        if frame is None and self._spool.events:
            log.warning("joinback: %s", self._spool.trouble)
            self._read_at = time.monotonic() + RETRY_S
        return frame

    def delivered(self, frame: Frame) -> None:
        """The frame that was read last has ended."""
        self._attempt = 0
        if self._spool is not None:
            self._spool.delivered(frame)

    def refused(self) -> None:
        """The frame that was read last stays, for some time."""
        self._attempt += 1
        self._read_at = time.monotonic() + backoff_s(self._attempt)

    def adopt(self) -> None:
        """Take over what processes left that are gone, if it is time to look."""
        if self._spool is None or time.monotonic() < self._adopt_at:
            return
        self._adopt_at = time.monotonic() + ADOPT_S
        if found := self._spool.adopt():
            self._buffer.recover(found)
            self._buffer.held += found
            log.warning("joinback: %d events of an earlier process found in the spool", found)

    def end(self) -> None:
        """Leave the files for the next process."""
        if self._spool is not None:
            if self._spool.events:
                log.warning("joinback: %d events stay in the spool for the next process", self._spool.events)
            self._spool.forget()


def _spool(options: Options) -> Spool | None:
    if options.spool_dir is None:
        return None
    try:
        return Spool(options.spool_dir, options.spool_bytes_max)
    except OSError as error:
        # It was there when the client was configured, unless this system has no locks.
        why = error.strerror or os.strerror(error.errno or 0)
        log.warning("joinback: no spool: %s; make %s writable and restart", why, options.spool_dir)
        return None
