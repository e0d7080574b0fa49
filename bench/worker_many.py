"""Workers that share one application: how many events they drain per second together, and in how much memory.

Each is a process of its own on this machine, beside Redis and the sink's server, so they share its cores. How much two
processes can do there together, the bare loop says: it is run in as many processes.
"""

import argparse
import asyncio
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Any

import redis.asyncio
from worker_loops import NullSink, bare_loop, spread
from worker_pending import APPLICATION, TAG, fill
from worker_processes import fresh_postgresql

from joinback import wire
from joinback.settings import Settings
from joinback_worker.connection.connect import connect
from joinback_worker.drain.cycle import drain
from joinback_worker.drain.pace import Pace
from joinback_worker.drain.source import Source
from joinback_worker.embedded import embedded_valkey
from joinback_worker.law.rules import Policy
from joinback_worker.logs import configure_logging
from joinback_worker.sinks import open_sink

WORKERS = (1, 2, 4)
NULL, BARE = "null", "the bare loop"
IN_REDIS_ALONE = (NULL, BARE)


async def work(redis_url: str, sink_url: str) -> None:
    """In a process of its own: say that it is ready, wait to be told, drain, say how much memory that took."""
    bare = sink_url == BARE
    buffer, pace = redis.asyncio.Redis.from_url(redis_url) if bare else connect(Settings(redis_url=redis_url)), Pace()
    if sink_url not in IN_REDIS_ALONE:
        async with open_sink(sink_url, Policy()):
            pass  # its modules are loaded, and its table is there
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    try:
        if bare:
            await bare_loop(buffer, sys.maxsize)
        elif sink_url == NULL:
            await drain(Source(buffer, TAG), NullSink(), APPLICATION, pace=pace)  # type: ignore[arg-type]
        else:
            async with open_sink(sink_url, Policy()) as sink:
                drained = await drain(Source(buffer, TAG), sink, APPLICATION, pace=pace, settled_ttl_s=3_600)
                assert drained.error is None, drained.error
    finally:
        await buffer.aclose()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_000, flush=True)


def rate(redis_url: str, sink_url: str, workers: int, records: int) -> tuple[float, float]:
    """Return events per second of so many workers together, and the most memory of one of them, in MB."""
    with redis.Redis.from_url(redis_url) as server:
        fill(server, "new", records)
        command = [sys.executable, __file__, redis_url, sink_url]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        processes = [subprocess.Popen(command, **pipes) for _ in range(workers)]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        started = time.perf_counter()
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        # To the end of the drain, not of the process, as a worker goes on.
        told = [process.stdout.readline() for process in processes if process.stdout is not None]
        took_s = time.perf_counter() - started
        for process in processes:
            process.communicate()
        assert server.xlen(wire.pending_key(TAG)) == 0
    return records / took_s, max(map(float, told))


@contextmanager
def _sink(name: str) -> Iterator[str]:
    if name in IN_REDIS_ALONE:
        yield name
    else:
        with fresh_postgresql() as url:
            yield url


def lines(name: str, records: int, rounds: int) -> list[str]:
    """Return a table of rates and memory by workers; each round runs them in turn."""
    found: dict[int, list[tuple[float, float]]] = {workers: [] for workers in WORKERS}
    with embedded_valkey() as redis_url:
        for turn in range(rounds):
            for workers in WORKERS if turn % 2 == 0 else reversed(WORKERS):
                with _sink(name) as sink_url:
                    found[workers].append(rate(redis_url, sink_url, workers, records))
    rows = ["| processes | events/s | of one | MB of one |", "| ---: | --- | --- | ---: |"]
    for workers, of in found.items():
        ratios = [a / b for (a, _), (b, _) in zip(of, found[1], strict=True)]
        rates: Sequence[float] = [value for value, _ in of]
        memory = median([mb for _, mb in of])
        rows.append(f"| {workers} | {spread(rates, 0)} | {spread(ratios, 2)}x | {memory:.0f} |")
    return rows


if __name__ == "__main__":
    configure_logging(40)
    parser = argparse.ArgumentParser()
    parser.add_argument("redis_url")
    parser.add_argument("sink_url")
    options = parser.parse_args()
    asyncio.run(work(options.redis_url, options.sink_url))
