"""Whole records of many join keys, whatever the sink: some give a record's events piece by piece when all is read."""

from collections.abc import AsyncIterator, Iterator, Sequence

from joinback_worker.law.record import Record
from joinback_worker.law.row import unfold

from . import Sink

KEYS = 1_000
"""As many as a drain's chunk holds, and so in as much memory."""
KEYS_OF_FILES = 10_000
"""A directory reads all of its files for each look-up: few of them, each as large as memory easily takes."""


def steps(sink: Sink, join_keys: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield the keys in parts, each of which the sink takes at once."""
    size = KEYS if sink.looks_up else KEYS_OF_FILES
    return (join_keys[first : first + size] for first in range(0, len(join_keys), size))


async def whole(sink: Sink, application: str, join_keys: Sequence[str]) -> AsyncIterator[list[Record]]:
    """Yield the records of these keys, in batches; of a key that the sink does not hold there is none.

    Raises SinkUnavailable, and AlteredRow for a row that somebody edited so that it cannot be read.
    """
    for step in steps(sink, join_keys):
        rows = await sink.get(application, step)
        yield [unfold(row) for row in rows.values()]
