"""Each engine's own fastest way to load ready rows, into the table that the sink uses: the floor of bench/sinks.py."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from row_floors import FLOORS

from joinback_worker.law.record import Record
from joinback_worker.sinks.event_columns import EventColumns
from joinback_worker.sinks.event_log import COLUMNS

Bulk = Callable[[Sequence[Record]], float]
"""Loads the rows of these records; returns the seconds that the load took, without making the rows."""


clock: Callable[[], float] = time.perf_counter
"""Of each load: whoever wants the CPU's time sets another."""


@contextmanager
def floor_of(name: str, url: str) -> Iterator[Bulk]:
    with _FLOORS[name](url) as load:
        yield load


def _columns(records: Sequence[Record]) -> dict[str, list[Any]]:
    events = EventColumns(records, datetime.now(UTC))
    return {name: getattr(events, name) for name in COLUMNS}


def _timed(work: Callable[[], Any]) -> float:
    started = clock()
    work()
    return clock() - started


@contextmanager
def _of_rows(name: str, url: str) -> Iterator[Bulk]:
    with FLOORS[name](url) as ready:
        yield lambda records: _timed(ready(records))


@contextmanager
def _clickhouse(url: str) -> Iterator[Bulk]:
    from clickhouse_connect import get_client

    with closing(get_client(interface="chdb", path=urlsplit(url).path[1:])) as client:

        def load(records: Sequence[Record]) -> float:
            ready = list(_columns(records).values())
            return _timed(lambda: client.insert("events", ready, column_names=COLUMNS, column_oriented=True))

        yield load


@contextmanager
def _delta(url: str) -> Iterator[Bulk]:
    import pyarrow as pa
    from deltalake import write_deltalake

    from joinback_worker.sinks.arrow_events import SCHEMA

    def load(records: Sequence[Record]) -> float:
        ready = _columns(records)

        def work() -> None:
            write_deltalake(urlsplit(url).path[1:], pa.Table.from_pydict(ready, SCHEMA), mode="append")

        return _timed(work)

    yield load


@contextmanager
def _parquet(url: str) -> Iterator[Bulk]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from joinback_worker.sinks.arrow_events import SCHEMA

    paths = _new_files(url)

    def load(records: Sequence[Record]) -> float:
        ready = _columns(records)

        def work() -> None:
            pq.write_table(pa.Table.from_pydict(ready, SCHEMA), path := next(paths), compression="zstd")
            _sync(path)

        return _timed(work)

    yield load


@contextmanager
def _jsonl(url: str) -> Iterator[Bulk]:
    import msgspec

    paths = _new_files(url)
    line = msgspec.defstruct("Line", COLUMNS, gc=False)

    def load(records: Sequence[Record]) -> float:
        ready = list(_columns(records).values())

        def work() -> None:
            (path := next(paths)).write_bytes(b"\n".join(map(msgspec.json.encode, map(line, *ready))))
            _sync(path)

        return _timed(work)

    yield load


def _new_files(url: str) -> Iterator[Path]:
    """One for each load, as a sink has one for each batch: pages of the disk's cache cost more than to write them."""
    return (Path(urlsplit(url).path[1:]) / f".floor-{number}" for number in count())


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
