"""The records of many join keys, each whole, from any sink: in parts that the sink can look up at once."""

from collections.abc import AsyncIterator, Iterator, Sequence

from joinback_worker.law.record import Record
from joinback_worker.law.row import unfold

from . import Sink

KEYS = 1_000
"""Keys of one look-up: as many as a batch of a drain holds, so they take as much memory."""
KEYS_OF_FILES = 10_000
"""The same for a directory. It reads all its files for each look-up, so there are few look-ups, and each is large."""


def steps(sink: Sink, join_keys: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield the keys in parts; the sink looks up one part at once."""
    size = KEYS if sink.looks_up else KEYS_OF_FILES
    return (join_keys[first : first + size] for first in range(0, len(join_keys), size))


async def whole(sink: Sink, application: str, join_keys: Sequence[str]) -> AsyncIterator[list[Record]]:
    """Yield the records of these keys, in batches. A key that the sink does not hold has no record.

    Raises SinkUnavailable, and AlteredRow for a row that somebody edited so that it cannot be read.
    """
    for step in steps(sink, join_keys):
        rows = await sink.get(application, step)
        yield [unfold(row) for row in rows.values()]
