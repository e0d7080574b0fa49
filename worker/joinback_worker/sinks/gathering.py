"""Makes records whole when a store gives their events in no order: it sorts the events on disk by join key.

It takes the memory of SQLite's sorter and of one batch, however many events there are. The disk holds each event once,
in a temporary file of SQLite without a name, which vanishes after the reading. SQLITE_TMPDIR names its directory.
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
"""Of one page: its reader holds that much in memory. A page ends at the limit that it reaches first."""
_CACHE_KIB = 16 << 10
"""Of memory for SQLite's pages, and as much for its sorter before it writes to disk."""

Parts = dict[str, bytes]
"""`<kind>:<event_id>` -> JSON, as in a record's hash in Redis."""


def gathered(application: str, batches: Iterable[Iterable[Record]]) -> Iterator[list[Record]]:
    """Yield each record of one application once and whole, sorted by join key, in pages.

    Raises SinkUnavailable if the disk has no room.
    """
    try:
        # The sink's thread reads. But if the reader stops early, another thread may close this generator.
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
