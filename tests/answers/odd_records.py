"""A record with any output and any feedback. One in four has no label."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from msgspec import Raw

from joinback import wire
from joinback_worker.law.record import Record

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
