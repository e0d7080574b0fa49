"""The sink that is a pipe: `stdout:` writes one row per line, as JSON.

A pipe holds nothing, so a row shows what Redis holds of its record. It is written again whenever that changes, and the
reader keeps the last line of each (application, join_key). Feedback that comes after Redis has forgotten its prediction
is a row of its own, with the status `orphan`.
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
    """Return the sink of `stdout:`."""
    parts = parts_of(url)
    if parts.netloc or parts.path or parts.query:
        raise ConfigurationError("JOINBACK_SINK_URL: nothing may follow the scheme of standard output; write stdout:")
    return StdoutSink(policy)


def place(url: str) -> tuple[str, ...]:
    """Return the one place of all pipes. A pipe is a sink too: what it took is no longer pending for another one."""
    return ("stdout",)


def schema(url: str, settings: Settings) -> str:
    """Return a comment that names the columns of a line. There is nothing to create."""
    return "-- one JSON object per line: " + ", ".join(Row.__struct_fields__)


class StdoutSink(SinkOnThread):
    """Its rows are as durable as the reader of the pipe makes them."""

    looks_up = False
    erases = False

    def _translated(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except OSError as error:
            raise SinkUnavailable(f"nobody reads standard output ({error.strerror}); start its reader again") from error

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
        """Return None: the sink holds no rows that could change."""

    def _erase(self, application: str, join_keys: Sequence[str]) -> int:
        raise SinkUnavailable(
            "rows went to standard output, where nothing can be erased; erase them where the pipe ends"
        )

    def _rows(self, application: str, join_keys: Sequence[str]) -> dict[str, Row]:
        return {}


def line_of(row: Row) -> bytes:
    """Return the row as one line of JSON. It holds the JSON columns as JSON, not as text."""
    cells = {name: Raw(cell) if isinstance(cell, bytes) else cell for name, cell in structs.asdict(row).items()}
    return one_line(msgspec.json.encode(cells))
