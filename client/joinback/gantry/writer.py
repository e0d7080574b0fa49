"""One record of Gantry's on its way into Joinback's funnel."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, TypeAlias
from uuid import uuid4

from joinback import events, sampling, wire
from joinback.client import Client
from joinback.errors import InvalidEvent
from joinback.events import Refused

from .rates import Rates, check_rate
from .records import Record, in_time_order

PACE_RECORDS = 1_000
"""A call with more waits for the sender now and then, since the buffer is bounded: 90,000 predictions of any
size, or as many as have room in 64 MiB, so of 1,000 up to 57 kB each. Fewer never wait."""
FLUSH_S = 5.0
"""The longest that a call waits for Redis; a service's own timeouts are rarely shorter."""

ENVIRONMENT = "dev"
"""Where nobody told one; Gantry's own default, which old queries filter by."""

Batch: TypeAlias = tuple[str | None, list[str]]
"""The id of a batch, if it is to have one, and the join key of each record."""


class Writer:
    """What `Client.log_record` does, with an environment and a sample rate of each call's own."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._rates = Rates()
        self.environment = ENVIRONMENT

    def write(self, record: Record, application: str, version: object, rate: float) -> str | None:
        """Log one record. Returns its join key, if it is in the sample. Raises Refused, and whatever its values do."""
        key, kept = self._write(record, application, version, rate)
        return key if kept else None

    def _write(self, record: Record, application: str, version: object, call_rate: float) -> tuple[str, bool]:
        """Log one record as a prediction, feedback, or both.

        Returns its join key, and whether it is in the sample. The tag `env` is the record's environment, or
        else becomes it.
        """
        key = events.key_of(record.join_key)
        if not self._client._funnel.delivery.open and not self._client._ready():
            return key, True
        funnel = self._client._funnel
        events.check_names(application, key, record.join_key, record.event_id)
        application = str.__str__(application)
        events.check_sides(record.inputs, record.outputs, record.feedback, record.join_key)
        logged_at = datetime.now(UTC)
        tags = {"env": self.environment, **record.tags}
        common: dict[str, Any] = {
            "v": wire.WIRE_VERSION,
            "at": logged_at if record.timestamp is None else events.utc(record.timestamp),
            "logged_at": logged_at,
            "version": None if version is None else str(version),
            "environment": None if tags["env"] is None else str(tags["env"]),
        }
        identity = record.event_id or events.new_id()
        told = funnel.delivery.told_rates
        if record.inputs is not None:
            rate = self._rates.rate_of(told, application, call_rate)
            sides = {"inputs": record.inputs, "outputs": record.outputs}
            # Each event gets tags of its own, since redaction may change them.
            prediction = wire.Prediction(**common, **sides, tags=dict(tags), sample_rate=rate)
            funnel.put(application, key, f"prediction:{identity}", prediction, rate)
        else:
            check_rate(call_rate)
            rate = min(call_rate, funnel.delivery.feedback_rate(application))
        if record.feedback is not None:
            feedback = wire.Feedback(**common, tags=tags, feedback=dict(record.feedback))
            funnel.put(application, key, f"feedback:{identity}", feedback, rate)
        return key, rate >= wire.UNSAMPLED or sampling.keeps(application, funnel.stored_key(key), rate)

    def write_all(
        self, records: Iterable[Record | Refused], application: str, version: object, rate: float
    ) -> Iterator[str]:
        """Log many; one that cannot be logged is counted, and the others go on. Yields each one's join key.

        Of one that has no key to tell, a new one. With `strict`, raises InvalidEvent.
        """
        waits = True
        for number, record in enumerate(records, 1):
            key = events.key_of(None if isinstance(record, Refused) else record.join_key)
            try:
                if isinstance(record, Refused):
                    raise record
                key, _ = self._write(record, application, version, rate)
            except InvalidEvent:
                raise
            except Exception as error:
                self._client._funnel.refuse(error)
            # While Redis is away one wait is enough; the buffer then does what it can, and counts the rest.
            if number % PACE_RECORDS == 0 and waits:
                waits = self._client.flush(FLUSH_S)
            yield key

    def write_batch(
        self,
        records: list[Record | Refused],
        application: str,
        version: object,
        rate: float,
        earliest_first: bool,
        named: bool,
    ) -> Batch:
        """Log many, in the order of their times if told so. Returns their keys in the order they came.

        If `named`, they get an id of their own as the tag `batch_id`.
        """
        batch_id = str(uuid4()) if named and records else None
        if batch_id is not None:
            for record in records:
                if isinstance(record, Record):
                    record.tags["batch_id"] = batch_id
        order = in_time_order(records) if earliest_first else list(range(len(records)))
        keys = dict(zip(order, self.write_all([records[n] for n in order], application, version, rate), strict=True))
        return batch_id, [keys[n] for n in range(len(records))]
