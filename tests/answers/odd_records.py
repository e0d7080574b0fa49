"""A record with any output and any feedback, of which one in four has no label; and how records come into a sink."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from msgspec import Raw

from joinback import wire
from joinback_worker.law.record import Record
from joinback_worker.law.rules import Policy
from joinback_worker.sinks import open_sink

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def record(application: str, n: int, outputs: Any, feedback: dict[str, Any]) -> Record:
    at = NOW - timedelta(days=20, minutes=n)
    values = {name: Raw(msgspec.json.encode(value)) for name, value in feedback.items()}
    said = wire.Prediction(v=1, at=at, logged_at=at, inputs=Raw(b"{}"), outputs=Raw(msgspec.json.encode(outputs)))
    label = wire.Feedback(v=1, at=at + timedelta(days=1), logged_at=at + timedelta(days=1), feedback=values)
    is_labelled = n % 4 > 0
    return Record(
        application=application,
        join_key=f"k{n}",
        predictions={"p": said},
        feedback={"f": label} if is_labelled else {},
    )


def put(url: str, records: Sequence[Record], policy: Policy = Policy()) -> None:  # noqa: B008 - frozen
    """Merge the records, and close what is mature."""

    async def run() -> None:
        async with open_sink(url, policy) as sink:
            await sink.merge(records)
            for application in {record.application for record in records}:
                await sink.close_matured(application)

    asyncio.run(run())
