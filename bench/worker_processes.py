"""Ten applications drained at once, beside one after another.

Prints the drained events per second of whole processes, start included, as medians of rounds with their spread,
and the ratios of the rounds. The processes of a round run one after the other, in alternating order.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from statistics import median

import redis

import joinback
from joinback import wire
from joinback_worker.embedded import embedded_valkey

ROOT = Path(__file__).parents[1]
FEATURES = {f"feature_{n:02}": n * 1.25 for n in range(20)}
DRAIN = ["-m", "joinback_worker", "drain"]
ONE_BY_ONE = [
    "-c",
    "import sys; from joinback_worker.drain import drainer; drainer.writers_max = lambda url: 1;"
    " sys.argv = ['joinback', 'drain']; from joinback_worker.cli import main; main()",
]


def log(url: str, applications: Sequence[str], records: int) -> None:
    """A prediction and its feedback per record, spread over the applications."""
    client = joinback.Client().init(url)
    for n in range(records):
        application, key = applications[n % len(applications)], f"record_{n}"
        client.log_record(application, inputs=FEATURES, outputs={"score": n / records}, join_key=key)
        client.log_record(application, feedback={"label": n % 2}, join_key=key)
        if n % 20_000 == 19_999:
            assert client.flush(120)
    assert client.flush(120)
    client.close()


def timed(command: Sequence[str], url: str, sink_url: str, applications: Sequence[str]) -> float:
    """Start a process, wait until nothing is pending, end it; return the seconds from start to nothing pending."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JOINBACK_")}
    environment |= {"JOINBACK_REDIS_URL": url, "JOINBACK_SINK_URL": sink_url, "JOINBACK_INTERVAL_S": "3600"}
    environment["PYTHONPATH"] = f"{ROOT / 'client'}{os.pathsep}{ROOT / 'worker'}"
    with redis.Redis.from_url(url) as server:
        started = time.perf_counter()
        with subprocess.Popen([sys.executable, *command], env=environment, stderr=subprocess.DEVNULL) as process:
            while any(server.xlen(wire.pending_key(wire.tag(name))) for name in applications):
                assert time.perf_counter() - started < 600
                time.sleep(0.01)
            took_s = time.perf_counter() - started
            process.terminate()
    return took_s


def compare(names: tuple[str, str], runs: tuple[Callable[[int], float], Callable[[int], float]], rounds: int) -> None:
    """Run both in each round, in alternating order, and print the table."""
    figures: tuple[list[float], list[float]] = ([], [])
    for turn in range(rounds):
        for which in (0, 1) if turn % 2 == 0 else (1, 0):
            figures[which].append(runs[which](turn))
        print(f"round {turn + 1}: {figures[0][-1]:,.0f} and {figures[1][-1]:,.0f} events/s", flush=True)
    for name, values in zip(names, figures, strict=True):
        print(f"{name:>24}: {median(values):10,.0f} events/s ({min(values):,.0f} to {max(values):,.0f})")
    ratios = [a / b for a, b in zip(*figures, strict=True)]
    print(f"{'ratio':>24}: {median(ratios):10.2f}x ({min(ratios):.2f} to {max(ratios):.2f})")


def run(application_count: int, records: int, rounds: int) -> None:
    """Compare these applications drained at once with one after the other."""
    applications = [f"bench_{n}" for n in range(application_count)]

    def rate(command: Sequence[str]) -> float:
        with embedded_valkey() as url, fresh_postgresql() as sink_url:
            log(url, applications, records)
            return 2 * records / timed(command, url, sink_url, applications)

    compare(
        ("at once", "one after the other"),
        (lambda _: rate(DRAIN), lambda _: rate(ONE_BY_ONE)),
        rounds,
    )


def fresh_postgresql() -> AbstractContextManager[str]:
    """Return a new database of a PostgreSQL that syncs each commit."""
    sys.path[:0] = [str(ROOT / "tests" / "sinks"), str(ROOT / "tests")]
    os.environ.setdefault("PGSERVER_FSYNC", "on")
    from postgres_server import fresh_database

    return fresh_database()
