"""What reading `records` costs: this view of DuckDB and ClickHouse against that of another commit, on the same events.

    python bench/views.py                              # 1,000,000 keys, five rounds in turn
    python bench/views.py --keys 100000 parquet
    python bench/views.py --memory 500MB --keys 10000000 parquet   # does it finish where memory is short?

A third of the keys is labelled, one in a hundred of them has a second feedback event. Needs the dev and heavy extras.
"""

import argparse
import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from hashlib import md5
from pathlib import Path
from typing import Any

import duckdb

from joinback.settings import Settings
from joinback_worker.sinks import clickhouse_schema, lake_view
from joinback_worker.sinks.arrow_events import SCHEMA

ROOT = Path(__file__).parents[1]
SINKS = "worker/joinback_worker/sinks"
FILE_KEYS = 500_000
FEATURES = ",".join(f"\"feature_{n:02}\":' || (n * {n} % 97 / 8) || '" for n in range(20))
MADE = f"""
WITH event AS (
    SELECT n, 'prediction' AS kind, md5('p' || n) AS event_id, 1780000000000000 + n * 7776000 AS t FROM numbers
    UNION ALL SELECT n, 'feedback', md5('f' || n), 1782592000000000 + n * 7776000 FROM numbers WHERE n % 3 = 0
    UNION ALL SELECT n, 'feedback', md5('g' || n), 1782593000000000 + n * 7776000 FROM numbers WHERE n % 300 = 0
), timed AS (
    SELECT *, strftime(make_timestamp(t), '%Y-%m-%dT%H:%M:%S.%fZ') AS stamp, kind = 'feedback' AS tells FROM event
)
SELECT
    'loans' AS application, md5(n::VARCHAR) AS join_key, kind, event_id, (hash(event_id) >> 1)::BIGINT AS digest,
    t AS ordered_at_us, make_timestamptz(t) AS event_at, make_timestamptz(t) AS logged_at, '1.0' AS version,
    NULL::VARCHAR AS environment, NULL::VARCHAR AS tags,
    '{{"v":1,"at":"' || stamp || '","logged_at":"' || stamp || '","version":"1.0"'
        || CASE WHEN tells THEN ',"feedback":{{"repaid":true,"days_late":3}}' ELSE '' END || '}}' AS event,
    CASE WHEN NOT tells THEN '{{{FEATURES}}}' END AS inputs,
    CASE WHEN NOT tells THEN '{{"default":' || (n % 100 / 100) || '}}' END AS outputs,
    CASE WHEN NOT tells THEN 1e0 END AS sample_rate,
    CASE WHEN tells THEN ['repaid', 'days_late'] ELSE []::VARCHAR[] END AS fields,
    CASE WHEN tells THEN ['true', '3'] ELSE []::VARCHAR[] END AS field_values,
    false AS all_fields, make_timestamptz(t + 1000000) AS written_at
FROM timed
"""
"""Events as the sinks hold them, of the keys in `numbers`."""
QUESTIONS = {
    "by status": "SELECT status, count(*) FROM records GROUP BY status ORDER BY status",
    "labels and outputs": "SELECT sum(length(outputs)), sum(length(feedback)), avg(feedback_delay_s) FROM records",
    # Key 1 is plain; key 0 has two feedback events, which the full rules fold.
    "one plain key": f"SELECT * FROM records WHERE application = 'loans' AND join_key = '{md5(b'1').hexdigest()}'",
    "one other key": f"SELECT * FROM records WHERE application = 'loans' AND join_key = '{md5(b'0').hexdigest()}'",
}
WINDOW_S = 180 * 86_400
NONE_DECLARED = (
    "SELECT NULL::VARCHAR, NULL::BIGINT, NULL::BIGINT, NULL::VARCHAR[], NULL::MAP(VARCHAR, STRUCT(reducer VARCHAR,"
    ' scalar VARCHAR, sources VARCHAR[], "default" VARCHAR, maturity_s BIGINT)) WHERE false'
)
Ask = Callable[[str], list[Any]]


def make(folder: Path, keys: int) -> None:
    with duckdb.connect() as database:
        database.execute("SET TimeZone = 'UTC'; CREATE TABLE numbers (n BIGINT)")
        for first in range(0, keys, FILE_KEYS):
            database.execute("DELETE FROM numbers")
            database.execute("INSERT INTO numbers SELECT unnest(range(?, ?))", [first, min(keys, first + FILE_KEYS)])
            database.execute(f"COPY ({MADE}) TO '{folder}/{first:09}.parquet' (COMPRESSION zstd)")


def sql_of(name: str, against: str) -> str:
    """Return the file of a view as it was at that commit."""
    shown = ["git", "-C", str(ROOT), "show", f"{against}:{SINKS}/{name}"]
    return subprocess.run(shown, capture_output=True, text=True, check=True).stdout


@contextmanager
def in_duckdb(source: str, against: str, memory: str | None) -> Iterator[tuple[Ask, Ask]]:
    """Yield who asks the view of that commit, and who asks this one."""
    then = sql_of("duckdb_records.sql", against).format(source=source, join_window_s=WINDOW_S, policies=NONE_DECLARED)
    settings: dict[str, Any] = {"memory_limit": memory} if memory else {}
    with duckdb.connect(config=settings) as before, duckdb.connect(config=settings) as now:
        before.execute(then)
        now.execute(lake_view.view(source, Settings()))
        yield (lambda sql: before.execute(sql).fetchall()), (lambda sql: now.execute(sql).fetchall())


@contextmanager
def in_delta(lake: Path, folder: Path, against: str, memory: str | None) -> Iterator[tuple[Ask, Ask]]:
    """By the files of the table's newest version: the extension `delta` is a download of its own."""
    import pyarrow.dataset as ds
    from deltalake import DeltaTable, write_deltalake

    write_deltalake(folder / "delta", ds.dataset(lake, schema=SCHEMA).scanner().to_reader())
    files = DeltaTable(folder / "delta").file_uris()
    with in_duckdb(f"read_parquet({files})", against, memory) as asks:
        yield asks


@contextmanager
def in_clickhouse(lake: Path, folder: Path, against: str) -> Iterator[tuple[Ask, Ask]]:
    from clickhouse_connect import get_client

    then = sql_of("clickhouse_records.sql", against).replace("VIEW records AS", "VIEW records_before AS")
    names = ", ".join(clickhouse_schema.COLUMN_TYPES)
    with closing(get_client(interface="chdb", path=str(folder / "chdb"))) as client:
        clickhouse_schema.migrate(client, "chDB")
        client.command(f"INSERT INTO events SELECT {names} FROM file('{lake}/*.parquet', Parquet)")
        client.command(then)

        def ask(sql: str) -> list[Any]:
            return list(client.query(sql).result_rows)

        yield (lambda sql: ask(sql.replace("FROM records", "FROM records_before"))), ask


def seconds(ask: Ask, question: str) -> tuple[float, float]:
    """Return those on the wall, and of this process's CPU."""
    wall, cpu = time.perf_counter(), time.process_time()
    ask(question)
    return time.perf_counter() - wall, time.process_time() - cpu


def compare(name: str, asks: tuple[Ask, Ask], rounds: int) -> None:
    for what, question in QUESTIONS.items():
        took = [[seconds(ask, question) for ask in asks] for _ in range(rounds)]
        cells = []
        for clock in (0, 1):
            ratios = sorted(before[clock] / now[clock] for before, now in took)
            now_s = statistics.median(now[clock] for _, now in took)
            cells.append(f"{now_s:.2f} s, {statistics.median(ratios):.1f}x faster ({ratios[0]:.1f}-{ratios[-1]:.1f})")
        print(f"| {name} | {what} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engines", nargs="*", default=["parquet", "delta", "clickhouse"])
    parser.add_argument(
        "--against", default="44fdd6c", help="a commit whose view has the same settings written into it"
    )
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory", help="DuckDB's memory_limit; asks this view alone, by status")
    asked = parser.parse_args()
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, DuckDB {duckdb.__version__}"
    )
    with tempfile.TemporaryDirectory(prefix="joinback-bench-") as name:
        folder = Path(name)
        lake = folder / "lake"
        lake.mkdir()
        make(lake, asked.keys)
        places = {
            "parquet": lambda: in_duckdb(lake_view.parquet_source(lake), asked.against, asked.memory),
            "delta": lambda: in_delta(lake, folder, asked.against, asked.memory),
            "clickhouse": lambda: in_clickhouse(lake, folder, asked.against),
        }
        for engine in asked.engines:
            with places[engine]() as asks:
                if asked.memory:
                    wall, cpu = seconds(asks[1], QUESTIONS["by status"])
                    print(f"{engine}: {asked.keys:,} keys in {asked.memory}: {wall:.0f} s, CPU {cpu:.0f} s")
                else:
                    compare(engine, asks, asked.rounds)


if __name__ == "__main__":
    main()
