"""What an append store's merge costs beside its writer alone, and what a drain costs beside another commit's.

    python bench/append_sinks.py                          # the table of merges: Parquet, Delta, JSON Lines, ClickHouse
    python bench/append_sinks.py --wall delta             # one of them, by the clock on the wall
    git worktree add ../before 1b6c887
    python bench/append_sinks.py --against ../before      # whole drains, new and late, in turn

A batch is half new predictions of 20 features and half feedback on old ones whose record Redis still holds; a late
join is feedback alone. The writer is given the same events as ready columns of Python values: Arrow's for a Parquet
file with fsync, for a Delta commit, msgspec's lines for a file with fsync, a native block for ClickHouse. CPU time,
as it says the same on a machine that others use; medians, with the least and the most. Needs the dev and chdb extras.
"""

import argparse
import gc
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from random import Random
from statistics import median

import floors
import redis
import sinks
from engines import ENGINES
from msgspec import Raw
from worker_processes import DRAIN, FEATURES

import joinback
from joinback_worker.embedded import embedded_valkey
from joinback_worker.law.record import Record

ENGINE_NAMES = ("parquet", "delta", "jsonl", "clickhouse")
LOOKS_UP = ("delta", "clickhouse")
BATCH = 10_000
Clock = Callable[[], float]


def varied(record: Record) -> Record:
    """Give the record features of its own, as in life: what is the same in each row costs a writer nothing."""
    chance = Random(record.join_key)
    for event in record.predictions.values():
        event.inputs = Raw(
            ("{" + ",".join(f'"feature_{n:02}":{chance.random():.6f}' for n in range(20)) + "}").encode()
        )
    return record


def half_old(keys: sinks.Keys) -> list[Record]:
    old = [varied(sinks.record(n, feedback=True)) for n in keys.old(BATCH // 2)]
    return old + [varied(sinks.record(n)) for n in keys.new(BATCH // 2)]


def late(keys: sinks.Keys, turn: int) -> list[Record]:
    records = [sinks.record(n, prediction=False, feedback=True) for n in keys.old(BATCH)]
    for record in records:
        record.feedback = {f"late{turn}": record.feedback["f"]}
    return records


def seconds(clock: Clock, work: Callable[[], object]) -> float:
    gc.collect()
    started = clock()
    work()
    return clock() - started


def merges(name: str, base: int, rounds: int, clock: Clock) -> Iterator[list[str]]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="joinback-bench-")))
        url = stack.enter_context(ENGINES[name].place(folder))
        sink = sinks.LOOP.run_until_complete(sinks.open_sink(url, sinks.POLICY).__aenter__())
        bulk = stack.enter_context(floors.floor_of(name, url))
        keys = sinks.Keys()
        sinks.grow(sink, keys, base)
        ours, alone = [], []
        for _ in range(rounds):
            batch = half_old(keys)
            ours.append(seconds(clock, lambda batch=batch: sinks.merge(sink, batch)))
            gc.collect()
            alone.append(bulk([varied(sinks.record(n, feedback=n % 2 == 0)) for n in keys.new(BATCH)]))
        yield [name, f"batch of {BATCH:,}", *figures(ours, alone)]
        if name in LOOKS_UP:
            ours, alone = [], []
            for turn in range(rounds):
                batch = late(keys, turn)
                ours.append(seconds(clock, lambda batch=batch: sinks.merge(sink, batch)))
                gc.collect()
                alone.append(bulk([varied(sinks.record(n, feedback=True)) for n in keys.new(BATCH)]))
            yield [name, f"late join of {BATCH:,}", *figures(ours, alone)]
        sinks.LOOP.run_until_complete(sink.__aexit__(None, None, None))


def figures(ours: Sequence[float], alone: Sequence[float]) -> list[str]:
    ratios = sorted(mine / floor for mine, floor in zip(ours, alone, strict=True))
    each = (f"{median(took) / BATCH * 1e6:.1f}" for took in (ours, alone))
    return [*each, f"{median(ratios):.2f}x ({ratios[0]:.2f}-{ratios[-1]:.2f})"]


def drained(checkout: Path, url: str, sink_url: str) -> tuple[float, float]:
    """Run `joinback drain` of a checkout; return its seconds on the wall and of CPU, start included."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JOINBACK_")}
    environment |= {"JOINBACK_REDIS_URL": url, "JOINBACK_SINK_URL": sink_url}
    environment["PYTHONPATH"] = f"{checkout / 'client'}{os.pathsep}{checkout / 'worker'}"
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, *DRAIN], env=environment, check=True, capture_output=True)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def new_and_late(checkout: Path, sink_url: str, records: int) -> dict[str, tuple[float, float]]:
    """Drain predictions, then feedback on all of them of which Redis holds nothing but itself."""
    took = {}
    with embedded_valkey() as url, redis.Redis.from_url(url) as server:
        for what in ("new", "late"):
            server.flushall()
            client = joinback.Client().init(url)
            for n in range(records):
                said = (
                    {"feedback": {"label": n % 2}} if what == "late" else {"inputs": FEATURES, "outputs": n / records}
                )
                client.log_record("loans", join_key=f"record_{n}", **said)
                if n % 20_000 == 19_999:
                    assert client.flush(120)
            assert client.flush(120)
            client.close()
            took[what] = drained(checkout, url, sink_url)
    return took


def against(before: Path, names: Sequence[str], rounds: int, records: int) -> Iterator[list[str]]:
    checkouts = {"before": before.resolve(), "now": Path(__file__).parents[1]}
    for name in names:
        runs = []
        for turn in range(rounds):
            took = {}
            for which in list(checkouts)[:: 1 if turn % 2 else -1]:
                with (
                    tempfile.TemporaryDirectory(prefix="joinback-bench-") as folder,
                    ENGINES[name].place(Path(folder)) as url,
                ):
                    took[which] = new_and_late(checkouts[which], url, records)
            runs.append(took)
        for what in ("new", "late"):
            walls = {which: median(run[which][what][0] for run in runs) / records * 1e6 for which in checkouts}
            faster = sorted(run["before"][what][0] / run["now"][what][0] for run in runs)
            cpu = median(run["before"][what][1] / run["now"][what][1] for run in runs)
            spread = f"{median(faster):.2f}x ({faster[0]:.2f}-{faster[-1]:.2f})"
            yield [name, what, f"{walls['before']:.1f}", f"{walls['now']:.1f}", spread, f"{cpu:.2f}x"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engines", nargs="*", default=ENGINE_NAMES)
    parser.add_argument("--base", type=int, default=1_000_000, help="rows of the table that batches are merged into")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--wall", action="store_true", help="the time on the wall instead of the CPU's")
    parser.add_argument("--against", type=Path, help="a checkout of another commit, whose drains are run in turn")
    parser.add_argument("--records", type=int, default=100_000, help="of a drain")
    options = parser.parse_args()
    if options.against is None:
        clock, kind = (time.perf_counter, "wall") if options.wall else (time.process_time, "CPU")
        floors.clock = clock
        print(f"| sink | {options.base:,} rows, and a | µs of {kind} per record | writer alone | ratio |")
        table = (row for name in options.engines for row in merges(name, options.base, options.rounds, clock))
    else:
        print("| sink | drain | µs of wall per event, before | now | faster | less CPU of the worker |")
        table = against(options.against, options.engines, options.rounds, options.records)
    print("| --- " * (5 if options.against is None else 6) + "|")
    for row in table:
        print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
