"""For the tests of services that log: see what they logged, and how it was joined, without a server::

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
    """One event as Redis would hold it: encoded and read back, so its values are JSON's. A missing value is None."""

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
    """Collect the events of a client in a list, within a `with` block. Yields the list.

    `client` is the default one if none is given. Nothing is sent, and neither a Redis nor `init` is needed. Within the
    block the client is strict: an event that cannot be logged raises InvalidEvent. Sampling, redaction and
    `before_send` apply as configured.
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
    """A worker in this process, which drains when `drain` is called."""

    redis_url: str
    """The URL of its Redis, for another client in this process."""
    redis: Any
    """A `redis.Redis` on its Redis, to look at the keys."""

    def drain(self) -> Any:
        """Deliver what was logged, and join it as a worker does in each drain. Return the counts of that drain."""

    def dead(self, application: str) -> list[dict[str, str]]:
        """Return an application's dead letters, oldest first, with `key`, `event`, `reason`, `detail` and `bytes`."""

    def rows(self, application: str | None = None) -> list[dict[str, Any]]:
        """Return the rows of one application, or of all, ordered by application and join key.

        A row is a dict by column, with JSON decoded. Works after the block too.
        """


@contextmanager
def local(client: Client | None = None, **settings: Any) -> Iterator[Local]:
    """Run a client and a worker in this process without a server, within a `with` block. Yields the `Local`.

    `client` is the default one if none is given. Redis is in memory and the sink is a table in memory; both end with
    the block. `settings` are the worker's, by the names of the variables: `emit="joined"`, `config="joinback.toml"`.
    With `redis_url="memory://"` the block also drains what this process logged there before. With
    `sink_url="sqlite:///rows.db"` the rows stay.

    Within the block the client is strict: an event that cannot be logged raises InvalidEvent. Sampling, redaction and
    `before_send` apply as configured. Needs the extra `testing`. Raises ConfigurationError if something is missing or
    wrong.
    """
    if client is None:
        from . import default_client

        client = default_client
    try:
        # By name, because the client does not import the worker.
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
