"""The sink that is a pipe: `stdout:`, one joined row a line, as JSON.

It holds nothing, so a row is what Redis holds of its record, written again whenever that changes; whoever reads
keeps the last of each (application, join_key). Feedback that comes after Redis let its prediction go is a row
of its own, `orphan`.
"""

import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec
from msgspec import Raw, structs

from joinback.errors import ConfigurationError
from joinback.settings import Settings
from joinback_worker.errors import SinkUnavailable
from joinback_worker.law.joining import joined
from joinback_worker.law.record import Record
from joinback_worker.law.row import Row
from joinback_worker.law.rules import Policy

from . import Merged, Sink
from .json_line import one_line
from .on_thread import SinkOnThread
from .place import parts_of

T = TypeVar("T")


def open_url(url: str, policy: Policy) -> Sink:
    parts = parts_of(url)
    if parts.netloc or parts.path or parts.query:
        raise ConfigurationError("JOINBACK_SINK_URL: stdout takes nothing more; write stdout:")
    return StdoutSink(policy)


def place(url: str) -> tuple[str, ...]:
    """A pipe takes the rows too: what went there is no longer pending for another sink."""
    return ("stdout",)


def schema(url: str, settings: Settings) -> str:
    """The columns of a line; there is nothing to create."""
    return "-- one JSON object a line: " + ", ".join(Row.__struct_fields__)


class StdoutSink(SinkOnThread):
    """Durable as far as the reader of the pipe is."""

    looks_up = False
    erases = False

    def _translated(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except OSError as error:
            raise SinkUnavailable(f"nobody reads standard output ({error.strerror}); start the reader again") from error

    def _open(self) -> None:
        pass

    def _close(self) -> None:
        pass

    def _merge(self, records: Sequence[Record]) -> Merged:
        merged = Merged()
        lines = []
        for incoming in records:
            row, rejected = joined(None, incoming, self._policy)
            merged.count(row.status, row.conflicts is not None, rejected)
            lines.append(line_of(row))
        sys.stdout.buffer.write(b"".join(lines))
        sys.stdout.buffer.flush()
        return merged

    def _close_matured(self, application: str) -> None:
        """Nothing is kept, so nothing changes."""

    def _erase(self, application: str, join_keys: Sequence[str]) -> int:
        raise SinkUnavailable("rows went to standard output, where nothing can be erased; erase them where they ended")

    def _rows(self, application: str, join_keys: Sequence[str]) -> dict[str, Row]:
        return {}


def line_of(row: Row) -> bytes:
    """The row as one line of JSON; its JSON columns are JSON in it."""
    cells = {name: Raw(cell) if isinstance(cell, bytes) else cell for name, cell in structs.asdict(row).items()}
    return one_line(msgspec.json.encode(cells))
