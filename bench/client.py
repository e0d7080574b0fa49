"""What logging costs the service that logs: the client beside its floors and its peers, in one run.

    python bench/client.py             the real run, six minutes; writes docs/explanation/client-cost.*
    python bench/client.py --quick     a check that it works; prints the table and writes nothing

Each peer runs in processes of its own, one a round, in turn, so that what disturbs the machine disturbs all;
one whose package is not installed is left out, aloud. Needs pip install -e '.[dev,bench]'.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from client_backends import HERE, Backends, behaviour
from client_peers import FLOORS, OTHERS, OURS, Entry
from client_table import Figures, Results, table

PAGE = HERE.parent / "docs" / "explanation" / "client-cost.md"
BEGIN, END = "<!-- bench/client.py writes from here -->", "<!-- to here -->"
ROUNDS = 3
QUICK_SCALE = 0.05
ROUND_S_MAX = 120.0


def measure(entry: Entry, backends: Backends, scale: float) -> Figures:
    """One round of one peer. Raises RuntimeError with what it said if it did not end well."""
    backends.empty()
    command = [
        sys.executable,
        str(HERE / "client_measure.py"),
        entry.name,
        backends.urls[entry.backend],
        str(scale),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=ROUND_S_MAX)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip().rpartition("\n")[2])
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def bare_python_mb() -> float:
    """The memory of an interpreter that does nothing."""
    script = "print(open('/proc/self/status').read().partition('VmHWM:')[2].split()[0])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return int(done.stdout) / 1024


def run(entries: Sequence[Entry], rounds: int, scale: float) -> Results:
    with ExitStack() as stack:
        backends = Backends(stack)
        results = Results(bare_python_mb())
        for number in range(rounds):
            for entry in entries:
                say(f"round {number + 1} of {rounds}: {entry.name}")
                results.add(entry.name, measure(entry, backends, scale))
        for entry in entries:
            if entry not in FLOORS:
                say(f"behaviour: {entry.name}")
                results.behaviour[entry.name] = behaviour(entry, backends)
    return results


def present(wanted: Sequence[Entry]) -> list[Entry]:
    for entry in wanted:
        if not entry.is_installed():
            say(f"left out: {entry.name}, since {entry.package} is not installed")
    return [entry for entry in wanted if entry.is_installed()]


def machine(rounds: int) -> str:
    return (
        f"{_processor()}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}, "
        f"{datetime.now(UTC):%Y-%m-%d}, rounds: {rounds}"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def write(text: str) -> None:
    """Between the markers of the page."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.partition(END)[2]}")


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round; prints, and writes nothing")
    parser.add_argument("--ours", action="store_true", help="the floors and the client only")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    rounds, scale = (1, QUICK_SCALE) if options.quick else (options.rounds, 1.0)
    results = run(present([*FLOORS, OURS, *(() if options.ours else OTHERS)]), rounds, scale)
    text = f"{machine(rounds)}\n\n{table(results)}"
    print(text)
    if options.quick or options.ours:
        return
    write(text)
    try:
        from client_plot import plot
    except ModuleNotFoundError as error:
        say(f"no plot, since {error.name} is not installed")
    else:
        plot(results, PAGE.with_suffix(".svg"))


if __name__ == "__main__":
    main()
