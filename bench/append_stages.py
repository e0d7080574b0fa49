"""Where the CPU time of an append store's merge of 10,000 records goes, beside the writer alone.

    python bench/append_stages.py                         # Parquet, JSON Lines, Delta, ClickHouse
    python bench/append_stages.py --base 100000 delta

The batches are those of bench/append_sinks.py. A stage's figure is of its own thread, without the stages inside it.
"events" are their JSON and its digests, "columns" those of Arrow, "encode" the content of a file. "other" is what no
stage names: the hand-over to the sink's thread, and the threads of an engine. Needs the dev and chdb extras.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from statistics import median
from typing import Any
from unittest import mock

import append_sinks
import floors
import sinks
from append_sinks import BATCH, ENGINE_NAMES, LOOKS_UP, varied
from worker_stages import Stages, cost_of_timing_s

from joinback_worker.sinks import event_columns, merge_on_read

STAGES = ("look-up", "its events", "law", "events", "name", "columns", "encode", "write", "other")


def stages_of(sink: Any) -> list[tuple[Any, str, str]]:
    """Return (object, attribute, stage) of what is timed in a merge."""
    module = sys.modules[type(sink).__module__]
    timed = [
        (type(sink), "_bounded_headers", "look-up"),
        (merge_on_read, "records_of_headers", "its events"),
        (merge_on_read, "EventColumns", "events"),
        (event_columns, "content_id", "name"),
        (module, "table_of", "columns"),
        (type(sink), "_encoded", "encode"),
        (type(sink), "_append", "write"),
        (type(sink), "_merge", "law"),
    ]
    return [each for each in timed if hasattr(each[0], each[1])]


def merged(sink: Any, batch: list[Any], cost_s: float) -> dict[str, float]:
    """Merge; return the seconds of each stage."""
    stages = Stages(cost_s)
    with ExitStack() as patches:
        for holder, name, stage in stages_of(sink):
            timed = stages.of(stage, getattr(holder, name))
            patches.enter_context(mock.patch.object(holder, name, timed))
        took = append_sinks.seconds(time.process_time, lambda: sinks.merge(sink, batch))
    found = {stage: stages.seconds[stage] for stage in STAGES}
    found["other"] = took - stages.seconds["timing"] - sum(found.values())
    return found


def rows_of(name: str, base: int, rounds: int) -> Iterator[list[str]]:
    cost_s = cost_of_timing_s()
    with append_sinks.grown(name, base) as (sink, bulk, keys):
        kinds: dict[str, Callable[[int], list[Any]]] = {"half": lambda _: append_sinks.half_old(keys)}
        if name in LOOKS_UP:
            kinds["late"] = lambda turn: append_sinks.late(keys, turn)
        for kind, batch_of in kinds.items():
            found = [merged(sink, batch_of(turn), cost_s) for turn in range(rounds)]
            told = [n % 2 == 0 or kind == "late" for n in range(BATCH)]
            alone = [
                bulk([varied(sinks.record(n, feedback=has)) for n, has in zip(keys.new(BATCH), told, strict=True)])
                for _ in range(rounds)
            ]
            each = [[one[stage] for one in found] for stage in STAGES] + [[sum(one.values()) for one in found], alone]
            yield [f"{name}, {kind}", *(f"{median(some) / BATCH * 1e6:.1f}" for some in each)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engines", nargs="*", default=ENGINE_NAMES)
    parser.add_argument("--base", type=int, default=100_000, help="rows of the table that batches are merged into")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    floors.clock = time.process_time
    print(f"| µs of CPU per record | {' | '.join(STAGES)} | all | writer alone |")
    print("| --- " * (len(STAGES) + 3) + "|")
    for name in options.engines:
        for row in rows_of(name, options.base, options.rounds):
            print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
