"""What a merge of 10,000 records costs a row store of 1,000,000 rows, against its own bulk load of as many ready rows.

    python bench/row_sinks.py                                   # SQLite and PostgreSQL, five rounds
    python bench/row_sinks.py --base 100000 sqlite

new: predictions nobody saw before. half: half of these, and half labels whose record Redis still holds, so that the
prediction comes once more. late: labels alone, of which Redis holds nothing else. The floor of each loads 10,000 new
rows, which are ready and have as many labels, into a table of its own that grows alike: INSERT in one transaction, or
a binary COPY. "writes" is what the sink then writes, made ready before the clock starts: so it is the engine's own part
of a merge, without the look-up and the law.

Each round runs all of them in turn, twice each, as SQLite moves its log into its file only now and then; a ratio is of
one round. CPU is that of this process, and of the server where there is one. Needs the dev extras.
"""

import argparse
import asyncio
import gc
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from row_floors import FLOORS
from sinks import Keys, record

from joinback_worker.law.joining import joined
from joinback_worker.law.record import Record
from joinback_worker.law.rules import Policy
from joinback_worker.sinks import open_sink

ROOT = Path(__file__).parents[1]
SIZE = 10_000
TIMES = 2
"""That a step runs in a round."""
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

    def __init__(self, name: str, base: int, stack: ExitStack) -> None:
        url, self._meter = stack.enter_context(placed(name))
        self._keys = Keys()
        self._loop = asyncio.new_event_loop()
        # It makes the table.
        self._sink: Any = self._run(open_sink(url, Policy()).__aenter__())
        stack.callback(lambda: self._run(self._sink.__aexit__(None, None, None)))
        self._ready = stack.enter_context(FLOORS[name](url))
        while self._keys.made < base:
            numbers = self._keys.new(min(GROW_ROWS, base - self._keys.made))
            self._ready([record(n, feedback=n % 3 == 0) for n in numbers])()

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self._loop.run_until_complete(work)

    def floor(self, case: str, turn: int) -> Cost:
        labelled = {"new": 0, "half": SIZE // 2, "late": SIZE}[case]
        records = [record(n, feedback=place < labelled) for place, n in enumerate(self._keys.new(SIZE))]
        return self._meter.of(self._ready(records))

    def merge(self, case: str, turn: int) -> Cost:
        records = batch_of(case, self._keys, turn)
        return self._meter.of(lambda: self._run(self._sink.merge(records)))

    def write(self, case: str, turn: int) -> Cost:
        """What a merge writes, and no more than that."""
        sink = self._sink
        records = sorted(batch_of(case, self._keys, turn), key=attrgetter("join_key"))

        def make() -> tuple[list[Any], list[Any]]:
            with sink._transaction():
                held = sink._held("loans", [one.join_key for one in records], {one.join_key for one in records})
            made = [(held.get(one.join_key), one) for one in records]
            rows = [(was, joined(was.row if was else None, one, sink._policy)[0]) for was, one in made]
            return [row for was, row in rows if was is None], [(was, row) for was, row in rows if was is not None]

        new, told = self._run(sink._run(make))

        def write() -> None:
            with sink._transaction():
                sink._update_feedback(iter(told))
                sink._insert(iter(new))

        return self._meter.of(lambda: self._run(sink._run(write)))


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


Step = Callable[[str, int], Cost]


def rounds_of(steps: dict[str, Step], rounds: int) -> Iterator[dict[str, dict[str, Cost]]]:
    """Yield of each round what each step costs, by case."""
    turn = 0
    for number in range(-1, rounds):
        costs: dict[str, dict[str, Cost]] = {}
        for case in CASES:
            for name, step in steps.items() if number % 2 else reversed(steps.items()):
                turn += TIMES
                spent = [step(case, turn + time) for time in range(TIMES)]
                costs.setdefault(case, {})[name] = Cost(*(sum(parts) / TIMES for parts in zip(*spent, strict=True)))
        if number >= 0:  # the first one warms up
            yield costs


def ratio(mine: Sequence[float], floor: Sequence[float]) -> str:
    ratios = sorted(a / b for a, b in zip(mine, floor, strict=True))
    return f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})"


def table(name: str, found: Sequence[dict[str, dict[str, Cost]]]) -> Iterator[str]:
    for case in CASES:
        floor = [costs[case]["floor"] for costs in found]
        for what in found[0][case]:
            mine = [costs[case][what] for costs in found]
            cells = [
                name,
                case,
                what,
                f"{statistics.median(cost.cpu for cost in mine):.1f}",
                f"{statistics.median(cost.wall for cost in mine):.1f}",
                ratio([cost.cpu for cost in mine], [cost.cpu for cost in floor]),
                ratio([cost.wall for cost in mine], [cost.wall for cost in floor]),
                f"{TARGETS[name][case]}" if what == "merge" else "",
            ]
            yield f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engines", nargs="*", default=[*TARGETS])
    parser.add_argument("--base", type=int, default=1_000_000, help="rows of the table before the first round")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    # As in a drain.
    gc.disable()
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {datetime.now(UTC):%F};"
        f" {SIZE:,} records into {options.base:,} rows, µs per record; median (least-most) of {options.rounds} rounds\n"
    )
    print("| engine | records | what | CPU in µs | wall in µs | CPU x floor | wall x floor | target |")
    print("| --- " * 8 + "|")
    for name in options.engines:
        with ExitStack() as stack:
            bench = Bench(name, options.base, stack)
            steps: dict[str, Step] = {"floor": Bench(name, options.base, stack).floor}
            steps |= {"writes": bench.write, "merge": bench.merge}
            found = list(rounds_of(steps, options.rounds))
        print("\n".join(table(name, found)), flush=True)


if __name__ == "__main__":
    main()
