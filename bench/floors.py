"""Each engine's own fastest way to load ready rows, into the table that the sink uses: the floor of bench/sinks.py."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from msgspec import structs
from row_floors import FLOORS

from joinback_worker.fold import Record
from joinback_worker.sinks.event_log import COLUMNS, EventRow
from joinback_worker.sinks.event_log import rows_of as event_rows

Bulk = Callable[[Sequence[Record]], float]
"""Loads the rows of these records; returns the seconds that the load took, without making the rows."""


@contextmanager
def floor_of(name: str, url: str) -> Iterator[Bulk]:
    with _FLOORS[name](url) as load:
        yield load


def _events(records: Sequence[Record]) -> list[EventRow]:
    now = datetime.now(UTC)
    return [row for record in records for row in event_rows(record, now)]


def _timed(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


@contextmanager
def _of_rows(name: str, url: str) -> Iterator[Bulk]:
    with FLOORS[name](url) as ready:
        yield lambda records: _timed(ready(records))


@contextmanager
def _clickhouse(url: str) -> Iterator[Bulk]:
    from clickhouse_connect import get_client

    with closing(get_client(interface="chdb", path=urlsplit(url).path[1:])) as client:

        def load(records: Sequence[Record]) -> float:
            ready = [structs.astuple(row) for row in _events(records)]
            return _timed(lambda: client.insert("events", ready, column_names=COLUMNS))

        yield load


@contextmanager
def _delta(url: str) -> Iterator[Bulk]:
    from deltalake import write_deltalake

    from joinback_worker.sinks.arrow_events import table_of

    def load(records: Sequence[Record]) -> float:
        ready = _events(records)
        return _timed(lambda: write_deltalake(urlsplit(url).path[1:], table_of(ready), mode="append"))

    yield load


@contextmanager
def _parquet(url: str) -> Iterator[Bulk]:
    import pyarrow.parquet as pq

    from joinback_worker.sinks.arrow_events import table_of

    path = Path(urlsplit(url).path[1:]) / ".floor"

    def load(records: Sequence[Record]) -> float:
        ready = _events(records)

        def work() -> None:
            pq.write_table(table_of(ready), path, compression="zstd")
            _sync(path)

        return _timed(work)

    yield load


@contextmanager
def _jsonl(url: str) -> Iterator[Bulk]:
    import msgspec

    path = Path(urlsplit(url).path[1:]) / ".floor"

    def load(records: Sequence[Record]) -> float:
        ready = _events(records)

        def work() -> None:
            path.write_bytes(b"\n".join([msgspec.json.encode(row) for row in ready]))
            _sync(path)

        return _timed(work)

    yield load


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    os.fsync(file)
    os.close(file)


_FLOORS: dict[str, Any] = {
    "sqlite": partial(_of_rows, "sqlite"),
    "postgresql": partial(_of_rows, "postgresql"),
    "clickhouse": _clickhouse,
    "delta": _delta,
    "parquet": _parquet,
    "jsonl": _jsonl,
}
