"""What a worker notes has its TTL from the first moment: it may die after any of its calls."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from conftest import Stack
from faulty import Died, Faults, FaultyRedis
from msgspec import Raw

from joinback import wire
from joinback_worker.connection.connect import connect
from joinback_worker.law.rules import Rules
from joinback_worker.notes import layouts, rules_in_use
from joinback_worker.notes.fields_seen import FieldsSeen

NOW = datetime(2026, 11, 29, tzinfo=UTC)
TAG = wire.tag("loans")


async def note_fields(redis: Any) -> None:
    await FieldsSeen(Rules()).note(redis, TAG, "loans", [{"repaid": Raw(b"true")}])


async def note_rules(redis: Any) -> None:
    await rules_in_use.note(redis, {"loans": Rules()}, ("here:1", NOW), {}, None, refolds=True)


async def note_shards(redis: Any) -> None:
    await layouts.remember(redis, "loans", [1, 4], NOW)


@pytest.mark.parametrize(
    ("note", "key"),
    [(note_fields, wire.fields_key(TAG)), (note_rules, wire.RULES_KEY), (note_shards, wire.LAYOUTS_KEY)],
)
def test_a_worker_that_dies_leaves_no_key_for_ever(
    stack: Stack, note: Callable[[Any], Awaitable[None]], key: str
) -> None:
    """After whichever call it dies, the key that it wrote ends by itself."""

    async def run(call: int) -> int:
        redis = connect(stack.settings)
        faults = Faults(call, "die after")
        try:
            with suppress(Died):
                await note(FaultyRedis(redis, faults))
        finally:
            await redis.aclose()
        return faults.calls

    for call in (1, 2, 3):
        stack.server.delete(key)
        calls = asyncio.run(run(call))
        if stack.server.exists(key):
            assert stack.server.ttl(key) > 0, call
        if calls < call:
            break
    assert stack.server.ttl(key) > 0
