"""What an append store's merge costs beside its writer alone.

    python bench/append_sinks.py                          # the table of merges: Parquet, Delta, JSON Lines, ClickHouse
    python bench/append_sinks.py --wall delta             # one of them, by the clock on the wall

A batch is half new predictions of 20 features and half feedback on old ones whose record Redis still holds; a late
join is feedback alone. The writer is given the same events as ready columns of Python values: Arrow's for a Parquet
file with fsync, for a Delta commit, msgspec's lines for a file with fsync, a native block for ClickHouse. CPU time,
as it says the same on a machine that others use; medians, with the least and the most. Needs the dev and chdb extras.
"""

import argparse
import gc
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import floors
import sinks
from engines import ENGINES
from msgspec import Raw

from joinback_worker.drain.collecting import collector_held_back
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


@contextmanager
def grown(name: str, base: int) -> Iterator[tuple[Any, Any, sinks.Keys]]:
    """A sink with so many rows, the writer alone beside it, and the keys; the cycle collector rests, as in a drain."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="joinback-bench-")))
        url = stack.enter_context(ENGINES[name].place(folder))
        sink = sinks.LOOP.run_until_complete(sinks.open_sink(url, sinks.POLICY).__aenter__())
        bulk = stack.enter_context(floors.floor_of(name, url))
        keys = sinks.Keys()
        sinks.grow(sink, keys, base)
        stack.enter_context(collector_held_back())
        yield sink, bulk, keys
        sinks.LOOP.run_until_complete(sink.__aexit__(None, None, None))


def merges(name: str, base: int, rounds: int, clock: Clock) -> Iterator[list[str]]:
    with grown(name, base) as (sink, bulk, keys):
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


def figures(ours: Sequence[float], alone: Sequence[float]) -> list[str]:
    ratios = sorted(mine / floor for mine, floor in zip(ours, alone, strict=True))
    each = (f"{median(took) / BATCH * 1e6:.1f}" for took in (ours, alone))
    return [*each, f"{median(ratios):.2f}x ({ratios[0]:.2f}-{ratios[-1]:.2f})"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engines", nargs="*", default=ENGINE_NAMES)
    parser.add_argument("--base", type=int, default=1_000_000, help="rows of the table that batches are merged into")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--wall", action="store_true", help="the time on the wall instead of the CPU's")
    options = parser.parse_args()
    clock, kind = (time.perf_counter, "wall") if options.wall else (time.process_time, "CPU")
    floors.clock = clock
    print(f"| sink | {options.base:,} rows, and a | µs of {kind} per record | writer alone | ratio |")
    print("| --- " * 5 + "|")
    for name in options.engines:
        for row in merges(name, options.base, options.rounds, clock):
            print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
