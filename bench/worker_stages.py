"""Where the time of a drain goes: each stage's CPU per event, of the worker and of the servers, for each sink.

    python bench/worker_stages.py                     # all sinks, a few minutes
    python bench/worker_stages.py sqlite --events 10000 --rounds 2

A stage's figure is the CPU time of its own thread, without the stages inside it, so the stages of a row add up to what
the worker used; `other` is the event loop, redis-py, and what no stage names. Each round fills an empty Redis and an
empty sink anew. Needs the dev extras, and chdb for ClickHouse.
"""

import argparse
import asyncio
import functools
import os
import platform
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from threading import local
from typing import Any
from unittest import mock

import psutil
import redis
from worker_loops import NullSink, our_drain
from worker_pending import WORKLOADS, Workload, fill

from joinback.settings import Settings
from joinback_worker.connection.connect import connect
from joinback_worker.drain import batch
from joinback_worker.drain.batch import Reader
from joinback_worker.drain.pace import MERGE_ENTRIES_MAX, Pace
from joinback_worker.drain.source import Source
from joinback_worker.embedded import embedded_valkey
from joinback_worker.law.joining import Outcomes
from joinback_worker.logs import configure_logging
from joinback_worker.sinks import merge_on_read, merge_on_write, open_sink, sqlite
from joinback_worker.sinks.merge_on_read import MergeOnRead
from joinback_worker.sinks.merge_on_write import MergeOnWrite

sys.path += [str(Path(__file__).parents[1] / "tests" / folder) for folder in ("", "sinks")]
from engines import ENGINES

STAGES = ("claim", "load", "decode", "look-up", "law", "encode", "write", "settle", "other")
CALLS = 100_000
SINKS = ("null", "sqlite", "postgresql", "parquet", "delta", "jsonl", "clickhouse")


class Stages:
    """The CPU seconds of each stage; a stage that runs inside another takes its time from it."""

    def __init__(self, cost_s: float = 0.0) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._threads = local()
        self._cost_s = cost_s
        """Of timing one call: it is taken from the stage around it."""

    def begin(self) -> float:
        self._stack().append(0.0)
        return time.thread_time()

    def end(self, stage: str, started: float) -> None:
        took = time.thread_time() - started
        stack = self._stack()
        self.seconds[stage] += took - stack.pop()
        if stack:
            stack[-1] += took + self._cost_s
        else:
            self.seconds["timing"] += self._cost_s

    def _stack(self) -> list[float]:
        try:
            return self._threads.stack  # type: ignore[no-any-return]
        except AttributeError:
            self._threads.stack = []
            return self._threads.stack  # type: ignore[no-any-return]

    def of(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, timed. Of a coroutine each step is, as others run between two of them."""
        if asyncio.iscoroutinefunction(function):

            @functools.wraps(function)
            async def timed(*arguments: Any, **options: Any) -> Any:
                return await _Steps(self, stage, function(*arguments, **options))

            return timed

        @functools.wraps(function)
        def timed_at_once(*arguments: Any, **options: Any) -> Any:
            started = self.begin()
            try:
                return function(*arguments, **options)
            finally:
                self.end(stage, started)

        return timed_at_once


def cost_of_timing_s() -> float:
    """Return what timing one call costs the stage around it."""
    stages = Stages()
    timed = stages.of("nothing", _nothing)
    started = time.thread_time()
    for _ in range(CALLS):
        timed(1, 2)
    return (time.thread_time() - started - stages.seconds["nothing"]) / CALLS


def _nothing(a: int, b: int) -> None:
    pass


class _Steps:
    """A coroutine of which each step is timed."""

    def __init__(self, stages: Stages, stage: str, work: Any) -> None:
        self._stages, self._stage, self._work = stages, stage, work

    def __await__(self) -> Generator[Any, Any, Any]:
        steps, error = self._work.__await__(), None
        while True:
            started = self._stages.begin()
            try:
                wish = steps.send(None) if error is None else steps.throw(error)
            except StopIteration as end:
                return end.value
            finally:
                self._stages.end(self._stage, started)
            try:
                yield wish
                error = None
            except GeneratorExit:
                steps.close()
                raise
            except BaseException as raised:
                error = raised


def stages_of(sink: Any) -> list[tuple[Any, str, str]]:
    """Return (object, attribute, stage) of everything that is timed in a drain into this sink."""
    timed = [
        (Reader, "_claim", "claim"),
        (Source, "load", "load"),
        (batch, "read_hash", "decode"),
        (Source, "settle", "settle"),
        (Source, "shorten", "settle"),
        (Outcomes, "of", "law"),
        (merge_on_write, "joined", "law"),
        (sqlite, "joined", "law"),
        (merge_on_read, "EventColumns", "encode"),
        (sqlite, "to_sql", "encode"),
        (sqlite, "feedback_to_sql", "encode"),
    ]
    module = sys.modules[type(sink).__module__]
    timed += [(module, name, "encode") for name in ("table_of", "block_of", "_lines_of") if hasattr(module, name)]
    if hasattr(module, "table") and hasattr(module.table, "to_sql"):
        timed += [(module.table, name, "encode") for name in ("to_sql", "feedback_to_sql")]
    if isinstance(sink, MergeOnRead):
        timed += [(type(sink), "_bounded_headers", "look-up")]
    if isinstance(sink, MergeOnWrite):
        timed += [(type(sink), "_held", "look-up")]
    if isinstance(sink, NullSink):
        return [*timed, (NullSink, "merge", "law")]
    return [*timed, (type(sink), "_merge", "write")]


async def drained(url: str, sink_url: str | None, workload: Workload, events: int) -> dict[str, float]:
    """Drain so many pending events; return seconds by stage, of the servers, and on the wall."""
    with redis.Redis.from_url(url) as server:
        fill(server, workload, events)
        stages, ours = Stages(cost_of_timing_s()), connect(Settings(redis_url=url))
        opened: Any = NullSink() if sink_url is None else await open_sink(sink_url).__aenter__()
        others = [process for process in psutil.Process().children(recursive=True) if process.name() == "postgres"]
        try:
            with ExitStack() as patches:
                for holder, name, stage in stages_of(opened):
                    timed = stages.of(stage, getattr(holder, name))
                    patches.enter_context(mock.patch.object(holder, name, timed))
                before = _server_s(server), sum(map(_cpu_s, others)), time.process_time(), time.perf_counter()
                await our_drain(ours, opened, events, Pace(MERGE_ENTRIES_MAX), Settings().settled_ttl_s)
                after = _server_s(server), sum(map(_cpu_s, others)), time.process_time(), time.perf_counter()
        finally:
            await ours.aclose()
            if sink_url is not None:
                await opened.__aexit__(None, None, None)
    of_redis, of_sink, worker, wall = (later - earlier for later, earlier in zip(after, before, strict=True))
    took = {stage: stages.seconds[stage] for stage in STAGES}
    # Without what the timing itself took outside all stages.
    worker -= stages.seconds["timing"]
    took["other"] = worker - sum(took.values())
    return took | {"worker": worker, "Redis": of_redis, "sink's server": of_sink, "wall": wall}


def _server_s(server: redis.Redis) -> float:
    info = server.info("cpu")
    return float(info["used_cpu_sys"] + info["used_cpu_user"])


def _cpu_s(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


def table(url: str, name: str, events: int, rounds: int) -> Iterator[str]:
    """Yield the lines of one sink's table: a row per workload."""
    columns = [*STAGES, "worker", "Redis", "sink's server", "wall"]
    yield f"| {name} | {' | '.join(columns)} |"
    yield "| --- " * (len(columns) + 1) + "|"
    with tempfile.TemporaryDirectory(prefix="joinback-bench-") as folder, ExitStack() as stack:
        for workload in WORKLOADS:
            runs = []
            for turn in range(rounds):
                place = None
                if name != "null":
                    home = Path(folder) / f"{workload}{turn}"
                    home.mkdir()
                    place = stack.enter_context(ENGINES[name].place(home))
                runs.append(asyncio.run(drained(url, place, workload, events)))
            each = [f"{median(run[column] for run in runs) / events * 1e6:.1f}" for column in columns]
            yield f"| {workload} | {' | '.join(each)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sinks", nargs="*", default=SINKS)
    parser.add_argument("--events", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}; µs per event, medians")
    configure_logging(40)
    with embedded_valkey() as url:
        for name in options.sinks:
            print()
            for line in table(url, name, options.events, options.rounds):
                print(line, flush=True)


if __name__ == "__main__":
    main()
