"""What a caller of log_record notices of an outage: nothing, measured.

    python bench/outages.py --rate 2000 --seconds 4

For each trouble of Redis: the caller's time per call before and during it, at a steady rate, and what became
of the events. Needs what the tests need (pip install -e '.[dev]').
"""

import argparse
import os
import platform
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import joinback

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from outages import FAULTS, Site

FEATURES = {f"feature_{n:02}": n * 1.25 for n in range(20)}


def paced(client: joinback.Client, rate: float, seconds: float, first: int) -> list[float]:
    """Microseconds of each call, made at a steady rate as a service does."""
    taken = []
    started = time.perf_counter()
    for n in range(int(rate * seconds)):
        while (wait_s := started + n / rate - time.perf_counter()) > 0:
            time.sleep(wait_s)
        before = time.perf_counter_ns()
        client.log_record("loans", inputs=FEATURES, outputs={"default": 0.07}, join_key=f"k{first + n}")
        taken.append((time.perf_counter_ns() - before) / 1_000)
    return sorted(taken)


def show(taken: list[float]) -> str:
    return f"{taken[len(taken) // 2]:7.1f} {taken[len(taken) * 99 // 100]:8.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=2_000)
    parser.add_argument("--seconds", type=float, default=4)
    options = parser.parse_args()
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {options.rate:.0f} calls/s"
    )
    print(f"{'':18}{'before':>16}{'during':>17}")
    print(f"{'µs per call':18}{'p50':>7} {'p99':>8} {'p50':>7} {'p99':>8}   logged = sent + buffered + dropped")
    for fault in FAULTS:
        with ExitStack() as stack:
            site = Site(stack)
            client = joinback.Client().init(site.proxy.url)
            paced(client, options.rate, 1, 0)
            before = paced(client, options.rate, options.seconds, 100_000)
            with fault(site):
                during = paced(client, options.rate, options.seconds, 200_000)
            assert client.flush(30)
            stats = client.stats()
            dropped = sum(stats["dropped"].values())
            print(
                f"{fault.__name__:18}{show(before)} {show(during)}"
                f"   {stats['logged']} = {stats['sent']} + {stats['buffered']} + {dropped}"
            )
            client.close()


if __name__ == "__main__":
    main()
