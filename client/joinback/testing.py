"""For the tests of services that log: what they logged, and what became of it, without a server::

    def test_predict_is_logged():
        with joinback.testing.capture() as events:
            predict(loan_id="loan_17", amount=900)
        assert events[0].join_key == "loan_17"
        assert events[0].inputs == {"amount": 900}

    def test_a_repaid_loan_is_joined():
        with joinback.testing.local() as local:
            predict(loan_id="loan_17", amount=900)
            repaid(loan_id="loan_17")
            local.drain()
        (row,) = local.rows()
        assert row["status"] == "joined"

`capture` needs nothing; `local` needs the extra `testing`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from importlib import import_module
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from . import wire
from .client import Client
from .errors import ConfigurationError


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
    source: str | None = None
    fields: list[str] | None = None
    event_ids: list[str] | None = None
    retraction_ids: list[str] | None = None


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
    before = client._funnel
    client._funnel = before.collecting(lambda *event: captured.append(_read(*event)))
    try:
        yield captured
    finally:
        client._funnel = before


def _read(application: str, join_key: str, field: str, payload: bytes) -> Event:
    kind, _, event_id = field.partition(":")
    known = {"kind": kind, "application": application, "join_key": join_key, "event_id": event_id}
    return msgspec.convert(msgspec.json.decode(payload) | known, Event)


class Local(Protocol):
    """A worker in this process, which drains when it is told to."""

    redis_url: str
    """For another client in this process."""
    redis: Any
    """A redis.Redis, to look at what is buffered."""

    def drain(self) -> Any:
        """Deliver what was logged, and join it, as a worker does at each tick. Return its counts."""

    def dead(self, application: str) -> list[dict[str, str]]:
        """Return the dead letters of an application, oldest first: `key`, `event`, `reason`, `detail`, `bytes`."""

    def rows(self, application: str | None = None) -> list[dict[str, Any]]:
        """Return the rows by column, JSON decoded, of one application or of all; by application and join key.

        After the block too.
        """


@contextmanager
def local(client: Client | None = None, **settings: Any) -> Iterator[Local]:
    """Within the block the client (the default one if none is given) and a worker work in this process, without a
    server: on a Redis in memory, and a table, that end with the block.

    Needs the extra `testing`. `settings` are the worker's, by the names of the variables:
    `emit="joined"`, `config="joinback.toml"`. With `redis_url="memory://"` the block drains what this
    process has logged there, too, and with `sink_url="sqlite:///rows.db"` its rows stay. The client is strict
    meanwhile; sampling, redaction and `before_send` apply as they are configured. Raises ConfigurationError if
    something is missing or wrong.
    """
    if client is None:
        from . import default_client

        client = default_client
    try:
        # By its name: nothing else of the client knows the worker.
        running = import_module("joinback_worker.local").running
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"joinback.testing.local needs {error.name}; in its clone: pip install '.[testing]'"
        ) from None
    before = client._funnel
    if "redis_url" in settings:
        client.flush()
    with running(settings, lambda: client.flush()) as worker:
        client._funnel = before.leading_to(worker.redis_url, worker.settings.buffer_ttl_s)
        try:
            yield worker
        finally:
            client.close()
            client._funnel = before
