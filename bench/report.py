"""What the answers cost, against a plain count of the same rows on the same engine.

    python bench/report.py                           # 1,000,000 made-up loans on SQLite, PostgreSQL and ClickHouse
    python bench/report.py --rows 100000 sqlite
    python bench/report.py --steps postgresql        # where the time of an accuracy goes

The floor is `count(*) group by status, day` over `records`. Each round asks it and then every question of a report, so
that what else the machine does falls on both. Beside it a second floor, which no accuracy can be below: the same count
with one number read from each of the two JSON cells. Needs the dev and chdb extras.
"""

import argparse
import asyncio
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from msgspec import structs

from joinback.settings import Settings
from joinback_worker.answers import questions
from joinback_worker.answers.curve import SHARES, ages_us
from joinback_worker.answers.dialect import DAY_US, Dialect, us_of
from joinback_worker.answers.pairing import Pair
from joinback_worker.answers.questions import Asked, _judged, _source, _waits
from joinback_worker.answers.stores import Store, open_store
from joinback_worker.answers.triangle import ages_around
from joinback_worker.law.rules import Policy
from joinback_worker.sinks import open_sink

os.environ["PGSERVER_FSYNC"] = "on"
sys.path += [str(Path(__file__).parents[1] / "tests" / "sinks"), str(Path(__file__).parents[1] / "tests")]
from engines import ENGINES
from made_up_records import record_of

from joinback_worker.cli.made_up_loans import DAYS, made_up_loans

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
ROUNDS = 3
AGE_D = 14
LOAD_ROWS = 20_000
TARGET = 1.5
PAIR = Pair(field="repaid", output="default", kind="score", positive=False, outcomes=[0.0, 1.0])
PLAIN = {
    "sqlite": "select status, date(predicted_at), count(*) from records where application = 'loans' group by 1, 2",
    "postgresql": "select status, predicted_at::date, count(*) from records where application = 'loans' group by 1, 2",
    "clickhouse": "select status, toDate(predicted_at), count() from records where application = 'loans' group by 1, 2",
    "parquet": "select status, predicted_at::date, count(*) from folded group by 1, 2",
}


def asked_of(d: Dialect) -> dict[str, str]:
    """Each question of a report, by its name; where a reader keeps a table, first of all that one."""
    asked = Asked(application="loans", now_us=us_of(NOW), field="repaid", age_us=AGE_D * DAY_US)
    rows = {"rows, once for all": questions.keep(d, asked, PAIR)} if d.keeps else {}
    asked = structs.replace(asked, is_kept=d.keeps)
    ages = [age * 1_000_000 for age in ages_around(AGE_D * 86_400)]
    return rows | {
        "label curve": questions.curve(d, asked, ages_us(DAYS * DAY_US, 30 * 86_400), SHARES),
        "accuracy, triangle, versions": questions.cells(d, asked, PAIR, ages),
        "delays by outcome": questions.delays_by_outcome(d, asked, PAIR, 42 * DAY_US),
        "scores": questions.scores(d, asked, PAIR),
    }


def steps_of(d: Dialect) -> dict[str, str]:
    """The question of accuracy, step by step: each reads or computes more than the one before."""
    asked = Asked(application="loans", now_us=us_of(NOW), age_us=AGE_D * DAY_US)
    own = structs.replace(asked, field="repaid")
    columns = "select count(*), max(served), max(came), sum(w), max(v)"
    ages = [age * 1_000_000 for age in ages_around(AGE_D * 86_400)]
    return {
        "its columns, without JSON": f"with {_source(d, asked, None)} {columns} from source",
        "… and the field's first time": f"with {_source(d, own, None)} {columns} from source",
        "… and two numbers of JSON": f"with {_source(d, own, PAIR)} {columns}, sum(outcome), sum(p) from source",
        "… and the comparison": f"with {_waits(d, own, PAIR)} select count(*), sum(val), sum(extra), max(age)"
        f" from {_judged(d, own, PAIR)}",
        "… and its groups: accuracy, triangle, versions": questions.cells(d, own, PAIR, ages),
    }


def with_json(name: str, d: Dialect) -> str:
    """The plain count with the least that an accuracy reads: a number from each of two JSON cells."""
    sums = [
        f"sum({d.number(d.found(column, (key,)))})" for column, key in (("outputs", "default"), ("feedback", "repaid"))
    ]
    return PLAIN[name].replace(" from ", f", {', '.join(sums)} from ", 1)


async def load(url: str, rows: int) -> None:
    records = (record_of(loan, NOW) for loan in made_up_loans(rows, NOW))
    async with open_sink(url, Policy()) as sink:
        while some := list(islice(records, LOAD_ROWS)):
            await sink.merge(some)


async def seconds(store: Store, question: str) -> float:
    start = time.perf_counter()
    await store.ask(question)
    return time.perf_counter() - start


def analyze(url: str) -> None:
    """Do what autovacuum does within a minute: without statistics PostgreSQL plans for some rows."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("vacuum analyze records")


async def measured(url: str, name: str, wanted_of: Callable[[Dialect], dict[str, str]]) -> dict[str, list[float]]:
    async with open_store(Settings(sink_url=url), "loans") as store:
        floors = {"plain": PLAIN[name], "plain, with two numbers of JSON": with_json(name, store.dialect)}
        wanted = {**floors, **wanted_of(store.dialect)}
        times: dict[str, list[float]] = {what: [] for what in wanted}
        await store.ask(PLAIN[name])  # what is cold is not the question
        for _ in range(ROUNDS):
            if store.dialect.keeps:
                await store.ask(f"drop table if exists {questions.KEPT}")
            for what, question in wanted.items():
                times[what].append(await seconds(store, question))
        return times


def lines(name: str, times: dict[str, list[float]]) -> Iterator[str]:
    """Each question's median in seconds, and as a multiple of the plain count of its own round."""
    for what, found in times.items():
        ratios = sorted(a / b for a, b in zip(found, times["plain"], strict=True))
        middle = statistics.median(ratios)
        told = "" if what == "plain" else f"{middle:.2f}x ({ratios[0]:.2f}-{ratios[-1]:.2f})"
        mark = "" if what == "plain" else "yes" if middle <= TARGET else "no"
        yield f"| {name} | {what} | {statistics.median(found):.2f} | {told} | {mark} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engines", nargs="*", default=["sqlite", "postgresql", "clickhouse"], metavar="engine")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--steps", action="store_true", help="what each step of an accuracy adds")
    options = parser.parse_args()
    print(f"{options.rows:,} rows, {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}")
    print(f"load {os.getloadavg()[0]:.1f} at the start\n")
    print("| engine | question | seconds | of the plain count | at most 1.5x |\n| --- | --- | --- | --- | --- |")
    for name in options.engines:
        with tempfile.TemporaryDirectory(prefix="joinback-bench-") as folder, ENGINES[name].place(Path(folder)) as url:
            asyncio.run(load(url, options.rows))
            if name == "postgresql":
                analyze(url)
            for line in lines(name, asyncio.run(measured(url, name, steps_of if options.steps else asked_of))):
                print(line, flush=True)
    print(f"\nload {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()
