"""What a merge costs, against the same rows by the engine's own fastest bulk load.

    python bench/sinks.py                      # all engines, on an empty and on a 1,000,000-row table
    python bench/sinks.py --base 100000 sqlite postgresql

A batch is half new predictions and half feedback on old ones whose record Redis still holds; the late join is
10,000 feedback events of which Redis holds nothing but themselves. The floor is given ready rows, and loads
them into the very same table: INSERT in one transaction (SQLite), binary COPY (PostgreSQL), a native block
(ClickHouse), an Arrow append (Delta), a file with fsync (Parquet, JSON Lines). Needs the dev and chdb extras.
"""

import argparse
import asyncio
import os
import platform
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from floors import floor_of
from msgspec import Raw

from joinback import wire
from joinback_worker.law.record import Record
from joinback_worker.law.rules import Policy
from joinback_worker.sinks import Sink, open_sink

# What a commit costs is a part of the figures.
os.environ["PGSERVER_FSYNC"] = "on"
sys.path.append(str(Path(__file__).parents[1] / "tests" / "sinks"))
from engines import ENGINES

POLICY = Policy()
SPREAD_S = 90 * 86_400
"""Predictions are spread over as long, as in a table that has grown."""
START = datetime(2026, 6, 1, tzinfo=UTC)
INPUTS = Raw(("{" + ",".join(f'"feature_{n:02}":{n * 1.25}' for n in range(20)) + "}").encode())
LOAD_ROWS = 20_000
BATCHES = (1_000, 10_000, 50_000)
LATE = 10_000


def record(n: int, *, prediction: bool = True, feedback: bool = False) -> Record:
    """The n-th loan: 20 features and a score, and maybe its label. Its key is random, as most are."""
    key = f"{random.Random(n).getrandbits(128):032x}"
    at = START + timedelta(seconds=n % SPREAD_S)
    served = wire.Prediction(v=1, at=at, logged_at=at, version="1.0", inputs=INPUTS, outputs=Raw(b'{"default":0.07}'))
    later = at + timedelta(days=30)
    told = wire.Feedback(v=1, at=later, logged_at=later, feedback={"repaid": Raw(b"true"), "days_late": Raw(b"3")})
    return Record(
        application="loans",
        join_key=key,
        predictions={"p": served} if prediction else {},
        feedback={"f": told} if feedback else {},
    )


class Keys:
    """Which loans are in the table, so that a batch can be half old and half new."""

    def __init__(self) -> None:
        self.made = 0
        self._random = random.Random(17)

    def new(self, count: int) -> list[int]:
        self.made += count
        return list(range(self.made - count, self.made))

    def old(self, count: int) -> list[int]:
        return self._random.sample(range(self.made), count)


def seconds(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def merge(sink: Sink, records: Sequence[Record]) -> None:
    """As a cycle does it, in the loop that opened the sink."""
    LOOP.run_until_complete(sink.merge(records))


LOOP = asyncio.new_event_loop()


def grow(sink: Sink, keys: Keys, rows: int) -> None:
    while keys.made < rows:
        merge(sink, [record(n, feedback=n % 3 == 0) for n in keys.new(min(LOAD_ROWS, rows - keys.made))])


def measured(sink: Sink, keys: Keys, size: int, rounds: int, bulk: Callable[[Sequence[Record]], float]) -> str:
    """One cell: rows/s of ours, and the time of ours as a multiple of the floor's; the median of the rounds."""
    ours, floors = [], []
    for _ in range(rounds):
        if keys.made < size:
            batch = [record(n, feedback=n % 2 == 0) for n in keys.new(size)]
        else:
            batch = [record(n, feedback=True) for n in keys.old(size // 2)]
            batch += [record(n) for n in keys.new(size - size // 2)]
        ours.append(seconds(lambda batch=batch: merge(sink, batch)))
        floors.append(bulk([record(n, feedback=n % 2 == 0) for n in keys.new(size)]))
    return cell(size, ours, floors)


def measured_late(sink: Sink, keys: Keys, rounds: int, bulk: Callable[[Sequence[Record]], float]) -> str:
    ours, floors = [], []
    for turn in range(rounds):
        numbers = keys.old(min(LATE, keys.made))
        late = [record(n, prediction=False, feedback=True) for n in numbers]
        for event in late:
            event.feedback = {f"late{turn}": event.feedback["f"]}
        ours.append(seconds(lambda late=late: merge(sink, late)))
        floors.append(bulk([record(n, feedback=True) for n in keys.new(len(numbers))]))
    return cell(LATE, ours, floors)


def cell(size: int, ours: Sequence[float], floors: Sequence[float]) -> str:
    ratios = sorted(mine / floor for mine, floor in zip(ours, floors, strict=True))
    rate = size / statistics.median(ours)
    return f"{rate:,.0f} /s, {statistics.median(ratios):.2f}x ({ratios[0]:.2f}-{ratios[-1]:.2f})"


def rows_of(name: str, bases: Sequence[int], rounds: int) -> Iterator[list[str]]:
    for base in bases:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="joinback-bench-")))
            url = stack.enter_context(ENGINES[name].place(folder))
            sink = LOOP.run_until_complete(open_sink(url, POLICY).__aenter__())
            keys = Keys()
            grow(sink, keys, base)
            with floor_of(name, url) as bulk:
                cells = [measured(sink, keys, size, rounds, bulk) for size in BATCHES]
                late = measured_late(sink, keys, rounds, bulk)
            LOOP.run_until_complete(sink.__aexit__(None, None, None))
            yield [name, f"{base:,}", *cells, late]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engines", nargs="*", default=[name for name in ENGINES if name != "delta+s3"])
    parser.add_argument("--base", type=int, default=1_000_000, help="rows of the grown table")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(
        f"{machine}, {datetime.now(UTC):%Y-%m-%d}; rows/s of a merge, and its time as a multiple of the bulk load's:"
        f" median (least-most) of {options.rounds}\n"
    )
    print("| sink | table | " + " | ".join(f"batch of {size:,}" for size in BATCHES) + f" | late join of {LATE:,} |")
    print("| --- " * (len(BATCHES) + 3) + "|")
    for name in options.engines:
        for row in rows_of(name, (0, options.base), options.rounds):
            print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
