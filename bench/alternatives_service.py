"""The service that logs, as a process of its own: run by bench/alternatives_run.py.

    python bench/alternatives_service.py CONTENDER KEYS             reads numbers of phases, answers each with figures
    python bench/alternatives_service.py CONTENDER KEYS --dies N    logs N events, 1,000 per second, and is killed

Times of a call are in µs; CPU is that of the whole process while it logs.
"""

import importlib
import json
import os
import signal
import sys
import time
from array import array
from typing import Any

from alternatives_contenders import CONTENDERS, Contender
from alternatives_stream import Event, make

PER_S = 1_000
FLUSH_EVERY = 20_000
"""Our client would drop what its buffer cannot hold; no service makes calls as fast as this loop."""
FLUSH_S_MAX = 120.0


def log(module: Any, event: Event) -> None:
    if event.kind == "prediction":
        module.predict(event.event_id, event.key, event.at, event.inputs, event.outputs)
    else:
        module.label(event.event_id, event.key, event.at, event.label)


def flush(contender: Contender) -> None:
    """Wait until all has left this process, where something of it waits."""
    if contender.package == "joinback_worker":
        import joinback

        assert joinback.flush(FLUSH_S_MAX), joinback.stats()
    elif contender.module == "alternatives_batches":
        from alternatives_batches import waiting

        waiting.join()


def phase(contender: Contender, module: Any, events: list[Event]) -> dict[str, float]:
    taken_ns = array("q", bytes(8 * len(events)))
    cpu_s, started = time.process_time(), time.perf_counter()
    for n, event in enumerate(events):
        before_ns = time.perf_counter_ns()
        log(module, event)
        taken_ns[n] = time.perf_counter_ns() - before_ns
        if n % FLUSH_EVERY == FLUSH_EVERY - 1:
            flush(contender)
    flush(contender)
    took_s, used_s = time.perf_counter() - started, time.process_time() - cpu_s
    ordered = sorted(taken_ns)
    p50, p99 = ordered[len(ordered) // 2] / 1_000, ordered[len(ordered) * 99 // 100] / 1_000
    return {"events": len(events), "logged_s": took_s, "service_cpu_s": used_s, "p50_us": p50, "p99_us": p99}


def die(module: Any, events: list[Event]) -> None:
    """Each call has returned when the process is killed."""
    started = time.perf_counter()
    for n, event in enumerate(events):
        while (wait_s := started + n / PER_S - time.perf_counter()) > 0:
            time.sleep(wait_s)
        log(module, event)
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    name, keys, *dies = sys.argv[1:]
    contender = CONTENDERS[name]
    phases = make(int(keys)).phases
    module = importlib.import_module(contender.module)
    if dies:
        first = list({event.event_id: event for event in phases[0]}.values())[: int(dies[1])]
        assert len(first) == int(dies[1])
        die(module, first)
    for line in sys.stdin:
        print(json.dumps(phase(contender, module, phases[int(line)])), flush=True)
    module.close()


if __name__ == "__main__":
    main()
