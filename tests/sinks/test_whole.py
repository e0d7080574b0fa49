"""An application read whole: each record once and with all its events, by join key, and its rows as SQL reads them."""

import asyncio
import sqlite3
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from engines import EACH_ENGINE, ENGINES, Engine
from events import feedback, prediction, record
from msgspec import structs

from joinback_worker.errors import SinkMissing, SinkUnavailable
from joinback_worker.law.record import Record
from joinback_worker.law.row import Row
from joinback_worker.law.rules import Policy
from joinback_worker.sinks import open_sink
from joinback_worker.sinks.gathering import PAGE_RECORDS, gathered

ODD = ["é", "e", "E", "😀", "\uffee", "10", "9", "a b", "%", "~", "key_0\u00df"]
KEYS = [*ODD, *(f"key_{n}" for n in range(PAGE_RECORDS + 500))]


@pytest.fixture(params=EACH_ENGINE)
def engine(request: pytest.FixtureRequest) -> Engine:
    return ENGINES[request.param]


@pytest.fixture
def url(engine: Engine, tmp_path: Path) -> Iterator[str]:
    with engine.place(tmp_path) as url:
        yield url


def sides(key: str) -> tuple[Record, Record]:
    whole = record({"prediction:p": prediction(0), "feedback:f": feedback(60, repaid=True)}, key)
    return structs.replace(whole, feedback={}), structs.replace(whole, predictions={})


def test_each_record_once_and_whole(engine: Engine, url: str) -> None:
    """In order of the keys' code points, though its events came in several batches, and no other application's."""

    async def run() -> tuple[list[Record], list[Row], dict[str, Row]]:
        async with open_sink(url, Policy()) as sink:
            for application in ("loans", "loan", "loans2"):
                for side in (0, 1):
                    foreign = [] if application == "loans" else ["foreign"]
                    batch = [structs.replace(sides(key)[side], application=application) for key in KEYS + foreign]
                    await sink.merge(batch if side else batch[::-1])
        async with open_sink(url, Policy(), read_only=True) as sink:
            records = [record async for page in sink.whole_records("loans") for record in page]
            rows = [row async for page in sink.rows("loans") for row in page]
            return records, rows, await sink.get("loans", ODD)

    records, rows, some = asyncio.run(run())
    assert [record.join_key for record in records] == sorted(KEYS)
    assert {record.application for record in records} == {"loans"}
    assert all(record.fields == {"prediction:p", "feedback:f"} for record in records)
    assert [row.join_key for row in rows] == sorted(KEYS)
    assert {row.join_key: row for row in rows if row.join_key in some} == some


def test_nothing_there(engine: Engine, url: str) -> None:
    """Of an application without rows there is nothing; a sink that is not there is told."""

    async def run(make: bool) -> int:
        async with open_sink(url, Policy(), read_only=not make) as sink:
            return len([page async for page in sink.whole_records("loans")])

    with pytest.raises(SinkMissing):
        asyncio.run(run(make=False))
    assert asyncio.run(run(make=True)) == 0


def test_gathering_takes_little_memory() -> None:
    """Events of ten times as many records are sorted in the same memory: SQLite's, which does not grow, and a page."""

    def peak(records: int) -> int:
        batches = ([sides(f"{n * 7919 % records:08}")[side] for n in range(a, a + 500)]
                   for side in (0, 1) for a in range(0, records, 500))  # fmt: skip
        tracemalloc.start()
        try:
            found = sum(len(page) for page in gathered("loans", batches))
            assert found == records
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(20_000) < 1.5 * peak(4_000)


def test_no_room_to_sort(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full is told, with the variable that names another."""
    connect = sqlite3.connect

    def full(*arguments: object, **options: object) -> sqlite3.Connection:
        connection = connect(*arguments, **options)  # type: ignore[arg-type]
        connection.execute("PRAGMA max_page_count = 2")
        return connection

    monkeypatch.setattr(sqlite3, "connect", full)
    with pytest.raises(SinkUnavailable, match=r"\(SQLITE_FULL\); make room in SQLITE_TMPDIR"):
        list(gathered("loans", [[sides(f"k{n}")[0] for n in range(500)]]))
