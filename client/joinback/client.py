"""The client: checks a call, encodes it on the spot, and leaves the rest to the delivery.

Nothing here waits for Redis except `flush`, `close`, `ping` and `log_records`, and those are bounded. Nothing
raises into the caller except `init` (a wrong setting) and, with `strict=True`, an event that cannot be logged.
"""

import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, SupportsIndex, cast
from uuid import UUID

from . import batch, events, forks, ids, log
from ._delivery import Funnel
from .children import inherited, say_what_is_missing, tell_children
from .columns import Column
from .drops import NotLogged
from .errors import ConfigurationError, InvalidEvent
from .options import BUFFER_BYTES_MAX, BUFFER_EVENTS_MAX, CLOSE_TIMEOUT_S, SPOOL_BYTES_MAX, Options, options_of
from .patience import WAIT_S
from .times import utc

if TYPE_CHECKING:
    from .credentials import Credentials
    from .redaction import BeforeSend, Rule


class Client:
    """One buffer, one background thread, one connection to each server of a Redis. Thread-safe, fork-safe.

    Made without touching the environment or the network. Call `init`, or let the first event configure it
    from JOINBACK_REDIS_URL and its sisters.
    """

    def __init__(self) -> None:
        self._funnel = Funnel(Options(), is_configured=False)
        """The inner door; another one after each `init`."""
        self._make_lock()
        forks.renewed_in_children(self._make_lock)

    def _make_lock(self) -> None:
        self._configuring = threading.Lock()

    # --- life cycle -------------------------------------------------------------------------------------

    def init(
        self,
        redis_url: str | None = None,
        *,
        environment: str | None = None,
        buffer_ttl_s: int | None = None,
        sample_rates: Mapping[str, float] | None = None,
        redact: "Iterable[str | Rule]" = (),
        before_send: "BeforeSend | None" = None,
        strict: bool = False,
        buffer_events_max: int = BUFFER_EVENTS_MAX,
        buffer_bytes_max: int = BUFFER_BYTES_MAX,
        spool_dir: str | os.PathLike[str] | None = None,
        spool_bytes_max: int = SPOOL_BYTES_MAX,
        redis: Any = None,
        credentials: "Credentials | None" = None,
    ) -> "Client":
        """Configure the client; what is not given comes from the environment. Does not connect.

        - `redis_url`: one server, a Redis Cluster, or the primary that Sentinels name; see `joinback.redis_url`.
        - `redis`: instead of the URL, a client you made, whose settings are copied: a `redis.Redis` (also a
          Sentinel's `master_for`) or a `redis.RedisCluster`. Joinback opens connections of its own.
        - `credentials`: called at each login, in a background thread; returns (user, password), or a password or
          token alone. For those that rotate; in place of what the URL or the client says. By default the callable
          that JOINBACK_REDIS_CREDENTIALS names, but for a client you made.
        - `buffer_ttl_s`: how long Redis keeps a record.
        - `sample_rates`: application -> the share of its predictions to log, over 0 to 1; their feedback
          follows, in every process.
        - `redact`, `before_send`: what must not leave the process; see `joinback.redaction`.
        - `strict` raises InvalidEvent instead of counting a drop: for tests and notebooks.
        - `spool_dir`: where events go that memory cannot hold while Redis is away, and at an exit that could
          not deliver them; the next process with the same directory sends them. Without it they are dropped
          and counted.

        Call it at start-up, before other threads log; called again, it delivers what was logged under the
        old settings and counts from zero. Raises ConfigurationError for a wrong argument, and for a Redis URL
        or a JOINBACK_REDIS_CREDENTIALS that is none. What else is wrong in the environment is told in the log,
        and has no effect; a spool that cannot be made is told too, and logging goes on without it.
        """
        options = options_of(
            redis_url=redis_url,
            environment=environment,
            buffer_ttl_s=buffer_ttl_s,
            sample_rates=sample_rates,
            redact=redact,
            before_send=before_send,
            strict=strict,
            buffer_events_max=buffer_events_max,
            buffer_bytes_max=buffer_bytes_max,
            spool_dir=spool_dir,
            spool_bytes_max=spool_bytes_max,
            redis=redis,
            credentials=credentials,
        )
        funnel = Funnel(options)
        funnel.begin()
        self.close()
        self._funnel = funnel
        tell_children(
            {
                "redis_url": redis_url, "environment": environment, "buffer_ttl_s": buffer_ttl_s,
                "sample_rates": sample_rates, "redact": redact, "before_send": before_send,
                "spool_dir": spool_dir, "redis": redis, "credentials": credentials,
            }
        )  # fmt: skip
        return self

    def set_sample_rate(self, application: str, rate: float) -> None:
        """From now on log this share of the application's predictions. Raises ConfigurationError."""
        self._configure_once()
        self._funnel.set_sample_rate(application, rate)

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Wait until Redis has all that was logged before this call, at most `timeout_s` seconds.

        True only if Redis has it. False if the time ran out: the events stay buffered and the sender goes on. False
        too if any logged since the last flush was dropped on its way (`buffer_full`, `wrong_type`, …; see `stats`);
        what was wrong itself, such as `invalid`, was told at its call and does not count here. Blocks: in asyncio
        code await `aflush`. For a process that may be frozen or killed after each request (serverless): call it there.
        """
        return self._funnel.flush(timeout_s)

    async def aflush(self, timeout_s: float = 5.0) -> bool:
        """`flush` for asyncio: other tasks go on meanwhile."""
        return await self._funnel.aflush(timeout_s)

    def close(self, timeout_s: float = CLOSE_TIMEOUT_S) -> bool:
        """Deliver what is buffered, at most `timeout_s` seconds, and stop. Runs by itself at interpreter exit.

        True if Redis has all, as for `flush`. What was left is spooled, or counted as `undelivered` and logged;
        events logged later are counted as `closed`, until `init` is called again.
        """
        return self._funnel.close(timeout_s)

    def ping(self) -> bool:
        """Whether Redis answers, within some seconds. Logs why not. Never raises."""
        try:
            self._configure_once()
        except ConfigurationError as error:
            log.warning("joinback: %s", error)
            return False
        trouble = self._funnel.trouble()
        if trouble is not None:
            log.warning("joinback: %s", trouble)
        return trouble is None

    def stats(self) -> dict[str, Any]:
        """Counts since `init` (or the fork): logged, sent, buffered, recovered, and dropped by reason.

        `logged = sent + buffered + sum(dropped.values())`, at every moment. `sent` means Redis has it;
        `buffered` ones are in memory or in the spool; `recovered` ones are those of the logged that an
        earlier process had left in the spool.
        """
        return self._funnel.stats()

    # --- events -----------------------------------------------------------------------------------------

    def log_record(
        self,
        application: str,
        *,
        inputs: Any = None,
        outputs: Any = None,
        feedback: Mapping[str, Any] | None = None,
        join_key: str | UUID | SupportsIndex | None = None,
        version: str | int | float | None = None,
        tags: Mapping[str, Any] | None = None,
        timestamp: datetime | str | None = None,
        event_id: str | None = None,
        source: str | None = None,
    ) -> str:
        """Log a prediction (`inputs` and `outputs`), feedback on one (`feedback`), or both at once.

        `join_key` is a str, a UUID or an integer of any kind. It is returned as text, or a new one if none was
        given, even if the event is dropped; of what cannot be a key, such as 1.5, only its text is returned.
        `timestamp` (a datetime, or ISO 8601 text) is when it happened, now if not given; a naive one is UTC.
        Feedback is a dict of fields and may come before its prediction, more than once, and up to six months
        late; an explicit None is a value.
        `event_id` makes a repeated call (a retried task) count once; without it each call is an event.
        `source` says who tells the feedback (`human`, `model`, `rule`, or a name), for fields whose rules rank sources.
        Values become JSON by the rules in `joinback.values`. Never blocks; with `strict=True` raises InvalidEvent.
        """
        key = join_key if type(join_key) is str else ids.key_of(join_key)
        if (
            inputs is not None
            and outputs is not None
            and feedback is None
            and timestamp is None
            and event_id is None
            and source is None
            and (key is join_key or join_key is None)
            and self._funnel.put_plain(application, key, inputs, outputs, version, tags)
        ):
            return key
        # Not by a call, as nearly all funnels are open.
        funnel = self._funnel if self._funnel.is_open else self._open_funnel()
        if funnel is None:
            return key
        try:
            events.check_names(application, key, join_key, event_id)
            if inputs is None or outputs is None or feedback is not None or source is not None:
                events.check_sides(inputs, outputs, feedback, join_key, source)
            if type(application) is not str:
                # An Enum of texts would be written by its name.
                application = str.__str__(application)
            logged_at = datetime.now(UTC)
            at = logged_at if timestamp is None else utc(timestamp)
            said = version if version is None or type(version) is str else events.text_of(version)
            identity = ids.new_id() if event_id is None else str.__str__(event_id)
            common = (at, logged_at, said, funnel.environment, tags)
            funnel.log(application, key, identity, (inputs, outputs, feedback), common, source=source)
        except InvalidEvent:
            raise
        # Whatever a caller's object does when it is looked at, the caller goes on.
        except Exception as error:
            funnel.refuse(error, application)
            if join_key is None and inputs is None:
                # Feedback on nothing: a new key would look as if there were a prediction.
                return ""
        return key

    def log_records(
        self,
        application: str,
        *,
        inputs: Column | None = None,
        outputs: Column | None = None,
        feedback: Column | None = None,
        join_keys: Column | None = None,
        version: str | int | float | None = None,
        versions: Column | None = None,
        tags: Mapping[str, Any] | Column | None = None,
        timestamps: Column | None = None,
        event_ids: Column | None = None,
        source: str | None = None,
        wait_s: float = WAIT_S,
    ) -> list[str]:
        """Log many records: the n-th of each column belong together; `joinback.columns` says what a column is.

        Returns their join keys, line by line. `joinback.cells` says what a cell means: a missing label says
        nothing. A wrong column, or unequal lengths, are one counted drop with the number of wrong cells: nothing
        is logged, and the list is empty. `tags` are one dict for all, or a column of them. `event_ids` make the
        call repeatable: give the table's own ids, and what is logged twice counts once. `source` says who tells all of
        the feedback, as in `log_record`.

        Blocks while the buffer is full, until nothing has left it for `wait_s` seconds; what then has no room is
        counted as `buffer_full`. In asyncio code await `asyncio.to_thread(joinback.log_records, …)`, or give
        `wait_s=0`. With `strict=True` raises InvalidEvent for whatever cannot be logged.
        """
        own = tags if isinstance(tags, Mapping) else None
        given = {"inputs": inputs, "outputs": outputs, "feedback": feedback, "join_keys": join_keys}
        given |= {"timestamps": timestamps, "event_ids": event_ids, "versions": versions}
        given["tags"] = None if own is not None else cast(Column | None, tags)
        return batch.log(self, application, given, version, own, wait_s, source)

    def retract(
        self,
        application: str,
        join_key: str | UUID | SupportsIndex,
        *,
        fields: Sequence[str] | None = None,
        event_ids: Sequence[str] | None = None,
        retraction_ids: Sequence[str] | None = None,
        timestamp: datetime | str | None = None,
        event_id: str | None = None,
    ) -> None:
        """Take feedback back: these fields of it, or all; what was said up to `timestamp`, now if not given.

        `event_ids` names the feedback events to take back instead, whatever their time: what else was said stays.
        `retraction_ids` names earlier retractions (their own `event_id`) to take back: what they took counts again.
        Either takes an id also as it is shown in a row's history, `feedback:e1` for `e1` and `retraction:r1` for `r1`;
        an empty list, or one that names this retraction itself, is counted as `invalid`.
        The history stays on the row. Feedback with a later time counts again.
        """
        funnel = self._open_funnel()
        if funnel is None:
            return
        key = ids.key_of(join_key)
        try:
            events.check_names(application, key, join_key, event_id)
            if join_key is None:
                raise NotLogged("invalid", "retract needs the join_key of a prediction")
            application = str.__str__(application)
            logged_at = datetime.now(UTC)
            at = logged_at if timestamp is None else utc(timestamp)
            identity = ids.new_id() if event_id is None else str.__str__(event_id)
            told = (fields, event_ids, retraction_ids)
            event = events.retraction(at, logged_at, funnel.environment, *told, own_id=identity)
            funnel.retract(application, key, identity, event)
        except InvalidEvent:
            raise
        except Exception as error:
            funnel.refuse(error, application)

    def _open_funnel(self) -> Funnel | None:
        """Return the door if events have somewhere to go; else None, and this one is counted and the log says why."""
        if self._funnel.is_open:
            return self._funnel
        try:
            self._configure_once()
        except ConfigurationError as error:
            self._funnel.refuse(NotLogged("misconfigured", str(error)))
            return None
        if not self._funnel.is_open:
            self._funnel.refuse(NotLogged("closed", "logged after close(); call joinback.init() to start again"))
            return None
        return self._funnel

    def _configure_once(self) -> None:
        forks.begin()
        with self._configuring:
            if not self._funnel.is_configured:
                said = inherited()
                self.init()
                say_what_is_missing(said, self._funnel.options.redis_url)
