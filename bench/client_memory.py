"""What the client adds to the memory of a service, by what that service has loaded already.

    python bench/client_memory.py            the real run, four minutes; docs/explanation/client-cost.md has its table
    python bench/client_memory.py --quick    a check that it works

Each row is a kind of service: what it imports before the client does. Each round is a process of its own, the rows in
turn. Columns are the most that the process held, MB: before, and what each step added to it; medians, and the lowest
and highest sum. The steps: `import joinback`; `init`, which brings redis-py; then events of 20 features at two steady
rates, each for longer than sent events are kept to be sent again.
"""

import os
import sys
import time

from client_measure import memory_mb
from client_payloads import APPLICATION, LOAN, VERSION

SERVICES = {
    "nothing but asyncio and ssl": "import asyncio, ssl",
    "Flask": "import asyncio, ssl, flask",
    "asyncio, ssl and redis-py": "import asyncio, ssl, redis",
}
RATES = (100, 1_000)
RATE_S = 6.5
"""Over replay.REPLAY_S, so that as many events are kept as ever will be."""
ROUNDS = 5
QUICK_SCALE = 0.02


def in_process(service: str, url: str, scale: str) -> list[float]:
    """Return what this process holds at the most: after the service's imports, and after each step."""
    # Nothing else may be imported here: it would be a part of what is measured.
    exec(SERVICES[service], {})
    held = [memory_mb()]
    import joinback

    held.append(memory_mb())
    client = joinback.init(url)
    held.append(memory_mb())
    for rate in RATES:
        started = time.perf_counter()
        for n in range(int(RATE_S * rate * float(scale))):
            time.sleep(max(0.0, started + n / rate - time.perf_counter()))
            key = f"steady_{rate}_{n:06}"
            client.log_record(APPLICATION, inputs=LOAN[0], outputs=LOAN[1], join_key=key, version=VERSION)
        assert client.flush()
        held.append(memory_mb())
    return held


def measured(rounds: int, scale: float) -> dict[str, list[list[float]]]:
    import json
    import subprocess

    from joinback_worker.embedded import embedded_valkey

    found: dict[str, list[list[float]]] = {service: [] for service in SERVICES}
    with embedded_valkey() as url:
        for _ in range(rounds):
            for service, rows in found.items():
                command = [sys.executable, __file__, service, url, str(scale)]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                rows.append(json.loads(done.stdout))
    return found


def table(found: dict[str, list[list[float]]]) -> str:
    from itertools import pairwise
    from statistics import median

    columns = ["before", "`import joinback`", "`init`", *(f"{rate:,} events per second" for rate in RATES), "together"]
    lines = [f"| a service that has | {' | '.join(columns)} |", f"| --- |{' ---: |' * len(columns)}"]
    for service, rows in found.items():
        steps = [[after - before for before, after in pairwise(row)] for row in rows]
        sums = [row[-1] - row[0] for row in rows]
        cells = [f"{median(row[0] for row in rows):.1f}", *(f"{median(step):.1f}" for step in zip(*steps, strict=True))]
        lines.append(f"| {service} | {' | '.join(cells)} | {median(sums):.1f} ({min(sums):.1f}-{max(sums):.1f}) |")
    return "\n".join(lines)


def main() -> None:
    if len(sys.argv) == 4:
        print(in_process(*sys.argv[1:]))
        return
    import argparse
    from importlib.metadata import version

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--quick", action="store_true", help="one short round")
    options = parser.parse_args()
    rounds, scale = (1, QUICK_SCALE) if options.quick else (options.rounds, 1.0)
    python = sys.version.split()[0]
    print(f"{os.cpu_count()} cores, Python {python}, redis-py {version('redis')}, rounds: {rounds}\n")
    print(table(measured(rounds, scale)))


if __name__ == "__main__":
    main()
