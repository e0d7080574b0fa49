"""Whole drains by `joinback worker`, as README starts it, beside those of another commit: every sink, in turn.

    git worktree add ../before 1b6c887
    python bench/drains.py --against ../before             # all sinks; an hour
    python bench/drains.py --against ../before sqlite delta --records 20000 --rounds 1

new: predictions of 20 features. half: as many events, half of them new predictions, half feedback on predictions whose
record Redis still holds. late: feedback on all predictions so far; Redis holds nothing else. The three follow each
other in one sink. Time is from the start of the process until nothing is pending; its start alone stands beside it.
Needs the dev extras, and chdb for ClickHouse.
"""

import argparse
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

import redis

import joinback
from joinback import wire
from joinback_worker.embedded import embedded_valkey

ROOT = Path(__file__).parents[1]
sys.path += [str(ROOT / "tests" / "sinks"), str(ROOT / "tests")]
from engines import ENGINES  # noqa: E402

SINKS = ("sqlite", "postgresql", "parquet", "delta", "jsonl", "clickhouse")
CASES = ("new", "half", "late")
FEATURES = {f"feature_{n:02}": n * 1.25 for n in range(20)}
APPLICATION = "loans"
WORKER = ["-m", "joinback_worker", "worker"]
FLUSH_EVENTS = 20_000
DRAIN_S_MAX = 900


class Took(NamedTuple):
    """Seconds of one drain: on the wall, and of the worker's CPU."""

    wall: float
    cpu: float


def drained(checkout: Path, url: str, sink_url: str) -> Took:
    """Run a checkout's worker until nothing is pending."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JOINBACK_")}
    environment |= {"JOINBACK_REDIS_URL": url, "JOINBACK_SINK_URL": sink_url, "JOINBACK_INTERVAL_S": "3600"}
    environment["PYTHONPATH"] = f"{checkout / 'client'}{os.pathsep}{checkout / 'worker'}"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with redis.Redis.from_url(url) as server:
        started = time.perf_counter()
        with subprocess.Popen([sys.executable, *WORKER], env=environment, stderr=subprocess.DEVNULL) as process:
            while server.xlen(wire.pending_key(wire.tag(APPLICATION))):
                assert process.poll() is None, "the worker ended"
                assert time.perf_counter() - started < DRAIN_S_MAX
                time.sleep(0.01)
            wall = time.perf_counter() - started
            process.terminate()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Took(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def predict(client: joinback.Client, numbers: Iterator[int] | range) -> None:
    for n in numbers:
        client.log_record(APPLICATION, inputs=FEATURES, outputs={"score": n / 1e6}, join_key=f"record_{n}")
        if n % FLUSH_EVENTS == 0:
            assert client.flush(120)


def label(client: joinback.Client, numbers: Iterator[int] | range, field: str) -> None:
    for n in numbers:
        client.log_record(APPLICATION, feedback={field: n % 2}, join_key=f"record_{n}")
        if n % FLUSH_EVENTS == 0:
            assert client.flush(120)


def cases(checkout: Path, sink_url: str, records: int) -> dict[str, Took]:
    """Drain each case into one sink, and one event before them: its time is that of the start."""
    took = {}
    with embedded_valkey() as url, redis.Redis.from_url(url) as server:
        client = joinback.Client().init(url)
        for case in ("start", *CASES):
            if case == "start":
                predict(client, range(1))
            elif case == "new":
                predict(client, range(1, records + 1))
            elif case == "half":
                predict(client, range(records + 1, records + 1 + records // 2))
                label(client, range(1, records // 2 + 1), "repaid")
            else:
                server.flushall()
                # The client announces its application anew, as one does that starts now.
                client.close()
                client = joinback.Client().init(url)
                label(client, range(1, records + 1), "late")
            assert client.flush(120)
            took[case] = drained(checkout, url, sink_url)
        client.close()
    return took


def compared(before: Path, name: str, rounds: int, records: int) -> Iterator[str]:
    """Yield a row of the table per case."""
    checkouts = {"before": before.resolve(), "now": ROOT}
    runs = []
    for turn in range(rounds):
        took = {}
        for which in list(checkouts)[:: 1 if turn % 2 else -1]:
            with (
                tempfile.TemporaryDirectory(prefix="joinback-bench-") as folder,
                ENGINES[name].place(Path(folder)) as url,
            ):
                took[which] = cases(checkouts[which], url, records)
        runs.append(took)
    for case in CASES:
        walls = {which: median(run[which][case].wall for run in runs) / records * 1e6 for which in checkouts}
        starts = {which: median(run[which]["start"].wall for run in runs) for which in checkouts}
        faster = sorted(run["before"][case].wall / run["now"][case].wall for run in runs)
        cpu = median(run["before"][case].cpu / run["now"][case].cpu for run in runs)
        cells = [
            name,
            case,
            *(f"{walls[which]:.1f}" for which in checkouts),
            f"{median(faster):.2f}x ({faster[0]:.2f} to {faster[-1]:.2f})",
            f"{cpu:.2f}x",
            *(f"{starts[which]:.2f}" for which in checkouts),
        ]
        yield f"| {' | '.join(cells)} |"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sinks", nargs="*", default=SINKS)
    parser.add_argument("--against", type=Path, required=True, help="a checkout of another commit")
    parser.add_argument("--records", type=int, default=100_000, help="of a drain")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    # What a commit costs is a part of the figures.
    os.environ["PGSERVER_FSYNC"] = "on"
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    print(
        "| sink | drain | µs per event, before | now | faster | less CPU of the worker | start, s, before | now |",
        "| --- " * 8 + "|",
        sep="\n",
    )
    for name in options.sinks:
        for row in compared(options.against, name, options.rounds, options.records):
            print(row, flush=True)


if __name__ == "__main__":
    main()
