"""The whole way, measured: predictions and feedback through the real client, Valkey, cycle and SQLite sink.

    python bench/end_to_end.py --records 100000

Prints rates, the query's answer and the books. On the embedded Valkey, unless JOINBACK_REDIS_URL is set.
"""

import argparse
import asyncio
import os
import platform
import sqlite3
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path

from msgspec import structs

import joinback
from joinback import wire
from joinback.settings import Settings
from joinback_worker.connection.connect import connect
from joinback_worker.drain.drained import Drained
from joinback_worker.drain.drainer import drain_all
from joinback_worker.drain.source import Source
from joinback_worker.embedded import embedded_valkey
from joinback_worker.logs import configure_logging
from joinback_worker.notes.accounting import Accounting

APPLICATION = "bench"
FEATURES = {f"feature_{n:02}": n * 1.25 for n in range(20)}


def send(client: joinback.Client, kind: str, records: int) -> float:
    """Log one event a record, slowed down only where the buffer would overflow; returns seconds until acknowledged."""
    started = time.perf_counter()
    for n in range(records):
        if kind == "prediction":
            client.log_record(APPLICATION, inputs=FEATURES, outputs={"score": n / records}, join_key=f"record_{n}")
        else:
            client.log_record(APPLICATION, feedback={"label": n % 2}, join_key=f"record_{n}")
        if n % 50_000 == 49_999:
            assert client.flush(120)
    assert client.flush(120)
    return time.perf_counter() - started


def drain(settings: Settings) -> tuple[Drained, float]:
    started = time.perf_counter()
    drained = asyncio.run(drain_all(settings))
    assert drained.error is None, drained.error
    return drained, time.perf_counter() - started


async def books(settings: Settings) -> Accounting:
    redis = connect(settings)
    try:
        return await Source(redis, wire.tag(APPLICATION)).accounting()
    finally:
        await redis.aclose()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=100_000)
    records = parser.parse_args().records
    configure_logging(40)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="joinback-bench-"))
        url = os.environ.get("JOINBACK_REDIS_URL") or stack.enter_context(embedded_valkey())
        database = Path(folder) / "joinback.db"
        settings = structs.replace(Settings(), redis_url=url, sink_url=f"sqlite:///{database}")
        client = joinback.Client().init(url)
        print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {records} records")
        for kind in ("prediction", "feedback"):
            seconds = send(client, kind, records)
            print(f"{kind:>10}: logged and acknowledged {records / seconds:10,.0f} /s")
            drained, seconds = drain(settings)
            print(f"{'':>10}  drained into SQLite     {drained.rows / seconds:10,.0f} rows/s, joined {drained.joined}")
        with closing(sqlite3.connect(database)) as sink:
            (joined,) = sink.execute("select count(*) from records where status = 'joined'").fetchone()
        print(f"select count(*) from records where status = 'joined': {joined}")
        print(f"client: {client.stats()}")
        accounting = asyncio.run(books(settings))
        print(f"accounting: {accounting.summary()}")
        client.close()
    assert (joined, accounting.difference) == (records, 0)


if __name__ == "__main__":
    main()
