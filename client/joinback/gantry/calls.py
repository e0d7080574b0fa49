"""Gantry's client: its calls, with their names, arguments and results.

An event that cannot be logged is a drop, counted in `joinback.stats()` and explained in the log. A call raises only
ClientNotInitialized before `init`, and InvalidEvent where Joinback's client is strict (`joinback.testing.capture`).
`init` raises ConfigurationError.
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
from .options import Level, gantry_options, logger, setup_logger
from .recorder import ENVIRONMENT, FLUSH_S, Batch, Recorder
from .records import batch_of, mapping, record_of

Tags = Mapping[str, Any]


class Gantry:
    """The result of `get_client()`. Thread-safe; its events go through one Joinback client."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._recorder = Recorder(client)
        self._has_logged_api_key = False
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
        """Make the calls ready. Call it once, at start-up. Does not connect.

        - `api_key` is ignored, and logged once: events go to the Redis of JOINBACK_REDIS_URL.
        - `logging_level`: the level of the logger `joinback`; by default GANTRY_LOGGING_LEVEL, or INFO.
        - `environment`: the tag `env` and the column `environment` of events without a tag `env`. By default
          GANTRY_ENVIRONMENT, then Joinback's own environment, then "dev".
        - `send_in_background`: with False each call waits until Redis has its events, at most 5 seconds.

        A client that `joinback.init` has configured is not changed. Raises ConfigurationError.
        """
        options = gantry_options(api_key, logging_level, environment, send_in_background)
        setup_logger(options.logging_level)
        if not self._client._funnel.is_configured:
            self._client.init(environment=options.environment)
        if options.has_api_key and not self._has_logged_api_key:
            self._has_logged_api_key = True
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
        """Log a prediction, feedback, or both. Return the join key; None if it was sampled out or dropped.

        `sample_rate` is the share of join keys to log, from 0 to 1. `ignore_inputs` are fields of the inputs that are
        not logged. `feedback_id` and `feedback_keys` are deprecated.
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
        """Log many records, in columns of one length: lists, DataFrames, Series or arrays.

        Return the batch's id, and the join key of each record in the caller's order, sampled or not. With `as_batch`
        the id is also the tag `batch_id` of each record; without, it is None. A record that cannot be logged does not
        stop the others. Columns that do not fit together are one drop, and the result is (None, []).

        `sort_on_timestamp` sends the earliest records first, which changes no row. `feedback_ids`, `feedback_keys` and
        `tags` are deprecated.
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
        """Log one record if `inputs` (without them, `feedbacks`) is a dict; else many records, in columns.

        Return what `log_record` returns for one record, or what `log_records` returns for many. `run_id` becomes a tag;
        `run_tags` become global tags.
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
        """Log each line of a CSV file as a record. The file has a header.

        The arguments name the columns; `joinback.gantry.files` says which columns are used if an argument is missing.
        Waits while the buffer is full. A line that is not a record is a drop. At the end one log line says how many
        lines there were, how many were refused, and the types of the columns. `feedback_id` and `feedback_keys` are
        deprecated.
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
        """Return whether Redis answers within some seconds."""
        if not self.initialized:
            raise ClientNotInitialized
        return self._client.ping()

    def ready(self) -> bool:
        """Return the same as `ping`, which logs in to Redis too."""
        return self.ping()

    @contextmanager
    def _call(self) -> Iterator[None]:
        """Surround each call: an exception becomes a counted drop, so that it does not reach the caller."""
        if not self.initialized:
            raise ClientNotInitialized
        try:
            yield
        # A Warning is raised only if Python runs with -W error.
        except (InvalidEvent, Warning):
            raise
        except Exception as error:
            self._client._funnel.drop(error)
        if not self.send_in_background:
            self._client.flush(FLUSH_S)
