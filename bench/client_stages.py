"""Where the time of one `log_record` goes, and that of the sender for each event of a batch: ns, and against the floor.

    python bench/client_stages.py      half a minute, prints one table, writes nothing

The floor is that of bench/client.py: the event as a dict, encoded by msgspec, appended to a deque. Each line calls
what the client calls, alone and in turn with the others, and its caches are warm: in a service all are slower, in
proportion. The client's Redis is nowhere, and its sender does not run.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from statistics import median
from typing import Any

from client_floors import Encoded
from client_payloads import APPLICATION, LOAN, VERSION

from joinback import events, ids, values, wire
from joinback._delivery import Funnel
from joinback._delivery.aside import BATCH_BYTES_MAX, BATCH_EVENTS_MAX
from joinback._delivery.buffer import Buffer, Buffered
from joinback._delivery.replay import Replay
from joinback._delivery.transport.packing import packed
from joinback.client import Client
from joinback.options import Options

ROUNDS = 40
CALLS = 1_000
INPUTS, OUTPUTS = LOAN
KEYS = [f"loan_{n:08}" for n in range(CALLS)]
NOW = datetime.now(UTC)
TAG = wire.tag(APPLICATION)


def prediction(at: datetime) -> wire.Prediction:
    return wire.Prediction(
        v=wire.PLAIN_VERSION, at=at, logged_at=at, version=VERSION, tags=events.NO_TAGS, inputs=INPUTS, outputs=OUTPUTS
    )


def caller(funnel: Funnel) -> dict[str, Callable[[str], object]]:
    """By name, what is done of one call; the later ones contain the earlier."""
    client, floor = Client(), Encoded("")
    # Emptied with the buffer.
    floor.events = funnel._buffer._events  # type: ignore[assignment]
    client._funnel = funnel
    client.log_record(APPLICATION, inputs=1, outputs=1, join_key="-")
    payload = values.encode(prediction(NOW))
    return {
        "floor: dict, encode, append": lambda key: floor.log(key, INPUTS, OUTPUTS),
        "clock": lambda key: datetime.now(UTC),
        "event, encode": lambda key: values.encode(prediction(NOW)),
        "clock, event, encode": lambda key: values.encode(prediction(datetime.now(UTC))),
        "look for a datetime without a zone": lambda key: payload.find(b"T", events.HEADER_BYTES),
        "id": lambda key: f"prediction:{ids.process}{next(ids.numbers)}",
        "buffer: bounds, count, append": lambda key: funnel._buffer.put((APPLICATION, key, "-", payload), True),
        "all of it, and its checks (put_plain)": lambda key: funnel.put_plain(
            APPLICATION, key, INPUTS, OUTPUTS, VERSION, None
        ),
        "log_record": lambda key: client.log_record(
            APPLICATION, inputs=INPUTS, outputs=OUTPUTS, join_key=key, version=VERSION
        ),
    }


def sender(buffer: Buffer, batch: list[Buffered]) -> dict[str, Callable[[], object]]:
    """By name, what is done of one batch."""
    _, keys, fields, payloads = zip(*batch, strict=True)
    command = [*wire.write_keys(TAG, keys), *wire.write_arguments(TAG, 60, zip(fields, payloads, strict=True))]
    replay = Replay()

    def take() -> None:
        for event in batch:
            buffer._events.append(event)
        buffer.take(BATCH_EVENTS_MAX, BATCH_BYTES_MAX)

    return {
        "sender: take": take,
        "sender: columns": lambda: list(zip(*batch, strict=True)),
        "sender: keys": lambda: wire.write_keys(TAG, keys),
        "sender: arguments": lambda: wire.write_arguments(TAG, 60, zip(fields, payloads, strict=True)),
        "sender: pack": lambda: packed(command),
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
    payload = values.encode(prediction(NOW))
    batch: list[Buffered] = [(APPLICATION, key, f"prediction:{ids.new_id()}", payload) for key in KEYS]
    stages |= sender(funnel._buffer, batch)
    empty_ns = min(ns_per_event(each(lambda key: None)) for _ in range(ROUNDS))
    taken: dict[str, list[float]] = {name: [] for name in stages}
    kept: deque[list[Buffered]] = deque(maxlen=1)
    for _ in range(ROUNDS):
        for name, calls in stages.items():
            taken[name].append(ns_per_event(calls) - (0 if name.startswith("sender") else empty_ns))
            # Let go of one stage later, so that memory stays with the process, as in a service that goes on.
            kept.append(list(funnel._buffer._events))
            funnel._buffer._events.clear()
    print(*table(taken), sep="\n")


if __name__ == "__main__":
    main()
