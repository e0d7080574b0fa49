"""Where the time of one `log_record` goes, and that of the sender for each event of a batch: ns, and against the floor.

    python bench/client_stages.py      half a minute, prints one table, writes nothing

The floor is that of bench/client.py: the event as a dict, encoded by msgspec, appended to a deque. Each line calls
what the client calls, alone and in turn with the others, and its caches are warm: in a service all are slower, in
proportion. The client's Redis is nowhere, and its sender does not run.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable
from statistics import median
from typing import Any

from client_floors import Encoded, script_call
from client_payloads import APPLICATION, LOAN, VERSION

from joinback import values, wire
from joinback._delivery import Funnel
from joinback._delivery.aside import BATCH_BYTES_MAX, BATCH_EVENTS_MAX
from joinback._delivery.buffer import Buffer
from joinback._delivery.command import Command
from joinback._delivery.funnel import _T
from joinback._delivery.plain import FRAME_BYTES, PlainBatch
from joinback._delivery.replay import Replay
from joinback.client import Client
from joinback.options import Options

ROUNDS = 40
CALLS = 1_000
INPUTS, OUTPUTS = LOAN
KEYS = [f"loan_{n:08}" for n in range(CALLS)]
TAG = wire.tag(APPLICATION)


def caller(funnel: Funnel) -> dict[str, Callable[[str], object]]:
    """By name, what is done of one call; the later ones contain the earlier."""
    client, floor = Client(), Encoded("")
    # Emptied with the buffer.
    floor.events = funnel._buffer._events  # type: ignore[assignment]
    client._funnel = funnel
    # The first call with a name takes the whole path.
    for _ in range(2):
        client.log_record(APPLICATION, inputs=1, outputs=1, join_key="-", version=VERSION)
    middles, inputs, outputs = funnel._middles.known, values.encode(INPUTS), values.encode(OUTPUTS)
    size = FRAME_BYTES + len(middles[VERSION]) + len(inputs) + len(outputs)
    event = (APPLICATION, "-", time.time_ns(), size, middles[VERSION], inputs, outputs)
    return {
        "floor: dict, encode, append": lambda key: floor.log(key, INPUTS, OUTPUTS),
        "clock": lambda key: time.time_ns(),
        "inputs and outputs, encode": lambda key: (values.encode(INPUTS), values.encode(OUTPUTS)),
        "look for a datetime without a zone": lambda key: _T in inputs or _T in outputs,
        "version and environment": lambda key: middles.get(VERSION),
        "buffer: bounds, count, append": lambda key: funnel._buffer.put(event, size, True),
        "all of it, and its checks (put_plain)": lambda key: funnel.put_plain(
            APPLICATION, key, INPUTS, OUTPUTS, VERSION, None
        ),
        "log_record": lambda key: client.log_record(
            APPLICATION, inputs=INPUTS, outputs=OUTPUTS, join_key=key, version=VERSION
        ),
    }


def sender(funnel: Funnel) -> dict[str, Callable[[], object]]:
    """By name, what is done of one batch."""
    buffer, replay = funnel._buffer, Replay()
    buffer._events.clear()
    for key in KEYS:
        funnel.put_plain(APPLICATION, key, INPUTS, OUTPUTS, VERSION, None)
    waiting = list(buffer._events)
    batch = buffer.take(BATCH_EVENTS_MAX, BATCH_BYTES_MAX)
    assert isinstance(batch, PlainBatch)
    prefix = wire.record_key(TAG, "")
    whole = Command()
    whole.add_texts(prefix, KEYS)
    batch.add_to(whole)
    floors = [(key, batch[0][3]) for key in KEYS]

    def take() -> None:
        buffer._events.extend(waiting)
        buffer.take(BATCH_EVENTS_MAX, BATCH_BYTES_MAX)

    return {
        "sender's floor: keys, pack": lambda: script_call(floors),
        "sender: take, sizes": take,
        "sender: keys": lambda: Command().add_texts(prefix, KEYS),
        "sender: times, ids, pieces": lambda: batch.add_to(Command()),
        "sender: pack": whole.packed,
        "sender: remember, to send again": lambda: replay.add(APPLICATION, b"-", "-", batch),
        "sender: make room": lambda: buffer.free(batch),
    }


def each(call: Callable[[str], object]) -> Callable[[], object]:
    def calls() -> None:
        for key in KEYS:
            call(key)

    return calls


def ns_per_event(calls: Callable[[], object]) -> float:
    began = time.perf_counter_ns()
    calls()
    return (time.perf_counter_ns() - began) / CALLS


def table(taken: dict[str, list[float]]) -> Iterable[str]:
    floor = next(iter(taken.values()))
    yield f"{'ns per event':40} {'median':>7} {'lowest':>7} {'x floor':>8}"
    for name, times in taken.items():
        ratio = median(time / low for time, low in zip(times, floor, strict=True))
        yield f"{name:40} {median(times):7.0f} {min(times):7.0f} {ratio:7.2f}x"


def main() -> None:
    # As if a sender were awake, which nothing wakes.
    funnel = Funnel(Options(), buffer=Buffer(10**9, 10**12, wake_at=10**9))
    funnel._buffer.attended = True
    stages: dict[str, Callable[[], Any]] = {name: each(call) for name, call in caller(funnel).items()}
    stages |= sender(funnel)
    empty_ns = min(ns_per_event(each(lambda key: None)) for _ in range(ROUNDS))
    taken: dict[str, list[float]] = {name: [] for name in stages}
    kept: deque[list[Any]] = deque(maxlen=1)
    for _ in range(ROUNDS):
        for name, calls in stages.items():
            taken[name].append(ns_per_event(calls) - (0 if name.startswith("sender") else empty_ns))
            # Let go of one stage later, so that memory stays with the process, as in a service that goes on.
            kept.append(list(funnel._buffer._events))
            funnel._buffer._events.clear()
    print(*table(taken), sep="\n")


if __name__ == "__main__":
    main()
