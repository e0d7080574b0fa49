"""For the tests of services that log: what they logged, without Redis.

def test_predict_is_logged():
    with joinback.testing.capture() as events:
        predict(loan_id="loan_17", amount=900)
    assert events[0].join_key == "loan_17"
    assert events[0].inputs == {"amount": 900}
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from . import wire
from .buffer import Buffer, Buffered
from .client import Client
from .delivery import Delivery
from .funnel import Funnel


class Event(Struct, frozen=True, kw_only=True):
    """One event as Redis would hold it: encoded and read back, so values are JSON's. What it lacks is None."""

    kind: wire.Kind
    application: str
    join_key: str
    event_id: str
    at: datetime
    logged_at: datetime
    version: str | None = None
    environment: str | None = None
    tags: dict[str, Any] = {}
    inputs: Any = None
    outputs: Any = None
    sample_rate: float | None = None
    feedback: dict[str, Any] | None = None
    fields: list[str] | None = None


@contextmanager
def capture(client: Client | None = None) -> Iterator[list[Event]]:
    """Within the block the client (the default one if none is given) collects its events in the list.

    Nothing is sent, and no Redis and no `init` are needed. The client is strict meanwhile: an event that
    cannot be logged raises InvalidEvent. Sampling, redaction and `before_send` apply as they are configured.
    """
    if client is None:
        from . import default_client

        client = default_client
    captured: list[Event] = []
    before = client._funnel, client._configured
    delivery = Delivery(before[0].delivery.route, before[0].delivery.told_rates)
    delivery.buffer = _Collecting(captured)
    funnel = Funnel(delivery, environment=before[0].environment, hooks=before[0].hooks, strict=True)
    client._funnel, client._configured = funnel, True
    try:
        yield captured
    finally:
        client._funnel, client._configured = before


class _Collecting(Buffer):
    """A buffer that settles each event on the spot."""

    def __init__(self, captured: list[Event]) -> None:
        super().__init__(events_max=1, bytes_max=wire.EVENT_BYTES_MAX * 2, wake_at=2)
        self.attended = True
        self._captured = captured

    def put(self, event: Buffered, is_prediction: bool) -> bool:
        # Room for one: a share of it for predictions would be none.
        super().put(event, False)
        self.leave(self.take(1, 1))
        self.settle(1, {})
        application, join_key, field, payload = event
        kind, _, event_id = field.partition(":")
        known = {"kind": kind, "application": application, "join_key": join_key, "event_id": event_id}
        self._captured.append(msgspec.convert(msgspec.json.decode(payload) | known, Event))
        return False
