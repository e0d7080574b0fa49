"""The client: checks a call, encodes it on the spot, and leaves the rest to the delivery.

Only `flush`, `aflush`, `close`, `ping`, `log_records` and a second `init` wait, each for a bounded time. `init` and
`set_sample_rate` raise ConfigurationError for a wrong setting; `flush`, `aflush` and `close` for a timeout that is no
number. With `strict=True` an event that cannot be logged raises InvalidEvent. Nothing else raises into the caller.
"""

import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, SupportsIndex, cast
from uuid import UUID

from . import batch, events, forks, ids, log
from ._delivery import Funnel
from .children import arguments_of_parent, note_arguments, warn_of_missing
from .columns import Column
from .drops import NotLogged
from .errors import ConfigurationError, InvalidEvent
from .options import BUFFER_BYTES_MAX, BUFFER_EVENTS_MAX, CLOSE_TIMEOUT_S, SPOOL_BYTES_MAX, Options, options_of
from .patience import WAIT_S
from .times import utc

if TYPE_CHECKING:
    from .credentials import Credentials
    from .hooks import BeforeSend
    from .redaction_rules import Rule


class Client:
    """One buffer, one background thread, and one connection per Redis server. Thread-safe and fork-safe.

    The constructor reads no environment variable and opens no connection. Call `init`, or let the first event configure
    the client from JOINBACK_REDIS_URL and the other variables.
    """

    def __init__(self) -> None:
        self._funnel = Funnel(Options(), is_configured=False)
        """The door to the delivery. Each `init` makes a new one."""
        self._make_lock()
        forks.renewed_in_children(self._make_lock)

    def _make_lock(self) -> None:
        # Re-entrant: a signal handler may log in the thread that holds it.
        self._configuring = threading.RLock()
        self._beginning: Funnel | None = None  # what the thread that holds the lock prepares

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
        """Configure the client and return it. Does not connect. The environment gives what no argument gives.

        - `redis_url`: one server, a Redis Cluster, or the primary that Sentinels name; see `joinback.redis_url`.
        - `environment`: text that stands on each event and row, such as `production`.
        - `buffer_ttl_s`: how many seconds Redis keeps a record after its last event; from 1 to a year.
        - `sample_rates`: application -> the share of its predictions to log, over 0 and at most 1. Their feedback
          follows, in every process.
        - `redact`, `before_send`: what must not leave the process; see `joinback.redaction`.
        - `strict`: raise InvalidEvent instead of counting a drop. For tests and notebooks.
        - `buffer_events_max`, `buffer_bytes_max`: how many events, and bytes of them, wait in memory at most.
        - `spool_dir`: a directory for events that memory cannot hold while Redis is away, and for those that an exit
          could not deliver. The next process with the same directory sends them. Without it they are dropped and
          counted. `spool_bytes_max`: how many bytes it may hold.
        - `redis`: a client that you made, instead of a URL: a `redis.Redis` (also a Sentinel's `master_for`) or a
          `redis.RedisCluster`. Joinback copies its settings and opens connections of its own.
        - `credentials`: a callable, for logins that rotate. A background thread calls it at each login. It returns
          (user, password), or a password or token alone, in place of those in the URL or the client. By default it is
          the callable that JOINBACK_REDIS_CREDENTIALS names; with `redis` there is no default.

        Call it at start-up, before other threads log. A second call first delivers what was logged under the old
        settings, as `close` does, and counts from zero.

        Raises ConfigurationError for a wrong argument, a wrong Redis URL and a wrong JOINBACK_REDIS_CREDENTIALS. Any
        other wrong variable is logged and has no effect. If the spool's directory cannot be made, that is logged too,
        and logging goes on without a spool.
        """
        options = options_of(
            redis_url=redis_url, environment=environment, buffer_ttl_s=buffer_ttl_s, sample_rates=sample_rates,
            redact=redact, before_send=before_send, strict=strict, buffer_events_max=buffer_events_max,
            buffer_bytes_max=buffer_bytes_max, spool_dir=spool_dir, spool_bytes_max=spool_bytes_max,
            redis=redis, credentials=credentials,
        )  # fmt: skip
        funnel = self._begun(options)
        self.close()
        self._funnel = funnel
        note_arguments(
            {
                "redis_url": redis_url, "environment": environment, "buffer_ttl_s": buffer_ttl_s,
                "sample_rates": sample_rates, "redact": redact, "before_send": before_send,
                "spool_dir": spool_dir, "redis": redis, "credentials": credentials,
            }
        )  # fmt: skip
        return self

    def set_sample_rate(self, application: str, rate: float) -> None:
        """Log this share of the application's predictions from now on. Their feedback follows, in every process.

        `rate` is over 0 and at most 1. Raises ConfigurationError.
        """
        self._configured().set_sample_rate(application, rate)

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Wait at most `timeout_s` seconds until Redis has all that was logged before. Return whether it has.

        Returns False if the time ran out: the events stay buffered and the sender goes on. Returns False too if an
        event logged since the last flush was dropped on its way (`buffer_full`, `wrong_type`, …; see `stats`). An event
        that was itself wrong, such as `invalid`, was reported at its call and does not count here. Raises
        ConfigurationError, before it waits, if `timeout_s` is no number.

        Blocks: in asyncio code await `aflush`. If the process may be frozen or killed after each request (serverless),
        call it at the end of each request.
        """
        return self._funnel.flush(timeout_s)

    async def aflush(self, timeout_s: float = 5.0) -> bool:
        """Do the same as `flush`, in asyncio code: other tasks run meanwhile."""
        return await self._funnel.aflush(timeout_s)

    def close(self, timeout_s: float = CLOSE_TIMEOUT_S) -> bool:
        """Deliver what is buffered, in at most `timeout_s` seconds, and stop. Return whether Redis has all of it.

        Runs by itself when the interpreter exits. What is left goes to the spool, or is counted as `undelivered` and
        logged. Events that are logged later are counted as `closed`, until `init` is called again. What was dropped
        since the last flush makes it return False, as `flush` does. If another thread is closing already, wait for it,
        and return what it returns, or False if the time ran out first. Raises ConfigurationError, with nothing done, if
        `timeout_s` is no number.
        """
        return self._funnel.close(timeout_s)

    def ping(self) -> bool:
        """Return whether Redis answers within some seconds. If it does not, log why. Never raises."""
        try:
            funnel = self._configured()
        except ConfigurationError as error:
            log.warning("joinback: %s", error)
            return False
        trouble = funnel.trouble()
        if trouble is not None:
            log.warning("joinback: %s", trouble)
        return trouble is None

    def stats(self) -> dict[str, Any]:
        """Return the numbers of events since `init`, or since the fork: logged, sent, buffered, dropped, recovered.

        `logged = sent + buffered + sum(dropped.values())`, at every moment. `sent` events are in Redis. `buffered`
        events are in memory or in the spool. `dropped` is a dict by reason; `joinback.drops` lists the reasons.
        `recovered` are those of the logged events that an earlier process had left in the spool.
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
        """Log a prediction (`inputs` and `outputs`), feedback on one (`feedback`), or both. Return the join key.

        - `application`: the name of the model or use; printable text, at most 200 bytes.
        - `inputs`, `outputs`: values of any type; `joinback.values` says how they become JSON. A prediction needs both.
        - `feedback`: a dict with at least one field. It may come before its prediction, more than once, and up to six
          months late. A field whose value is None has a value: null.
        - `join_key`: a str, a UUID or an integer of any type; as text at most 512 bytes. Feedback needs the key of its
          prediction. A prediction without a key gets a new one.
        - `version`: the version of the model. `tags`: a dict for what else should stand on the row.
        - `timestamp`: when it happened, as a datetime or ISO 8601 text; by default now. Without a time zone it is UTC.
        - `event_id`: makes a repeated call (a retried task) count once; at most 64 bytes. Without it each call counts.
        - `source`: who gave the feedback: `human`, `model`, `rule`, or a name. For fields whose rules rank sources.

        Never blocks. An event that cannot be logged, or is larger than 1 MiB, is dropped: counted in `stats()`, and
        explained in the log. With `strict=True` it raises InvalidEvent instead. The key is returned, as text, even if
        the event is dropped; for a value that cannot be a key, such as 1.5, its text.
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
        # Nearly all funnels are open, so the call is saved here.
        funnel = self._funnel if self._funnel.is_open else self._open_funnel()
        if funnel is None:
            return key
        try:
            events.check_names(application, key, join_key, event_id)
            if inputs is None or outputs is None or feedback is not None or source is not None:
                events.check_sides(inputs, outputs, feedback, join_key, source)
            if type(application) is not str:
                # A str that is an Enum would be written by the name of its member.
                application = str.__str__(application)
            logged_at = datetime.now(UTC)
            at = logged_at if timestamp is None else utc(timestamp)
            version_text = version if version is None or type(version) is str else events.text_of(version)
            identity = ids.new_id() if event_id is None else str.__str__(event_id)
            common = (at, logged_at, version_text, funnel.environment, tags)
            funnel.log(application, key, identity, (inputs, outputs, feedback), common, source=source)
        except InvalidEvent:
            raise
        # Anything: a caller's object may run code of its own. The caller goes on.
        except Exception as error:
            funnel.drop(error, application)
            if join_key is None and inputs is None:
                # Feedback without a key: a new key would look as if there were a prediction.
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
        """Log many records, one per row of the columns. Return their join keys in order.

        A column is a list, a DataFrame, a Series or an array, all of one length: `joinback.columns` has the table. What
        a cell means is in `joinback.cells`; a missing label, for example, changes nothing. The arguments are those of
        `log_record`, and:

        - `version` is for all records; `versions` is a column. `tags` is one dict for all, or a column of dicts.
        - `event_ids`: the ids of your table. A row that is logged twice then counts once.
        - `wait_s`: how many seconds the call waits while nothing leaves a full buffer.

        If a column is wrong, or the lengths differ, nothing is logged: the call is one counted drop, the log says how
        many cells are wrong, and the list is empty. The key of a row without key and inputs is "".

        Blocks while the buffer is full, until nothing has left it for `wait_s` seconds. A record without room is then
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
        """Take feedback back: these `fields`, or all, of the feedback whose time is not after `timestamp`.

        `timestamp` is now by default. Feedback with a later time counts. The history stays on the row.

        - `event_ids`: take these feedback events back instead, whatever their time; of them `fields` only, if given.
          Other events stay.
        - `retraction_ids`: take these earlier retractions back, by the `event_id` of each. What they took back counts
          again.
        - `event_id`: the id of this retraction; a repeated call counts once.

        An id may be written as a row's history shows it: `feedback:e1` for `e1`, `retraction:r1` for `r1`. An empty
        list, or one that names this retraction itself, is counted as `invalid`. Never blocks; with `strict=True` raises
        InvalidEvent.
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
            event = events.retraction(
                at, logged_at, funnel.environment, fields, event_ids, retraction_ids, own_id=identity
            )
            funnel.retract(application, key, identity, event)
        except InvalidEvent:
            raise
        except Exception as error:
            funnel.drop(error, application)

    def _open_funnel(self) -> Funnel | None:
        """Return the door if events can be sent. Else count this event as dropped, log why, and return None."""
        if self._funnel.is_open:
            return self._funnel
        try:
            funnel = self._configured()
        except ConfigurationError as error:
            self._funnel.drop(NotLogged("misconfigured", str(error)))
            return None
        if not funnel.is_open:
            funnel.drop(NotLogged("closed", "logged after close(); call joinback.init() to start again"))
            return None
        return funnel

    def _configured(self) -> Funnel:
        """Return the funnel; configure it from the environment if nobody did. Raises ConfigurationError."""
        forks.begin()
        with self._configuring:
            if self._beginning is not None:
                # A signal handler logs in the thread that prepares this one. It must not import what that imports.
                return self._beginning
            if not self._funnel.is_configured:
                arguments = arguments_of_parent()
                options = options_of()
                # Otherwise a handler logged meanwhile, and has configured the client.
                if not self._funnel.is_configured:
                    self._funnel = self._begun(options)
                    warn_of_missing(arguments, options.redis_url)
            return self._funnel

    def _begun(self, options: Options) -> Funnel:
        with self._configuring:
            self._beginning = funnel = Funnel(options)
            try:
                funnel.begin()
            finally:
                self._beginning = None
        return funnel
