"""What Redis holds over time: a steady load, a worker that drains, and records that go once they are settled.

    python bench/memory.py --minutes 30 --rate 300 --interval-s 60 --settled-ttl-s 300

Prints, once a minute, Redis's memory above its start, and the JSON of the events of one interval and one settled
TTL: what the sizing formula of docs/how-to/size-redis.md begins with. The worker is the process that README starts.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import deque
from pathlib import Path

import redis

import joinback
from joinback import wire
from joinback_worker.embedded import embedded_valkey

ROOT = Path(__file__).parents[1]
APPLICATION = "bench"
FEATURES = {f"feature_{n:02}": n * 1.25 for n in range(40)}
LATE_S = 30
"""How long after its prediction the feedback comes: mostly in another drain."""
SLICE_S = 0.1


def worker(url: str, folder: str, interval_s: int, settled_ttl_s: int) -> "subprocess.Popen[bytes]":
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JOINBACK_")}
    environment |= {
        "JOINBACK_REDIS_URL": url,
        "JOINBACK_SINK_URL": f"sqlite:///{folder}/joinback.db",
        "JOINBACK_INTERVAL_S": str(interval_s),
        "JOINBACK_SETTLED_TTL_S": str(settled_ttl_s),
        "PYTHONPATH": f"{ROOT / 'client'}{os.pathsep}{ROOT / 'worker'}",
    }
    command = [sys.executable, "-m", "joinback_worker", "worker"]
    return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--rate", type=int, default=300, help="events per second, half of them feedback")
    parser.add_argument("--interval-s", type=int, default=60)
    parser.add_argument("--settled-ttl-s", type=int, default=300)
    options = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}; {vars(options)}")
    with tempfile.TemporaryDirectory(prefix="joinback-bench-") as folder, embedded_valkey() as url:
        server = redis.Redis.from_url(url)
        client = joinback.Client().init(url)
        process = worker(url, folder, options.interval_s, options.settled_ttl_s)
        try:
            run(client, server, options)
        finally:
            process.terminate()
            process.wait()
            client.close()


def run(client: joinback.Client, server: "redis.Redis", options: argparse.Namespace) -> None:
    empty = server.info("memory")["used_memory"]
    started = time.monotonic()
    per_slice = max(1, int(options.rate * SLICE_S / 2))
    waiting: deque[tuple[float, str]] = deque()
    logged = slices = 0
    minute = 1
    print("minute  events  Redis, MB  pending  records  payload of interval + TTL, MB  ratio")
    while (now := time.monotonic() - started) < options.minutes * 60:
        for n in range(per_slice):
            key = f"record_{slices}_{n}"
            client.log_record(APPLICATION, inputs=FEATURES, outputs={"score": n / per_slice}, join_key=key)
            waiting.append((now + LATE_S, key))
            logged += 1
        while waiting and waiting[0][0] <= now:
            client.log_record(APPLICATION, feedback={"label": logged % 2}, join_key=waiting.popleft()[1])
            logged += 1
        slices += 1
        if now >= 60 * minute:
            report(client, server, options, minute, logged, empty)
            minute += 1
        time.sleep(max(0.0, slices * SLICE_S - (time.monotonic() - started)))
    print(f"client: {client.stats()}")


def report(
    client: joinback.Client, server: "redis.Redis", options: argparse.Namespace, minute: int, logged: int, empty: int
) -> None:
    held = server.info("memory")["used_memory"] - empty
    window_s = min(60.0 * minute, options.interval_s + options.settled_ttl_s)
    buffer = client._funnel._buffer
    payload = buffer._put_bytes / buffer._put * options.rate * window_s
    pending, records = server.xlen(wire.pending_key(wire.tag(APPLICATION))), server.dbsize()
    line = f"{minute:6} {logged:7,} {held / 2**20:10.1f} {pending:8,} {records:8,}"
    print(f"{line} {payload / 2**20:30.1f} {held / payload:6.2f}", flush=True)


if __name__ == "__main__":
    main()
