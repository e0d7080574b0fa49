"""From records of Gantry's calls into Joinback's funnel."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import TypeAlias
from uuid import uuid4

from joinback import events, ids
from joinback.client import Client
from joinback.errors import InvalidEvent
from joinback.patience import Patience
from joinback.times import utc

from .records import Record, in_time_order

FLUSH_S = 5.0
"""How long a call may wait for Redis. A service's own timeouts are rarely shorter."""

ENVIRONMENT = "dev"
"""The environment if nothing gives one: Gantry's own default, by which old queries filter."""

Batch: TypeAlias = tuple[str | None, list[str]]
"""The id of a batch or None, and the join key of each record; "" for a record without one."""


class Recorder:
    """Does what `Client.log_record` does, but each call has its own environment and sample rate."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.environment = ENVIRONMENT

    def write(self, record: Record, application: str, version: object, rate: float) -> str | None:
        """Log one record. Return its join key; None if it is not in the sample. Raises what its values raise."""
        key, kept = self._write(record, application, version, rate, None)
        return key if kept else None

    def _write(
        self, record: Record, application: str, version: object, call_rate: float, patience: Patience | None
    ) -> tuple[str, bool]:
        """Log one record as a prediction, feedback, or both. Return its join key, and whether it is in the sample.

        Its environment is its tag `env`. A record without that tag gets the tag from `init`'s environment.
        """
        key = ids.key_of(record.join_key)
        funnel = self._client._open_funnel()
        if funnel is None:
            return key, True
        events.check_names(application, key, record.join_key, record.event_id)
        application = str.__str__(application)
        events.check_sides(record.inputs, record.outputs, record.feedback, record.join_key)
        logged_at = datetime.now(UTC)
        tags = {"env": self.environment, **record.tags}
        at = logged_at if record.timestamp is None else utc(record.timestamp)
        common = (at, logged_at, events.text_of(version), events.text_of(tags["env"]), tags)
        identity = record.event_id or ids.new_id()
        sides = (record.inputs, record.outputs, record.feedback)
        return key, funnel.log(application, key, identity, sides, common, patience=patience, call_rate=call_rate)

    def write_all(self, records: Iterable[Record], application: str, version: object, rate: float) -> Iterator[str]:
        """Log many records. Yield the join key of each; "" for one without a key that was not logged.

        A record that cannot be logged is counted, and the others are logged. Waits while the buffer is full, as
        Joinback's own `log_records` does. With `strict`, raises InvalidEvent.
        """
        patience = Patience()
        for record in records:
            try:
                if record.trouble is not None:
                    raise record.trouble
                if record.says_nothing:
                    # A line of a table of labels without a label.
                    key = record.own_key
                else:
                    key, _ = self._write(record, application, version, rate, patience)
            except InvalidEvent:
                raise
            except Exception as error:
                key, record.trouble = record.own_key, error
                self._client._funnel.drop(error, application)
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
        """Log many records; with `earliest_first` in the order of their times. Return their keys in the given order.

        If `named`, they get a new id as their tag `batch_id`, which is returned too.
        """
        batch_id = str(uuid4()) if named and records else None
        if batch_id is not None:
            for record in records:
                record.tags["batch_id"] = batch_id
        order = in_time_order(records) if earliest_first else list(range(len(records)))
        keys = dict(zip(order, self.write_all([records[n] for n in order], application, version, rate), strict=True))
        return batch_id, [keys[n] for n in range(len(records))]
