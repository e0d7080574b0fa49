"""What clients tell of their drops, as a worker reads it."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from conftest import Stack

from joinback import wire
from joinback_worker.connection.connect import connect
from joinback_worker.notes.reported_drops import ReportedDrops, reported_drops, summed

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def entry(
    seconds: int, process: str, number: int, drops: Mapping[str, int], **named: str
) -> tuple[bytes, dict[bytes, bytes]]:
    """An entry of the stream, so many seconds after noon."""
    about = {"process": process, "number": str(number), "host": "web-3", "service": "loans-api"} | named
    fields = {name.encode(): value.encode() for name, value in about.items()}
    fields |= {f"dropped:{name}".encode(): str(count).encode() for name, count in drops.items()}
    return b"%d-0" % int((NOON + timedelta(seconds=seconds)).timestamp() * 1000), fields


def test_entries_are_summed_by_who_lost_what() -> None:
    """Entries of one service on one host are one, with the time of the first and the last; the latest come first."""
    entries = [
        entry(0, "a", 0, {"buffer_full:loans": 2}),
        entry(60, "b", 0, {"buffer_full:loans": 3, "invalid:": 1}),
        entry(90, "c", 0, {"buffer_full:loans": 5}, host="web-4"),
    ]
    at = [NOON + timedelta(seconds=seconds) for seconds in (0, 60, 90)]
    full = {"service": "loans-api", "application": "loans", "reason": "buffer_full"}
    assert summed(entries) == [
        ReportedDrops(host="web-4", count=5, first_at=at[2], last_at=at[2], **full),
        ReportedDrops(host="web-3", count=5, first_at=at[0], last_at=at[1], **full),
        ReportedDrops(
            host="web-3", service="loans-api", application="", reason="invalid", count=1, first_at=at[1], last_at=at[1]
        ),
    ]


def test_what_was_told_twice_counts_once() -> None:
    """An entry that is told again under its number, since its answer was lost, stands for both."""
    entries = [entry(0, "a", 0, {"invalid:loans": 2}), entry(5, "a", 0, {"invalid:loans": 3})]
    assert [drops.count for drops in summed(entries)] == [3]


def test_what_somebody_else_wrote_is_left_out() -> None:
    """Fields that are none of ours, and counts that are no numbers, hide nothing but themselves."""
    odd = entry(0, "a", 0, {"invalid:lo:ans": 2, "invalid:x": 1})
    odd[1].update({b"dropped:invalid:y": b"many", b"dropped": b"1", b"\xff": b"\xff"})
    assert {(drops.application, drops.count) for drops in summed([odd])} == {("lo:ans", 2), ("x", 1)}


def test_a_period(stack: Stack) -> None:
    """What was told before the time that is asked for is left out; without the stream there is nothing."""

    async def since(ago_s: float) -> list[ReportedDrops]:
        buffer = connect(stack.settings)
        try:
            return await reported_drops(buffer, datetime.now(UTC) - timedelta(seconds=ago_s))
        finally:
            await buffer.aclose()

    assert asyncio.run(since(60)) == []
    for age_s in (120, 0):
        entry_id = int((datetime.now(UTC) - timedelta(seconds=age_s)).timestamp() * 1000)
        _, fields = entry(0, "a", age_s, {"invalid:loans": 1})
        stack.server.xadd(wire.DROPS_KEY, fields, id=entry_id)  # type: ignore[arg-type]
    stack.server.expire(wire.DROPS_KEY, 60)
    assert [drops.count for drops in asyncio.run(since(60))] == [1]
    assert [drops.count for drops in asyncio.run(since(180))] == [2]
