"""Three worker processes under load, stopped at random moments in every way; the table is the model's, row by row.

Some seconds in CI; `CHAOS_S=180 pytest tests/faults/test_chaos.py` is the nightly run. The seed is printed.
"""

import os
import random
import signal
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import model
from conftest import PATIENCE_S, Cli, Stack

from joinback import wire

CHAOS_S = float(os.environ.get("CHAOS_S", "5"))
SIGNALS_MIN = 10
WORKERS = 3
PENDING = wire.pending_key("loans")
SCRIPT = str(Path(__file__).parent / "drain_for_ever.py")
START = datetime.now(UTC) - timedelta(days=30)


class Load:
    """Logs events at random, and remembers them for the model."""

    def __init__(self, stack: Stack, chance: random.Random) -> None:
        self.stack = stack
        self.chance = chance
        self.logged = 0
        self.events: defaultdict[str, dict[str, Any]] = defaultdict(dict)

    def log(self) -> None:
        chance = self.chance
        # The keys move on, so that there is new work all the time, and old keys see late events.
        self.logged += 1
        key = f"loan_{max(0, self.logged // 6 - chance.randrange(400)):06}"
        kind = chance.choices(["prediction", "feedback", "retraction"], [5, 5, 1])[0]
        # Few ids and few times: duplicates, ties and conflicts are common. The id follows from the event.
        number = chance.randrange(4)
        at = START + timedelta(minutes=number)
        event_id = f"e{number}"
        event: dict[str, Any] = {"at": at, "logged_at": at}
        if kind == "prediction":
            event |= {"inputs": {"n": number}, "outputs": number}
            self.stack.client.log_record(
                "loans", inputs={"n": number}, outputs=number, join_key=key, timestamp=at, event_id=event_id
            )
        elif kind == "feedback":
            event |= {"feedback": {"a": number, "bc"[number % 2]: None}}
            self.stack.client.log_record(
                "loans", feedback=event["feedback"], join_key=key, timestamp=at, event_id=event_id
            )
        else:
            event |= {"fields": ["a"] if number % 2 else None}
            self.stack.client.retract("loans", key, fields=event["fields"], timestamp=at, event_id=event_id)
        self.events[key][f"{kind}:{event_id}"] = event


def end_leases(stack: Stack) -> None:
    """As if every lease had run out."""
    for entry in stack.server.xpending_range(PENDING, wire.GROUP, "-", "+", 100_000):
        stack.server.xclaim(
            PENDING, wire.GROUP, entry["consumer"], 0, [entry["message_id"]], idle=3_600_000, justid=True
        )


def test_chaos(stack: Stack, spawn: Callable[..., "subprocess.Popen[str]"], cli: Cli) -> None:
    """SIGKILL, SIGTERM, SIGSTOP and SIGCONT at random under load: no event lost, none doubled, every row right."""
    seed = int(os.environ.get("CHAOS_SEED", random.randrange(2**32)))
    print(f"CHAOS_SEED={seed}")
    chance = random.Random(seed)
    load = Load(stack, chance)
    workers = [spawn(SCRIPT) for _ in range(WORKERS)]
    stopped: dict[int, float] = {}
    signals: defaultdict[str, int] = defaultdict(int)
    deadline = time.monotonic() + CHAOS_S
    next_signal = time.monotonic() + 1
    # However slow the machine is, the workers were stopped often enough to mean something.
    while time.monotonic() < deadline or sum(signals.values()) < SIGNALS_MIN:
        for _ in range(20):
            load.log()
        assert stack.client.flush(PATIENCE_S)
        # As fast as the workers drain: the moments that matter are those in which they have work.
        while stack.server.xlen(PENDING) > 2_000:
            time.sleep(0.005)
            if time.monotonic() > next_signal:
                break
        for number in [n for n, until in stopped.items() if time.monotonic() > until]:
            del stopped[number]
            workers[number].send_signal(signal.SIGCONT)
        if time.monotonic() > next_signal:
            next_signal = time.monotonic() + chance.uniform(0.02, 0.4)
            number = chance.randrange(WORKERS)
            sign = chance.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP])
            signals[sign.name] += 1
            workers[number].send_signal(sign)
            if sign == signal.SIGSTOP:
                # Often beyond its lease of a second: then it comes back as a zombie.
                stopped[number] = time.monotonic() + chance.uniform(0.1, 2.5)
            else:
                stopped.pop(number, None)
                workers[number].send_signal(signal.SIGCONT)
                workers[number].wait(PATIENCE_S)
                workers[number] = spawn(SCRIPT)
    for worker in workers:
        worker.kill()
        worker.wait()
    end_leases(stack)
    assert cli("drain").returncode == 0

    expected = {key: model.row(events) for key, events in load.events.items()}
    found = {row["join_key"]: model.parts(row.__getitem__) for row in stack.rows()}
    assert found == expected
    books = stack.books()
    print(f"signals {dict(signals)}; rows {len(found)}; {books.summary()}")
    distinct = sum(map(len, load.events.values()))
    assert (books.pending, books.dead, books.in_rows) == (0, 0, distinct)
    assert books.received == stack.client.stats()["sent"]
