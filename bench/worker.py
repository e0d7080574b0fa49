"""What a drain costs beside what it must: the bare loop, more workers, a longer backlog.

    python bench/worker.py                                  # the tables, some ten minutes
    python bench/worker.py --quick                          # a check that it works
    python bench/worker.py --pending 5000000                # a longer backlog still: 8 GB of memory
    python bench/worker.py --applications 10                # joinback drain into PostgreSQL, in turn

Costs are CPU microseconds per event, worker and server apart, of two loops that take turns at one backlog; rates are
wall time. Each is the median of rounds with their spread, and ratios are of one round. Needs pip install -e '.[dev]'.
"""

import argparse
import asyncio
import os
import platform
from collections.abc import Sequence
from statistics import median

import redis
import worker_many
import worker_processes
from worker_loops import Cost, lines, turns
from worker_pending import WORKLOADS, Workload, fill

from joinback_worker.embedded import embedded_valkey
from joinback_worker.logs import configure_logging

ROUNDS = 5
SHORT = 20_000
"""Of a round over short backlogs."""
TURN = 20_000
"""Of a round at a long backlog: it stays about as long meanwhile."""
BACKLOGS = (10_000, 1_000_000)


def measured(workload: Workload, pending: int, rounds: int, events: int) -> dict[str, list[Cost]]:
    """Return the costs of so many rounds, each of so many events of a backlog that is as long, or longer."""
    costs: dict[str, list[Cost]] = {}
    with embedded_valkey() as url, redis.Redis.from_url(url) as server:
        # A short backlog is made anew for each turn, so that each begins with all of it.
        for _ in range(1 if pending > 2 * events * rounds else rounds):
            fill(server, workload, max(pending, 2 * events))
            at_once = rounds if pending > 2 * events * rounds else 1
            for name, of in asyncio.run(turns(url, at_once, events)).items():
                costs.setdefault(name, []).extend(of)
    return costs


def growth(short: dict[str, list[Cost]], long: dict[str, list[Cost]]) -> str:
    """Return what an event costs more behind a long backlog, of both loops, and the ratio of the two."""
    ours, bare = (
        median([c.both for c in long[name]]) / median([c.both for c in short[name]]) for name in ("ours", "bare")
    )
    return f"ours {ours:.2f}x, the bare loop {bare:.2f}x: {ours / bare:.2f}x of it"


def tables(backlogs: Sequence[int], rounds: int, events: int) -> None:
    for workload, title in WORKLOADS.items():
        print(f"\n### {title}: {events:,} pending, null sink\n", flush=True)
        print("\n".join(lines(measured(workload, events, rounds, events))), flush=True)
    by_backlog = {}
    for pending in backlogs:
        print(f"\n### {WORKLOADS['new']}: {pending:,} pending, null sink\n", flush=True)
        by_backlog[pending] = measured("new", pending, rounds, min(events, pending))
        print("\n".join(lines(by_backlog[pending])), flush=True)
    first, *others = backlogs
    for pending in others:
        print(f"\nFrom {first:,} to {pending:,} pending: {growth(by_backlog[first], by_backlog[pending])}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="little of everything")
    parser.add_argument("--pending", type=int, action="append", help="beside 10,000; may be told several times")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only", choices=["costs", "rates"])
    parser.add_argument("--applications", type=int, default=1)
    parser.add_argument("--records", type=int, default=300_000, help="of whole processes")
    options = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    configure_logging(40)
    if options.applications > 1:
        worker_processes.run(options.applications, options.records, options.rounds)
        return
    rounds = 2 if options.quick else options.rounds
    events, records = (1_000, 2_000) if options.quick else (SHORT, options.records)
    backlogs = [1_000, 10_000] if options.quick else [BACKLOGS[0], *(options.pending or BACKLOGS[1:])]
    if options.only != "rates":
        tables(backlogs, rounds, events)
    if options.only != "costs":
        for name in (worker_many.BARE, worker_many.NULL, "postgresql"):
            print(f"\n### Processes on one application, {name}: {records:,} predictions\n", flush=True)
            print("\n".join(worker_many.lines(name, records, rounds)), flush=True)


if __name__ == "__main__":
    main()
