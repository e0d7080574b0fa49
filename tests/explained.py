"""What `joinback explain` says of a key of a whole stack, and the events that it says it of."""

import asyncio
from datetime import datetime
from typing import Any

from conftest import PATIENCE_S, Stack
from msgspec import structs

from joinback.settings import Settings
from joinback_worker.connection.connect import connect
from joinback_worker.operating.explaining import explain
from joinback_worker.operating.explanation import Explanation


def explained(stack: Stack, key: str, **changed: Any) -> Explanation:
    async def look() -> Explanation:
        settings: Settings = structs.replace(stack.settings, **changed)
        buffer = connect(settings)
        try:
            return await explain(buffer, settings, "loans", key)
        finally:
            await buffer.aclose()

    return asyncio.run(look())


def log(stack: Stack, *keys: str, at: datetime | None = None, **feedback: Any) -> None:
    for key in keys:
        if feedback:
            stack.client.log_record("loans", feedback=feedback, join_key=key, timestamp=at)
        else:
            stack.client.log_record("loans", inputs=1, outputs=0.5, join_key=key, timestamp=at)
    assert stack.client.flush(PATIENCE_S)
