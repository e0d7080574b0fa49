"""The Delta sink: commits once, tables in trouble, a store that is away, and compaction."""

import asyncio
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, Schema
from deltalake.schema import Field, PrimitiveType
from engines import ENGINES, Engine, named
from events import feedback, prediction, record
from loans import loans

from joinback_worker.errors import SinkUnavailable
from joinback_worker.law.record import Record
from joinback_worker.law.rules import Policy
from joinback_worker.sinks import Merged, merge_on_read, open_sink
from joinback_worker.sinks.delta import DeltaSink, location_of
from joinback_worker.sinks.event_log import Header
from joinback_worker.sinks.schemes import module_of

POLICY = Policy()


@pytest.fixture(params=named("delta", "delta+s3"))
def engine(request: pytest.FixtureRequest) -> Engine:
    return ENGINES[request.param]


@pytest.fixture
def url(engine: Engine, tmp_path: Path) -> Iterator[str]:
    with engine.place(tmp_path) as url:
        yield url


def put(url: str, *batches: list[Record]) -> None:
    async def run() -> None:
        async with open_sink(url, POLICY) as sink:
            for batch in batches:
                await sink.merge(batch)

    asyncio.run(run())


def table_at(url: str) -> DeltaTable:
    location, options = module_of(url).location_of(url)
    return DeltaTable(location, storage_options=options)


def test_a_batch_is_committed_once(url: str) -> None:
    """A batch repeated by the same worker or another, in any order, makes no new version of the table."""
    put(url, loans())
    version = table_at(url).version()
    put(url, loans(), loans()[::-1])
    assert table_at(url).version() == version
    put(url, loans()[:10])
    assert table_at(url).version() == version + 1


def test_compaction_changes_no_row(engine: Engine, url: str) -> None:
    """Small files become large ones, and `records` answers what it answered before."""
    put(url, *(loans()[n : n + 10] for n in range(0, 100, 10)))
    before = engine.rows(url)
    assert module_of(url).compact(url) == "10 files became 1; 0 old ones deleted"
    assert len(table_at(url).file_uris()) == 1
    assert engine.rows(url) == before
    put(url, loans())
    assert len(engine.rows(url)) == 600


def test_what_is_erased_is_in_no_file(tmp_path: Path) -> None:
    """Neither in those of the newest version nor in those of former ones; a file that is not committed yet stays."""
    url, table = f"delta:///{tmp_path}/lake", tmp_path / "lake"
    put(url, loans()[:100], loans()[50:150], loans()[200:300])
    module_of(url).compact(url)
    put(url, loans()[90:95])
    about_to_be_committed = table / "part-00000-aaaaaaaa-9999-4999-8999-aaaaaaaaaaaa-c000.zstd.parquet"
    shutil.copy(next(table.glob("*.parquet")), about_to_be_committed)

    async def erase() -> int:
        async with open_sink(url, POLICY) as sink:
            return await sink.erase("loans", ["loan_60", "loan_92"])

    assert asyncio.run(erase()) >= 2
    assert about_to_be_committed.exists()
    about_to_be_committed.unlink()
    keys = {key for file in table.glob("*.parquet") for key in pq.read_table(file).column("join_key").to_pylist()}
    assert keys == {f"loan_{n}" for n in (*range(150), *range(200, 300))} - {"loan_60", "loan_92"}
    assert asyncio.run(erase()) == 0


def test_a_store_that_is_away() -> None:
    """An object store that does not answer is an error that may pass, told without keys."""
    options = "AWS_ENDPOINT_URL=http://127.0.0.1:1&AWS_ALLOW_HTTP=true&AWS_REGION=x&AWS_ACCESS_KEY_ID=a"
    with pytest.raises(SinkUnavailable, match=r"s3://bucket/lake cannot be used now; check the store") as raised:
        put(f"delta+s3://bucket/lake?{options}&AWS_SECRET_ACCESS_KEY=s3cret&max_retries=0&timeout=1s", loans())
    assert "s3cret" not in str(raised.value)


@pytest.mark.heavy
def test_a_bucket_that_is_not_there(tmp_path: Path) -> None:
    """A bucket that nobody made is an error that may pass: once it is there, the batch goes in."""
    with ENGINES["delta+s3"].place(tmp_path) as url:
        with pytest.raises(SinkUnavailable, match="cannot be used now"):
            put(url.replace(urlsplit(url).netloc, "no-such-bucket"), loans())
        put(url, loans())
        assert len(ENGINES["delta+s3"].rows(url)) == 600


def test_a_column_somebody_altered(tmp_path: Path) -> None:
    """A table whose column is of another type is told by the column's name; nothing is written."""
    with ENGINES["delta"].place(tmp_path) as url:
        directory = urlsplit(url).path[1:]
        wrong = [Field("application", PrimitiveType("string")), Field("digest", PrimitiveType("string"))]
        DeltaTable.create(directory, Schema(wrong))
        with pytest.raises(SinkUnavailable, match="column join_key is missing; it was string; restore it"):
            put(url, loans())
        shutil.rmtree(directory)
        put(url, loans())
        assert len(ENGINES["delta"].rows(url)) == 600


def test_a_table_that_is_gone_while_the_sink_is_open(tmp_path: Path) -> None:
    """A table deleted between two batches is an error that may pass; the next tick makes it anew."""
    with ENGINES["delta"].place(tmp_path) as url:

        async def run() -> None:
            async with open_sink(url, POLICY) as sink:
                await sink.merge(loans()[:10])
                shutil.rmtree(urlsplit(url).path[1:])
                await sink.merge(loans()[10:20])

        with pytest.raises(SinkUnavailable):
            asyncio.run(run())
        put(url, loans())
        assert len(ENGINES["delta"].rows(url)) == 600


def test_a_look_up_is_bounded(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much the store holds of a batch's keys, they are looked up in parts that fit, and told all the same."""
    asked: list[int] = []

    class Counted(DeltaSink):
        def _headers(self, application: str, join_keys: Sequence[str]) -> Iterable[Header]:
            asked.append(len(join_keys))
            return super()._headers(application, join_keys)

    async def run() -> list[Merged]:
        async with Counted(*location_of(url), POLICY) as sink:
            await sink.merge([record({"prediction:p": prediction()}, f"k{n}") for n in range(40)])
            late = [record({"feedback:f": feedback(60, a=1)}, f"k{n}") for n in range(50)]
            return [await sink.merge(late), await sink.merge(late)]

    monkeypatch.setattr(merge_on_read, "HELD_BYTES", 10_000)
    for merged in asyncio.run(run()):
        assert (merged.rows, merged.joined, merged.orphans) == (50, 40, 10)
    assert max(asked) == 50
    assert min(asked) < 20


def test_a_file_that_cannot_be_read_refuses_no_row(tmp_path: Path) -> None:
    """A look-up that meets a damaged file is an error that may pass; the feedback it was for is no dead letter."""
    with ENGINES["delta"].place(tmp_path) as url:
        put(url, loans())
        (damaged,) = Path(urlsplit(url).path[1:]).glob("*.parquet")
        whole = damaged.read_bytes()
        damaged.write_bytes(b"\0" * len(whole))
        (late,) = [Record(application="loans", join_key="loan_1", feedback=loans()[0].feedback)]
        with pytest.raises(SinkUnavailable, match="cannot be used now"):
            put(url, [late])
        damaged.write_bytes(whole)
        put(url, [late])
