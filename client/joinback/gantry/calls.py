"""Gantry's client: its calls, with their names, arguments and results.

No call raises, but for ClientNotInitialized before `init`, and InvalidEvent where Joinback itself was told to be
strict (`joinback.testing.capture`): what cannot be logged is a drop, counted in `joinback.stats()` and explained
in the log.
"""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from joinback import wire
from joinback.client import Client
from joinback.columns import Column
from joinback.errors import InvalidEvent

from .exceptions import ClientNotInitialized
from .files import load
from .keys import deprecate, join_key_of
from .options import Level, logger, options_of, setup_logger
from .recorder import ENVIRONMENT, FLUSH_S, Batch, Recorder
from .records import batch_of, mapping, record_of

Tags = Mapping[str, Any]


class Gantry:
    """What `get_client()` returns. Thread-safe; the events are those of one Joinback client."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._recorder = Recorder(client)
        self._has_told_of_api_key = False
        self.initialized = False
        self.send_in_background = True

    setup_logger = staticmethod(setup_logger)

    def init(
        self,
        api_key: str | None = None,
        logging_level: Level | None = None,
        environment: str | None = None,
        send_in_background: bool | None = None,
    ) -> None:
        """Make the calls ready; call it once, at start-up. Does not connect.

        - `api_key` has no meaning here and is ignored; Redis is told by JOINBACK_REDIS_URL.
        - `environment` is the tag `env` and the column `environment` of what is logged without such a tag:
          GANTRY_ENVIRONMENT, what Joinback was told, or "dev", if not given.
        - `send_in_background=False` lets each call wait until Redis has its events, at most 5 seconds.

        A client that `joinback.init` has configured stays as it is. Raises ConfigurationError.
        """
        options = options_of(api_key, logging_level, environment, send_in_background)
        setup_logger(options.logging_level)
        if not self._client._funnel.is_configured:
            self._client.init(environment=options.environment)
        if options.has_api_key and not self._has_told_of_api_key:
            self._has_told_of_api_key = True
            logger.info("joinback: Gantry's API key is ignored; events go to the Redis of JOINBACK_REDIS_URL")
        self._recorder.environment = options.environment or self._client._funnel.environment or ENVIRONMENT
        self.send_in_background = options.send_in_background
        self.initialized = True

    def log_record(
        self,
        application: str,
        version: int | str | None = None,
        inputs: Any = None,
        outputs: Any = None,
        feedback_id: str | dict[str, Any] | None = None,
        feedback: dict[str, Any] | None = None,
        feedback_keys: list[str] | None = None,
        ignore_inputs: list[str] | None = None,
        timestamp: datetime | None = None,
        sample_rate: float = 1.0,
        tags: Tags | None = None,
        join_key: str | None = None,
    ) -> str | None:
        """Log a prediction, feedback, or both. Returns the join key; None if sampled out or refused.

        `feedback_id` and `feedback_keys` are deprecated.
        """
        with self._call():
            deprecate(feedback_id=feedback_id, feedback_keys=feedback_keys)
            key = join_key_of(inputs, feedback_id, feedback_keys, join_key)
            record = record_of(inputs, outputs, feedback, key, timestamp, mapping(tags), ignore_inputs)
            return self._recorder.write(record, application, version, sample_rate)
        return None

    def log_records(
        self,
        application: str,
        version: int | str | None = None,
        inputs: Column | None = None,
        outputs: Column | None = None,
        feedback_keys: list[str] | None = None,
        feedback_ids: list[str] | list[dict[str, Any]] | None = None,
        feedbacks: Column | None = None,
        ignore_inputs: list[str] | None = None,
        timestamps: Column | None = None,
        sort_on_timestamp: bool = True,
        sample_rate: float = 1.0,
        as_batch: bool = False,
        tags: Tags | list[dict[str, Any]] | None = None,
        join_keys: Column | None = None,
        row_tags: Column | None = None,
        global_tags: Tags | None = None,
    ) -> Batch:
        """Log many records, whose columns are lists, DataFrames, Series or arrays of one length.

        Returns the batch's id and the join key of each record, in the caller's order, sampled or not. The id is
        None without `as_batch`; with it, it is the tag `batch_id` of each record. A record that cannot be logged
        does not stop the others; columns that do not fit together are one drop, and (None, []).

        `sort_on_timestamp` sends the earliest first, which changes no row. `feedback_ids`, `feedback_keys`
        and `tags` are deprecated.
        """
        with self._call():
            deprecate(feedback_ids=feedback_ids, feedback_keys=feedback_keys, tags=tags)
            payloads = {"inputs": inputs, "outputs": outputs, "feedbacks": feedbacks}
            scalars = {"join_keys": join_keys, "timestamps": timestamps, "feedback_ids": feedback_ids}
            records = batch_of(payloads, scalars, tags, row_tags, global_tags, feedback_keys, ignore_inputs)
            return self._recorder.write_batch(records, application, version, sample_rate, sort_on_timestamp, as_batch)
        return None, []

    def log(
        self,
        application: str,
        version: int | str | None = None,
        inputs: Any = None,
        outputs: Any = None,
        feedbacks: Any = None,
        ignore_inputs: list[str] | None = None,
        tags: Tags | list[dict[str, Any]] | None = None,
        timestamps: Any = None,
        sort_on_timestamp: bool = True,
        sample_rate: float = 1.0,
        row_tags: Any = None,
        global_tags: Tags | None = None,
        join_keys: Any = None,
        as_batch: bool | None = False,
        run_id: str | None = None,
        run_tags: Tags | None = None,
    ) -> Any:
        """Log one record, where inputs (or else feedbacks) are a dict; many, where they are a column.

        Returns what `log_record` does for one and what `log_records` does for many. `run_id` becomes a tag,
        `run_tags` are global ones.
        """
        single = isinstance(feedbacks if inputs is None else inputs, Mapping)
        with self._call():
            run = {"run_id": run_id} if run_id else {}
            everywhere = {**run, **mapping(run_tags), **mapping(global_tags)}
            if single:
                own = {**mapping(tags), **everywhere, **mapping(row_tags)}
                key = join_key_of(inputs, None, None, join_keys)
                record = record_of(inputs, outputs, feedbacks, key, timestamps, own, ignore_inputs)
                return self._recorder.write(record, application, version, sample_rate)
            deprecate(tags=tags)
            payloads = {"inputs": inputs, "outputs": outputs, "feedbacks": feedbacks}
            scalars = {"join_keys": join_keys, "timestamps": timestamps}
            records = batch_of(payloads, scalars, tags, row_tags, everywhere, None, ignore_inputs)
            named = bool(as_batch)
            return self._recorder.write_batch(records, application, version, sample_rate, sort_on_timestamp, named)
        return None if single else (None, [])

    def log_file(
        self,
        application: str,
        filepath: str | os.PathLike[str],
        version: int | str | None = None,
        timestamp: str | None = None,
        inputs: list[str] | None = None,
        outputs: list[str] | None = None,
        feedbacks: list[str] | None = None,
        tags: list[str] | None = None,
        feedback_id: str | None = None,
        feedback_keys: list[str] | None = None,
        sep: str = ",",
        join_key: str | None = None,
    ) -> None:
        """Log each line of a CSV file with a header, whose columns are named here or found by their names.

        Waits while the buffer is full, and counts a line that is no record as a drop; the rules are in `files`.
        Ends with a line of the log: how many lines, how many refused, the types of the columns.
        `feedback_id` and `feedback_keys` are deprecated.
        """
        with self._call():
            deprecate(feedback_id=feedback_id, feedback_keys=feedback_keys)
            payloads = {"inputs": inputs, "outputs": outputs, "feedback": feedbacks, "tags": tags}
            singles = {"timestamp": timestamp, "feedback_id": feedback_id, "join_key": join_key}
            begun = load(filepath, sep, payloads, singles, feedback_keys)
            for _ in self._recorder.write_all(begun.records, application, version, wire.UNSAMPLED):
                pass
            logger.log(logging.WARNING if begun.is_odd else logging.INFO, "joinback: %s", begun)

    def ping(self) -> bool:
        """Whether Redis answers, within some seconds."""
        if not self.initialized:
            raise ClientNotInitialized
        return self._client.ping()

    def ready(self) -> bool:
        """Whether Redis lets this client in; the same question as `ping`, since both log in."""
        return self.ping()

    @contextmanager
    def _call(self) -> Iterator[None]:
        """Around every call: nothing raises into the caller, and nothing is lost without being counted."""
        if not self.initialized:
            raise ClientNotInitialized
        try:
            yield
        # Warnings are raised only where somebody runs Python with -W error.
        except (InvalidEvent, Warning):
            raise
        except Exception as error:
            self._client._funnel.refuse(error)
        if not self.send_in_background:
            self._client.flush(FLUSH_S)
