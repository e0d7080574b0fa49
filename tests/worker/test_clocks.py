"""The clocks of clients and workers against Redis's, as `joinback doctor` tells them."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from conftest import PATIENCE_S, Cli, Stack

import joinback
from joinback import wire
from joinback_worker.operating.arrivals import Arrival
from joinback_worker.operating.client_clocks import differing

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)
MINUTES = 60.0


def arrived(*moments: tuple[float, float], client: str = "a") -> list[Arrival]:
    """Events that arrived so many seconds after noon, logged so many seconds after it by their client's clock."""
    return [
        Arrival(client=client, at=NOON + timedelta(seconds=at), logged_at=NOON + timedelta(seconds=logged))
        for at, logged in moments
    ]


@pytest.mark.parametrize(
    ("moments", "ahead_min"),
    [
        ([(0, 0), (60, 60)], None),
        # It proves itself by one event, however late the others come.
        ([(0, -900), (1, 12 * MINUTES)], 12),
        ([(0, 4 * MINUTES)], None),
        ([(0, -20 * MINUTES), (60, 60 - 20 * MINUTES), (90, 91 - 20 * MINUTES)], -20),
        # What waited comes all at once: from a spool, ...
        ([(0, -20 * MINUTES), (0, -10 * MINUTES)], None),
        # ... after an outage, ...
        ([(0, -20 * MINUTES), (10, -10 * MINUTES)], None),
        # ... or by one event, of which nobody knows.
        ([(0, -20 * MINUTES)], None),
    ],
)
def test_whether_a_clock_differs(moments: Sequence[tuple[float, float]], ahead_min: float | None) -> None:
    """An event that arrives before it was logged, or events that are as late each, as fast as they were logged."""
    told = {clock.client: round(clock.ahead.total_seconds() / 60) for clock in differing(arrived(*moments))}
    assert told == ({} if ahead_min is None else {"a": ahead_min})


def test_each_client_by_itself() -> None:
    """One client's clock says nothing of another's; the worst comes first."""
    mixed = arrived((0, 600), client="b") + arrived((0, 0), (60, 60), client="well") + arrived((0, 6_000), client="c")
    assert [clock.client for clock in differing(mixed)] == ["c", "b"]


def test_a_client_whose_clock_is_ahead(stack: Stack, cli: Cli) -> None:
    """It is named by what its events say of it: process, version, environment and source; the others are not."""
    # With an id of the caller's, as nothing else tells the clients of one process apart.
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="a", event_id="mine")
    other = joinback.Client().init(stack.settings.redis_url, environment="staging", strict=True)
    other.log_record("loans", feedback={"repaid": True}, join_key="a", version="1.4", source="batch-job")
    assert other.close()
    assert stack.client.flush(PATIENCE_S)
    assert "ok    clients  the clocks of 2 clients agree with Redis's, by 2 events that wait" in cli("doctor").stdout
    (field,) = [name for name in stack.server.hkeys(stack.record("a")) if name.startswith(b"feedback:")]
    event = msgspec.json.decode(stack.server.hget(stack.record("a"), field))
    event["logged_at"] = (datetime.now(UTC) + timedelta(minutes=12)).isoformat()
    stack.server.hset(stack.record("a"), field, json.dumps(event))
    done = cli("doctor")
    process = field.decode().partition(":")[2].partition("-")[0]
    who = f"event ids {process}…, version 1.4, staging, source batch-job"
    assert "LOOK  clients  client_clock_differs: loans: the clock of 1 client differs from Redis's: 1" in done.stdout
    assert f" min ahead ({who})" in done.stdout
    stack.drain()
    assert "ok    clients  no event that can be read waits, so the clocks of clients" in cli("doctor").stdout


def test_a_process_is_one_client(stack: Stack, cli: Cli) -> None:
    """Its plain predictions, its feedback and its versions count as one, and it is named once, with all of them."""
    for n, version in enumerate(("1.4", "1.5")):
        stack.client.log_record("loans", inputs=1, outputs=2, join_key=f"k{n}", version=version)
        stack.client.log_record("loans", feedback={"repaid": True}, join_key=f"k{n}", version=version, source="human")
    assert stack.client.flush(PATIENCE_S)
    assert "the clock of 1 client agrees with Redis's, by 4 events that wait" in cli("doctor").stdout
    for n in range(2):
        for field, payload in stack.server.hgetall(stack.record(f"k{n}")).items():
            if field.startswith((b"prediction:", b"feedback:")):
                event = msgspec.json.decode(payload)
                event["logged_at"] = (datetime.now(UTC) + timedelta(minutes=12)).isoformat()
                stack.server.hset(stack.record(f"k{n}"), field, json.dumps(event))
    shown = cli("doctor").stdout
    assert "loans: the clock of 1 client differs" in shown
    assert shown.count("version 1.4") == shown.count("version 1.5") == shown.count("source human") == 1


def test_what_cannot_be_compared(stack: Stack, cli: Cli) -> None:
    """Entries of others, torn events and records of another type are passed over."""
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="a", event_id="torn")
    for key in ("b", "c", "d"):
        stack.client.log_record("loans", inputs=1, outputs=2, join_key=key)
    assert stack.client.flush(PATIENCE_S)
    stack.server.hset(stack.record("a"), "prediction:torn", "{torn")
    stack.server.set(stack.record("b"), "mine", ex=600)
    stack.server.delete(stack.record("c"))
    stack.server.xadd(wire.pending_key("loans"), {"key": "x"})
    shown = cli("doctor").stdout
    assert "ok    clients  the clock of 1 client agrees with Redis's, by 1 event that waits" in shown
    stack.server.hincrby(wire.stats_key("loans"), "received:prediction", 1)


def test_a_worker_whose_clock_differs(stack: Stack, cli: Cli) -> None:
    """Its own sign says by how much; it is told by name, and is trouble."""
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="a")
    stack.drain()
    now = datetime.now(UTC)
    sign = {
        "host": "host-a",
        "pid": 1,
        "version": "0",
        "sink": "s",
        "settings": "x",
        "beat_at": now,
        "progress_at": now,
    }
    stack.server.hset(wire.WORKERS_KEY, "host-a:1", msgspec.json.encode(sign | {"clock_ahead_s": -3_700.5}))
    stack.server.expire(wire.WORKERS_KEY, 60)
    done = cli("doctor")
    assert "FIX   workers  clock_differs: the clock of worker host-a:1 is 1 h 2 min behind Redis's" in done.stdout
    assert done.returncode == 1
