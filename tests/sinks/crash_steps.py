"""Merges a batch again and again, each time in a process that is killed at another step of it.

    python crash_steps.py URL

A step is a call of the sink's thread into C: into the driver, the encoder, the operating system. Prints the
steps; the last two are those of processes that lived. Each step has a batch of its own.
"""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from events import feedback, prediction, record

from joinback_worker.law.record import Record
from joinback_worker.law.rules import Policy
from joinback_worker.sinks import open_sink

STEPS = 12
"""Spread evenly over a merge, and as many at its end, where the commit is."""


def held_by(step: int) -> list[Record]:
    """What the sink has before the step's batch comes."""
    return [record({"prediction:p": prediction()}, f"step{step}_{n}") for n in range(5)]


def batch_of(step: int) -> list[Record]:
    """Labels of what the sink has, new predictions, and both at once."""
    served, told = {"prediction:p": prediction()}, {"feedback:f": feedback(step=step)}
    events = [told, served, served | told]
    return [record(events[n // 5], f"step{step}_{n}") for n in range(15)]


def merge(url: str, step: int, kill_at: int | None) -> int:
    """Merge, and die at that call if there are so many; else the number of calls."""
    calls = 0

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal calls
        if event == "c_call":
            calls += 1
            if calls == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    async def run() -> None:
        async with open_sink(url, Policy()) as sink:
            original = sink._merge  # type: ignore[attr-defined]

            def profiled(records: Any) -> Any:
                sys.setprofile(count)
                try:
                    return original(records)
                finally:
                    sys.setprofile(None)

            sink._merge = profiled  # type: ignore[attr-defined]
            await sink.merge(batch_of(step))

    asyncio.run(run())
    return calls


def prepare(url: str, steps: Iterable[int]) -> int:
    """Merge what is there before these steps."""

    async def run() -> int:
        async with open_sink(url, Policy()) as sink:
            return (await sink.merge([held for step in steps for held in held_by(step)])).rows

    return asyncio.run(run())


def in_a_child(work: Callable[[], int]) -> int:
    """What the work returns, or 0 if the child was killed."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        os.write(writing, str(work()).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        told = pipe.read()
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == 0, status
    return int(told or 0)


def main() -> None:
    url = sys.argv[1]
    open_sink(url, Policy())  # imports the driver, once for all children
    assert threading.active_count() == 1, "a fork must not find other threads"
    assert in_a_child(partial(prepare, url, [0])) > 0
    calls = in_a_child(partial(merge, url, 0, None))  # its rows are the batch of step 0
    steps = {1 + (calls - 1) * n // STEPS for n in range(STEPS)} | set(range(max(1, calls - STEPS), calls + 1))
    beyond = calls * 10
    assert in_a_child(partial(prepare, url, [*steps, beyond])) > 0
    for step in sorted(steps):
        in_a_child(partial(merge, url, step, step))
    assert in_a_child(partial(merge, url, beyond, beyond)) > 0
    print(*sorted(steps), beyond, 0)


if __name__ == "__main__":
    main()
