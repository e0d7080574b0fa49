"""The events of a record together again, where a store gives them in no order: sorted on disk, by join key.

Memory is that of SQLite's sorter and of one batch, however much there is; the disk holds each event once, in a file
of SQLite's own that has no name and ends with the reading (SQLITE_TMPDIR says where).
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing

import msgspec

from joinback import wire
from joinback_worker.errors import SinkUnavailable
from joinback_worker.law.record import Record, merge
from joinback_worker.law.record_hash import read_hash

PAGE_RECORDS = 1_000
PAGE_BYTES = 16 << 20
"""Of a page: what its reader holds in memory. A page ends at whichever comes first."""
_CACHE_KIB = 16 << 10
"""Of SQLite's pages, and of its sorter before it goes to disk."""

Parts = dict[str, bytes]
"""As in a record's hash: `<kind>:<event_id>` -> JSON."""


def gathered(application: str, batches: Iterable[Iterable[Record]]) -> Iterator[list[Record]]:
    """Yield the records of one application, each whole and once, by join key. Raises SinkUnavailable: no room."""
    try:
        # A sink's thread reads, but whoever gives up reading may end this on another.
        with closing(sqlite3.connect("", isolation_level=None, check_same_thread=False)) as file:
            for setting in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{_CACHE_KIB}"):
                file.execute(f"PRAGMA {setting}")
            file.execute("CREATE TABLE parts (join_key TEXT, part BLOB)")
            for batch in batches:
                file.executemany("INSERT INTO parts VALUES (?, ?)", ((r.join_key, _part(r)) for r in batch))
            yield from _pages(application, file.execute("SELECT join_key, part FROM parts ORDER BY join_key"))
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", type(error).__name__)
        raise SinkUnavailable(
            f"the sink's events cannot be sorted on disk ({name}); make room in SQLITE_TMPDIR"
        ) from error


def _pages(application: str, parts: Iterable[tuple[str, bytes]]) -> Iterator[list[Record]]:
    page: list[Record] = []
    size = 0
    for join_key, part in parts:
        if page and page[-1].join_key != join_key and (len(page) >= PAGE_RECORDS or size >= PAGE_BYTES):
            yield page
            page, size = [], 0
        size += len(part)
        record = read_hash(application, join_key, msgspec.msgpack.decode(part, type=Parts).items()).record
        if page and page[-1].join_key == join_key:
            page[-1] = merge(page[-1], record)
        else:
            page.append(record)
    if page:
        yield page


def _part(record: Record) -> bytes:
    kinds = (("prediction", record.predictions), ("feedback", record.feedback), ("retraction", record.retractions))
    return msgspec.msgpack.encode(
        {f"{kind}:{id_}": wire.encode(event) for kind, events in kinds for id_, event in events.items()}
    )
