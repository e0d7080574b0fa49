"""What a merge of 10,000 records costs a row store of 1,000,000 rows, against its own bulk load of as many ready rows.

    python bench/row_sinks.py                                   # SQLite and PostgreSQL, five rounds
    python bench/row_sinks.py --base 100000 --against ../before sqlite

new: predictions nobody saw before. half: half of these, and half labels whose record Redis still holds, so that the
prediction comes once more. late: labels alone, of which Redis holds nothing else. The floor of each loads 10,000 new
rows into the very same table, which are ready and have as many labels: INSERT in one transaction, or a binary COPY.
Each round runs all of them in turn, and a ratio is of one round. CPU is that of this process, and of the server where
there is one.

`--against` names a checkout of another commit, whose merges are run beside these, in a process of its own and in a
table of its own. Needs the dev extras.
"""

import argparse
import asyncio
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from row_floors import FLOORS
from sinks import Keys, record

from joinback_worker.fold import Record
from joinback_worker.rules import Policy
from joinback_worker.sinks import Sink, open_sink

ROOT = Path(__file__).parents[1]
SIZE = 10_000
GROW_ROWS = 20_000
"""Of one bulk load: ready rows wait in memory."""
TARGETS = {
    "sqlite": {"new": 1.2, "half": 1.3, "late": 1.7},
    "postgresql": {"new": 1.3, "half": 1.8, "late": 2.0},
}


CASES = ("new", "half", "late")


class Cost(NamedTuple):
    """Microseconds per record."""

    cpu: float
    wall: float


class Meter:
    """What a piece of work costs this process, and the server."""

    def __init__(self, server_pid: int | None) -> None:
        self._server = psutil.Process(server_pid) if server_pid else None

    def _cpu_s(self) -> float:
        used_s = time.process_time()
        if self._server is not None:
            for process in (self._server, *self._server.children()):
                times = process.cpu_times()
                used_s += times.user + times.system
        return used_s

    def of(self, work: Callable[[], Any]) -> Cost:
        cpu_s, started = self._cpu_s(), time.perf_counter()
        work()
        return Cost((self._cpu_s() - cpu_s) / SIZE * 1e6, (time.perf_counter() - started) / SIZE * 1e6)


def batch_of(case: str, keys: Keys, turn: int) -> list[Record]:
    """The records of one merge; each label is a new one."""
    if case == "new":
        return [record(n) for n in keys.new(SIZE)]
    if case == "half":
        old = [_told(n, f"half{turn}", prediction=True) for n in keys.old(SIZE // 2)]
        return [*old, *(record(n) for n in keys.new(SIZE - len(old)))]
    return [_told(n, f"late{turn}", prediction=False) for n in keys.old(SIZE)]


def _told(n: int, event_id: str, *, prediction: bool) -> Record:
    told = record(n, prediction=prediction, feedback=True)
    told.feedback = {event_id: told.feedback["f"]}
    return told


class Bench:
    """One table of one engine, grown, and what is merged into it."""

    def __init__(self, name: str, url: str, base: int, meter: Meter, stack: ExitStack) -> None:
        self._loop = asyncio.new_event_loop()
        self._sink: Sink = self._loop.run_until_complete(open_sink(url, Policy()).__aenter__())
        stack.callback(lambda: self._loop.run_until_complete(self._sink.__aexit__(None, None, None)))
        self._ready = stack.enter_context(FLOORS[name](url))
        self._keys, self._meter = Keys(), meter
        while self._keys.made < base:
            numbers = self._keys.new(min(GROW_ROWS, base - self._keys.made))
            self._ready([record(n, feedback=n % 3 == 0) for n in numbers])()

    def floor(self, case: str) -> Cost:
        labelled = {"new": 0, "half": SIZE // 2, "late": SIZE}[case]
        records = [record(n, feedback=place < labelled) for place, n in enumerate(self._keys.new(SIZE))]
        return self._meter.of(self._ready(records))

    def merge(self, case: str, turn: int) -> Cost:
        records = batch_of(case, self._keys, turn)
        return self._meter.of(lambda: self._loop.run_until_complete(self._sink.merge(records)))


@contextmanager
def placed(name: str) -> Iterator[tuple[str, Meter]]:
    """An empty place for the engine's table, and a meter that sees its server."""
    # What a commit costs is a part of the figures.
    os.environ["PGSERVER_FSYNC"] = "on"
    sys.path.append(str(ROOT / "tests" / "sinks"))
    sys.path.append(str(ROOT / "tests"))
    from engines import ENGINES

    with tempfile.TemporaryDirectory(prefix="joinback-bench-") as folder, ENGINES[name].place(Path(folder)) as url:
        pid = None
        if name == "postgresql":
            from postgres_server import shared_server

            pid = shared_server().pid
        yield url, Meter(pid)


def rounds_of(bench: Bench, other: "Other | None", rounds: int) -> Iterator[dict[str, tuple[Cost, Cost]]]:
    """Yield of each round what the merges cost, each with its floor."""
    for turn in range(-1, rounds):
        costs = {}
        for case in CASES:
            floor = partial(bench.floor, case)
            steps = {"floor": floor, case: partial(bench.merge, case, turn)}
            if other is not None:
                steps[f"{case}, before"] = partial(other.merge, case, turn)
            spent = {name: step() for name, step in (steps.items() if turn % 2 else reversed(steps.items()))}
            costs |= {name: (cost, spent["floor"]) for name, cost in spent.items() if name != "floor"}
        if turn >= 0:  # the first one warms up
            yield costs


class Other:
    """Another checkout's merges, in a process of its own."""

    def __init__(self, checkout: Path, name: str, base: int, stack: ExitStack) -> None:
        paths = [str(checkout / "client"), str(checkout / "worker")]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
        command = [sys.executable, __file__, "--serve", "--base", str(base), name]
        self._process = stack.enter_context(
            subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        )
        stack.callback(self._process.stdin.close)  # type: ignore[union-attr]
        self._answer()

    def merge(self, case: str, turn: int) -> Cost:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{case} {turn}\n")
        self._process.stdin.flush()
        return Cost(*map(float, self._answer().split()))

    def _answer(self) -> str:
        assert self._process.stdout is not None
        answer = self._process.stdout.readline()
        assert answer, "the other checkout's process ended"
        return answer


def serve(name: str, base: int) -> None:
    """Merge what is asked for on the standard input."""
    with placed(name) as (url, meter), ExitStack() as stack:
        bench = Bench(name, url, base, meter, stack)
        print("ready", flush=True)
        for line in sys.stdin:
            case, turn = line.split()
            print(*bench.merge(case, int(turn)), flush=True)


def ratio(mine: Sequence[float], floor: Sequence[float]) -> str:
    ratios = sorted(a / b for a, b in zip(mine, floor, strict=True))
    return f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})"


def table(name: str, found: Sequence[dict[str, tuple[Cost, Cost]]]) -> Iterator[str]:
    for what in found[0]:
        mine, floor = zip(*(costs[what] for costs in found), strict=True)
        target = TARGETS[name].get(what)
        yield " | ".join(
            [
                f"| {name}",
                what,
                f"{statistics.median(cost.cpu for cost in mine):.1f}",
                f"{statistics.median(cost.wall for cost in mine):.1f}",
                ratio([cost.cpu for cost in mine], [cost.cpu for cost in floor]),
                ratio([cost.wall for cost in mine], [cost.wall for cost in floor]),
                f"{target} |" if target else " |",
            ]
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engines", nargs="*", default=[*TARGETS])
    parser.add_argument("--base", type=int, default=1_000_000, help="rows of the table before the first round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--against", type=Path, help="a checkout of another commit")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.engines[0], options.base)
        return
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {datetime.now(UTC):%F};"
        f" {SIZE:,} records a merge, {options.base:,} rows; medians (least-most) of {options.rounds} rounds\n"
    )
    print("| engine | merge | CPU, µs per record | wall, µs per record | CPU x floor | wall x floor | target |")
    print("| --- " * 7 + "|")
    for name in options.engines:
        with placed(name) as (url, meter), ExitStack() as stack:
            other = Other(options.against.resolve(), name, options.base, stack) if options.against else None
            found = list(rounds_of(Bench(name, url, options.base, meter, stack), other, options.rounds))
        print("\n".join(table(name, found)), flush=True)


if __name__ == "__main__":
    main()
