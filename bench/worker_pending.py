"""A backlog: so many events pending of one application, written by the client's own script, fast."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import redis

from joinback import wire

APPLICATION = "bench"
TAG = wire.tag(APPLICATION)
FEATURES = {f"feature_{n:02}": n * 1.25 for n in range(20)}
"""Some 500 bytes of JSON."""
BATCH = 1_000
START = datetime(2026, 11, 23, 11, tzinfo=UTC)

Workload = Literal["new", "late", "held", "both"]
WORKLOADS: dict[Workload, str] = {
    "new": "new predictions",
    "late": "feedback alone, Redis has let the prediction go",
    "held": "feedback, its prediction still in Redis",
    "both": "prediction and feedback at once, two events per key",
}


def _prediction(n: int) -> tuple[str, str, bytes]:
    at = START + timedelta(seconds=n)
    event = wire.Prediction(
        v=wire.PLAIN_VERSION, at=at, logged_at=at, version="1.0", inputs=FEATURES, outputs={"score": n / 1e7}
    )
    return f"record_{n}", f"prediction:{n:032x}", wire.encode(event)


def _feedback(n: int) -> tuple[str, str, bytes]:
    at = START + timedelta(days=1, seconds=n)
    event = wire.Feedback(v=wire.PLAIN_VERSION, at=at, logged_at=at, feedback={"label": n % 2})
    return f"record_{n}", f"feedback:{n:032x}", wire.encode(event)


def write(server: redis.Redis, events: Iterator[tuple[str, str, bytes]]) -> None:
    """Write these events as a client does, a thousand at a time."""
    batch: list[tuple[str, str, bytes]] = []

    def send() -> None:
        keys = wire.write_keys(TAG, (key for key, _, _ in batch))
        arguments: list[Any] = wire.write_arguments(TAG, 86_400, ((field, event) for _, field, event in batch))
        server.eval(wire.WRITE_SCRIPT, len(keys), *keys, *arguments)
        batch.clear()

    for event in events:
        batch.append(event)
        if len(batch) == BATCH:
            send()
    if batch:
        send()


def fill(server: redis.Redis, workload: Workload, events: int) -> None:
    """Make so many events pending, in a Redis that holds nothing else."""
    server.flushall()
    if workload == "held":
        write(server, (_prediction(n) for n in range(events)))
        # As if they had been drained a while ago.
        server.delete(wire.pending_key(TAG))
        server.xgroup_create(wire.pending_key(TAG), wire.GROUP, "0", mkstream=True)
    if workload == "new":
        write(server, (_prediction(n) for n in range(events)))
    elif workload == "both":
        write(server, (make(n) for n in range(events // 2) for make in (_prediction, _feedback)))
    else:
        write(server, (_feedback(n) for n in range(events)))
