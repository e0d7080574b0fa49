"""docs/how-to/size-redis.md does not lie: Redis needs the memory that it says, and gets it back."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from conftest import PATIENCE_S, Stack, wait_for

from joinback import wire

DOC = (Path(__file__).parents[2] / "docs" / "how-to" / "size-redis.md").read_text()
EVENTS = 20_000
INTERVAL_S, SETTLED_TTL_S = 300, 3_600


def formula(**values: float) -> float:
    """The sum that the document states."""
    (text,) = re.findall(r"^```text\n(.*)\n```$", DOC, re.MULTILINE)
    assert re.fullmatch(r"[\w\s*+()]+", text)
    return float(eval(text, {"__builtins__": {}}, values))


def used(server: redis.Redis) -> int:
    return int(server.info("memory")["used_memory"])


def empty(server: redis.Redis) -> None:
    """Valkey frees in the background what the last test left: not before that is done."""
    wait_for(lambda: server.info("memory")["lazyfree_pending_objects"] == 0)


def log(stack: Stack, value: str) -> float:
    """Log predictions, a fresh one first; how many bytes of JSON an event has."""
    for n in range(EVENTS):
        stack.client.log_record("loans", inputs={"text": value}, outputs=0.5, join_key=f"loan_{n:07}")
        if n % 2_000 == 0:
            assert stack.client.flush(PATIENCE_S)
    assert stack.client.flush(PATIENCE_S)
    (body,) = stack.server.hvals(stack.record("loan_0000000"))
    return len(body)


@pytest.mark.heavy
@pytest.mark.parametrize("size", [50, 1_000, 3_000])
def test_the_formula(stack: Stack, size: int) -> None:
    """Events as pending and as settled take what the formula says, within 15 %."""
    empty(stack.server)
    before = used(stack.server)
    event_bytes = log(stack, "x" * size)
    all_pending = used(stack.server) - before
    # A settled TTL of no time: what is held is what came in one interval.
    said = formula(events_per_s=EVENTS / INTERVAL_S, interval_s=INTERVAL_S, settled_ttl_s=0, event_bytes=event_bytes)
    assert 0.85 < all_pending / said < 1.15
    stack.drain()
    all_settled = used(stack.server) - before
    said = formula(
        events_per_s=EVENTS / SETTLED_TTL_S, interval_s=0, settled_ttl_s=SETTLED_TTL_S, event_bytes=event_bytes
    )
    assert 0.85 < all_settled / said < 1.15
    assert stack.books().in_rows == EVENTS


def test_the_table(stack: Stack) -> None:
    """Each line of the document's table is the formula's answer."""
    rows = re.findall(r"^\| ([\d,]+) \| ([\d,]+) \| ([\d.]+) (MB|GB) \|$", DOC, re.MULTILINE)
    assert len(rows) == 5
    for rate, event_bytes, amount, unit in rows:
        said = formula(
            events_per_s=int(rate.replace(",", "")),
            event_bytes=int(event_bytes.replace(",", "")),
            interval_s=INTERVAL_S,
            settled_ttl_s=SETTLED_TTL_S,
        )
        assert float(amount) * {"MB": 1e6, "GB": 1e9}[unit] == pytest.approx(said, rel=0.05)


def test_memory_comes_back(stack: Stack, server: redis.Redis, spawn: Any, wait_until: Callable[..., None]) -> None:
    """A worker drains 20,000 records, and Redis has nine tenths of their memory back once the settled TTL is over."""
    empty(server)
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="first")
    stack.drain()
    before = used(server)
    log(stack, "x" * 1_000)
    full = used(server)
    worker = spawn("-m", "joinback_worker", "worker", JOINBACK_SETTLED_TTL_S="1", JOINBACK_INTERVAL_S="1")
    records = wire.record_key(wire.tag("loans"), "loan_*")
    wait_until(lambda: stack.books().pending == 0 and not next(server.scan_iter(records, count=50_000), None))
    worker.terminate()
    worker.wait(PATIENCE_S)
    assert used(server) - before < 0.1 * (full - before)
    assert stack.books().in_rows == EVENTS + 1


def test_the_limits_are_the_codes() -> None:
    """The limits in the text are those that the worker has."""
    from joinback_worker.drain.pace import SLICE_BYTES
    from joinback_worker.drain.source import RECORD_BYTES_MAX, RECORD_FIELDS_MAX

    for text in (f"{SLICE_BYTES >> 20} MiB", f"{RECORD_BYTES_MAX >> 20} MiB", f"{RECORD_FIELDS_MAX:,} fields"):
        assert text in DOC
