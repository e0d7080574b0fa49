"""One record of Gantry's on its way into Joinback's funnel."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import TypeAlias
from uuid import uuid4

from joinback import batch, events, ids, sampling, wire
from joinback.client import Client
from joinback.errors import InvalidEvent
from joinback.room import Room

from .rates import Rates, check_rate
from .records import Record, in_time_order

FLUSH_S = 5.0
"""The longest that a call waits for Redis; a service's own timeouts are rarely shorter."""

ENVIRONMENT = "dev"
"""Where nobody told one; Gantry's own default, which old queries filter by."""

Batch: TypeAlias = tuple[str | None, list[str]]
"""The id of a batch, if it is to have one, and the join key of each record; "" for one that named none."""


class Writer:
    """What `Client.log_record` does, with an environment and a sample rate of each call's own."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._rates = Rates()
        self.environment = ENVIRONMENT

    def write(self, record: Record, application: str, version: object, rate: float) -> str | None:
        """Log one record. Returns its join key, if it is in the sample. Raises Refused, and whatever its values do."""
        key, kept = self._write(record, application, version, rate, None)
        return key if kept else None

    def _write(
        self, record: Record, application: str, version: object, call_rate: float, room: Room | None
    ) -> tuple[str, bool]:
        """Log one record as a prediction, feedback, or both.

        Returns its join key, and whether it is in the sample. The tag `env` is the record's environment, or
        else becomes it.
        """
        key = ids.key_of(record.join_key)
        if not self._client._funnel.delivery.open and not self._client._ready():
            return key, True
        funnel = self._client._funnel
        events.check_names(application, key, record.join_key, record.event_id)
        application = str.__str__(application)
        events.check_sides(record.inputs, record.outputs, record.feedback, record.join_key)
        logged_at = datetime.now(UTC)
        tags = {"env": self.environment, **record.tags}
        at = logged_at if record.timestamp is None else events.utc(record.timestamp)
        common = (at, logged_at, events.text_of(version), events.text_of(tags["env"]), tags)
        told = funnel.delivery.told_rates
        if record.inputs is not None:
            rate = self._rates.rate_of(told, application, call_rate)
        else:
            check_rate(call_rate)
            rate = min(call_rate, funnel.delivery.feedback_rate(application))
        identity = record.event_id or ids.new_id()
        sides = (record.inputs, record.outputs, record.feedback)
        batch.put(funnel, application, key, identity, sides, common, (rate, rate), room)
        return key, rate >= wire.UNSAMPLED or sampling.keeps(application, funnel.stored_key(key), rate)

    def write_all(self, records: Iterable[Record], application: str, version: object, rate: float) -> Iterator[str]:
        """Log many; one that cannot be logged is counted, and the others go on. Yields each one's join key.

        "" for one that named none and was not logged. Waits while the buffer is full, as Joinback's own
        `log_records` does. With `strict`, raises InvalidEvent.
        """
        room = Room()
        for record in records:
            try:
                if record.trouble is not None:
                    raise record.trouble
                if record.says_nothing:
                    # A line of a table of labels that has none.
                    key = record.own_key
                else:
                    key, _ = self._write(record, application, version, rate, room)
            except InvalidEvent:
                raise
            except Exception as error:
                key, record.trouble = record.own_key, error
                self._client._funnel.refuse(error, application)
            yield key

    def write_batch(
        self,
        records: list[Record],
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
                record.tags["batch_id"] = batch_id
        order = in_time_order(records) if earliest_first else list(range(len(records)))
        keys = dict(zip(order, self.write_all([records[n] for n in order], application, version, rate), strict=True))
        return batch_id, [keys[n] for n in range(len(records))]
