"""How fast `joinback import` loads labels, in how much memory, and what its report says.

    python bench/labels.py                     1,000,000 labels into SQLite, a minute or two
    python bench/labels.py --labels 10000000 --predictions 100000 --dry-run    does memory grow?
    python bench/labels.py --quick             a check that it works

A CSV file of labels: one in a hundred has a key that matches nothing, one in a thousand a time that is none. The
predictions stand in the sink; the worker drains nothing meanwhile, so Redis has all labels at the end. Needs
pip install -e '.[dev]'.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import redis
from msgspec import Raw

from joinback import wire
from joinback_worker.embedded import embedded_valkey
from joinback_worker.law.record import Record
from joinback_worker.law.rules import Policy
from joinback_worker.sinks import open_sink

LABELS, QUICK_LABELS = 1_000_000, 20_000
ROWS_AT_ONCE = 10_000
START = datetime(2026, 1, 1, tzinfo=UTC)


def predictions(count: int) -> Iterator[list[Record]]:
    """Records of one prediction each, in batches."""
    for start in range(0, count, ROWS_AT_ONCE):
        records = []
        for n in range(start, min(count, start + ROWS_AT_ONCE)):
            record = Record(application="loans", join_key=f"loan_{n}")
            at = START + timedelta(seconds=n)
            raw = wire.encode({"amount": n, "term": 36})
            record.predictions["served"] = wire.Prediction(
                v=wire.WIRE_VERSION, at=at, logged_at=at, inputs=Raw(raw), outputs=Raw(b"0.07")
            )
            records.append(record)
        yield records


async def fill(url: str, count: int) -> None:
    async with open_sink(url, Policy()) as sink:
        for records in predictions(count):
            await sink.merge(records)


def write_labels(path: Path, count: int, predicted: int) -> None:
    """Where there are more labels than predictions, several are of one."""
    with path.open("w") as file:
        file.write("id;day;repaid;amount\n")
        for n in range(count):
            key = f"x{n}" if n % 100 == 99 else str(n % predicted)
            at = START + timedelta(seconds=n, days=20)
            day = "soon" if n % 1000 == 0 else at.strftime("%d/%m/%Y %H:%M:%S")
            file.write(f"{key};{day};{'yes' if n % 3 else 'no'};{n:,}\n")


def measured(command: list[str], environment: dict[str, str]) -> tuple[float, int, float, str]:
    """Return seconds, the highest resident memory in bytes, its value half way, and what was printed."""
    started = time.monotonic()
    samples: list[int] = []
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        looked_at = psutil.Process(process.pid)
        while process.poll() is None:
            try:
                samples.append(looked_at.memory_info().rss)
            except psutil.NoSuchProcess:
                break
            time.sleep(0.05)
        assert process.stdout is not None
        printed = process.stdout.read()
    assert process.returncode in (0, 1), f"exit code {process.returncode}"
    return time.monotonic() - started, max(samples), max(samples[: len(samples) // 2 or 1]), printed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=int, default=LABELS)
    parser.add_argument("--predictions", type=int, help="in the sink; else one for each label")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--dry-run", action="store_true", help="look everything up, write nothing")
    arguments = parser.parse_args()
    count = QUICK_LABELS if arguments.quick else arguments.labels
    with tempfile.TemporaryDirectory() as folder, embedded_valkey() as url:
        sink_url = f"sqlite:///{folder}/sink.db"
        labels = Path(folder) / "labels.csv"
        predicted = arguments.predictions or count
        asyncio.run(fill(sink_url, predicted))
        write_labels(labels, count, predicted)
        with redis.Redis.from_url(url) as connection:
            connection.hset(wire.APPLICATIONS_KEY, "loans", '{"shards":1,"sample_rate":1.0}')
            command = [sys.executable, "-m", "joinback_worker", "import", "loans", str(labels), "--key", "loan_{id}"]
            command += ["--at", "day", "--field", "repaid", "--field", "amount", "--decimal", "."]
            command += ["--dry-run"] * arguments.dry_run
            environment = os.environ | {"JOINBACK_REDIS_URL": url, "JOINBACK_SINK_URL": sink_url}
            took_s, highest, half_way, printed = measured(command, environment)
            used = connection.info("memory")["used_memory"]
    print(printed)
    print("| labels | seconds | labels/s | memory, MB | of it in the first half, MB | Redis, MB |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: |")
    figures = [f"{count:,}", f"{took_s:.1f}", f"{count / took_s:,.0f}"]
    figures += [f"{size / 1e6:,.0f}" for size in (highest, half_way, used)]
    print(f"| {' | '.join(figures)} |")


if __name__ == "__main__":
    main()
