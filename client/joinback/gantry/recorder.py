"""One record of Gantry's on its way into Joinback's funnel."""

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
"""The longest that a call waits for Redis; a service's own timeouts are rarely shorter."""

ENVIRONMENT = "dev"
"""Where nobody told one; Gantry's own default, which old queries filter by."""

Batch: TypeAlias = tuple[str | None, list[str]]
"""The id of a batch, if it is to have one, and the join key of each record; "" for one that named none."""


class Recorder:
    """What `Client.log_record` does, with an environment and a sample rate of each call's own."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.environment = ENVIRONMENT

    def write(self, record: Record, application: str, version: object, rate: float) -> str | None:
        """Log one record. Return its join key, if it is in the sample. Raises NotLogged, and what its values raise."""
        key, kept = self._write(record, application, version, rate, None)
        return key if kept else None

    def _write(
        self, record: Record, application: str, version: object, call_rate: float, patience: Patience | None
    ) -> tuple[str, bool]:
        """Log one record as a prediction, feedback, or both.

        Returns its join key, and whether it is in the sample. The tag `env` is the record's environment, or
        else becomes it.
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
        """Log many; one that cannot be logged is counted, and the others go on. Yields each one's join key.

        "" for one that named none and was not logged. Waits while the buffer is full, as Joinback's own
        `log_records` does. With `strict`, raises InvalidEvent.
        """
        patience = Patience()
        for record in records:
            try:
                if record.trouble is not None:
                    raise record.trouble
                if record.says_nothing:
                    # A line of a table of labels that has none.
                    key = record.own_key
                else:
                    key, _ = self._write(record, application, version, rate, patience)
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
