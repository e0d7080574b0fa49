"""One peer, measured: run by bench/client.py as a process of its own, so that memory and CPU are the peer's.

    python bench/client_measure.py NAME BACKEND_URL SCALE

Prints one JSON object. Times are in µs, memory in MB. SCALE shortens the run; 1 is the real one.
"""

import sys
import time
from array import array
from collections.abc import Awaitable, Callable

from client_payloads import PAYLOADS
from client_peers import ENTRIES, Peer

STEADY_S = 2.5
STEADY_PER_S = 1_000
TIGHT_S = 1.5
LOOP_SLICES = 6
LOOP_SLICE_TICKS = 300
LOOP_PER_TICK = 5
"""Calls each millisecond: 5,000 a second."""
WARM_UP_EVENTS = 300

Figures = dict[str, float]
Sleep = Callable[[float], Awaitable[None]]
clock_ns = time.perf_counter_ns


def quantiles(name: str, taken_ns: "array[int]") -> Figures:
    ordered = sorted(taken_ns)
    return {
        f"{name}_p50": ordered[len(ordered) // 2] / 1_000,
        f"{name}_p99": ordered[len(ordered) * 99 // 100] / 1_000,
    }


def steady(peer: Peer, scale: float) -> Figures:
    """Calls at a steady rate, as a service makes them; the process's CPU with them."""
    inputs, outputs = PAYLOADS["loan"]
    calls = int(STEADY_S * scale * STEADY_PER_S)
    taken_ns = array("q", bytes(8 * calls))
    started = time.perf_counter()
    cpu_s = time.process_time()
    for n in range(calls):
        while (wait_s := started + n / STEADY_PER_S - time.perf_counter()) > 0:
            time.sleep(wait_s)
        key = f"steady_{n:08}"
        before = clock_ns()
        peer.log(key, inputs, outputs)
        taken_ns[n] = clock_ns() - before
    peer.flush()
    return quantiles("steady", taken_ns) | {"steady_cpu": (time.process_time() - cpu_s) / calls * 1e6}


def tight(peer: Peer, scale: float, payload: str) -> Figures:
    """Calls without a pause, but for a flush where the peer's buffer would overflow."""
    inputs, outputs = PAYLOADS[payload]
    chunk = max(50, int(peer.chunk * min(1.0, scale * 4)) // (1 if payload == "loan" else 4))
    taken_ns = array("q")
    started = time.perf_counter()
    cpu_s = time.process_time()
    while time.perf_counter() - started < TIGHT_S * scale:
        first = len(taken_ns)
        taken_ns.extend(array("q", bytes(8 * chunk)))
        for n in range(first, first + chunk):
            key = f"{payload}_{n:08}"
            before = clock_ns()
            peer.log(key, inputs, outputs)
            taken_ns[n] = clock_ns() - before
        peer.flush()
    calls = len(taken_ns)
    return quantiles(payload, taken_ns) | {
        f"{payload}_cpu": (time.process_time() - cpu_s) / calls * 1e6,
        f"{payload}_per_s": calls / (time.perf_counter() - started),
    }


async def loop_lag(peer: Peer, sleep: Sleep, scale: float) -> Figures:
    """What logging 5,000 events a second adds to the lag of an asyncio loop, p99.

    Slices with and without it in turn, and the median of their differences: a busy machine disturbs some of the
    slices, a sender all of them.
    """
    added_ns = []
    for _ in range(max(1, int(LOOP_SLICES * scale))):
        quiet_ns = await _slice_lag_ns(peer, sleep, 0)
        added_ns.append(await _slice_lag_ns(peer, sleep, LOOP_PER_TICK) - quiet_ns)
        peer.flush()
    return {"lag_added": sorted(added_ns)[len(added_ns) // 2] / 1_000}


async def _slice_lag_ns(peer: Peer, sleep: Sleep, events_per_tick: int) -> int:
    """p99 of how late the loop comes back from a sleep of a millisecond."""
    inputs, outputs = PAYLOADS["loan"]
    lags_ns = []
    for tick in range(LOOP_SLICE_TICKS):
        for n in range(events_per_tick):
            peer.log(f"loop_{tick:06}_{n}", inputs, outputs)
        due_ns = clock_ns() + 1_000_000
        await sleep(0.001)
        lags_ns.append(clock_ns() - due_ns)
    return sorted(lags_ns)[len(lags_ns) * 99 // 100]


def memory_mb() -> float:
    """The most that this process ever held."""
    # Not by pathlib: it would be a part of what is measured.
    with open("/proc/self/status") as status:  # noqa: PTH123
        return int(status.read().partition("VmHWM:")[2].split()[0]) / 1024


def main() -> None:
    name, backend, scale = sys.argv[1], sys.argv[2], float(sys.argv[3])
    peer = ENTRIES[name].make(backend)
    for n in range(WARM_UP_EVENTS):
        peer.log(f"warm_{n:06}", *PAYLOADS["loan"])
        if n % 50 == 0:
            peer.flush()
    peer.flush()
    figures = steady(peer, scale)
    figures["memory"] = memory_mb()
    # Now that the memory is measured.
    import asyncio
    import json

    figures |= asyncio.run(loop_lag(peer, asyncio.sleep, scale))
    figures |= tight(peer, scale, "loan")
    figures |= tight(peer, scale, "llm")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
