"""What the sender says to Redis: one attempt at a batch, the announcement of its application, and the replay.

Nothing here waits longer than the socket's timeout, and nothing is tried twice; the sender decides about that.
"""

import logging
import time
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from . import sampling, wire
from .buffer import Buffered, DropReason
from .connection import Connection
from .redis_errors import RedisRefusal
from .replay import Replay
from .route import Route

logger = logging.getLogger("joinback")

REGISTRATION_S = 60.0
"""How often an application is announced again, in case `joinback:applications` was lost or changed."""


class Writer:
    """Every method may raise RedisRefusal or OSError; `disconnect` before the next try."""

    def __init__(self, route: Route, told_rates: dict[str, float], feedback_rates: dict[str, float]) -> None:
        self._connection = Connection(route.redis_url)
        self._buffer_ttl_s = route.buffer_ttl_s
        self._told_rates = told_rates
        self._feedback_rates = feedback_rates
        self._announced: dict[str, tuple[wire.Application, float]] = {}
        self._replay = Replay()
        self._run: str | None = None
        self._has_written = False

    def write(self, application: str, events: Sequence[Buffered]) -> dict[DropReason, int]:
        """Bring events of one application to Redis; returns the number of those it does not have, by reason."""
        self._connect()
        dropped = self._write(application, events)
        self._replay.add(application, events)
        self._has_written = True
        return dropped

    def is_paused(self) -> bool:
        """Whether the worker found Redis nearly full."""
        self._connect()
        return bool(self._connection.call("EXISTS", wire.PAUSED_KEY))

    def disconnect(self) -> None:
        """After a failover the name leads elsewhere, and a restarted server may know nothing of us."""
        self._connection.disconnect()
        self._announced.clear()

    def abort(self) -> None:
        self._connection.abort()

    def _connect(self) -> None:
        if self._connection.connected:
            return
        run = self._connection.connect()
        if self._has_written and (run is None or run != self._run):
            batches = self._replay.batches()
            for application, events in batches:
                self._write(application, events)
            logger.info("joinback: another Redis, or a restarted one; sent the last %d batches again", len(batches))
        # Only now: a replay that fails is due again.
        self._run = run

    def _write(self, application: str, events: Sequence[Buffered]) -> dict[DropReason, int]:
        announced = self._announce(application, any(field.startswith("prediction:") for _, _, field, _ in events))
        kept = self._sampled(application, events)
        dropped: dict[DropReason, int] = {"sampled_out": len(events) - len(kept)} if len(kept) < len(events) else {}
        by_tag: dict[str, Sequence[Buffered]] = {wire.tag(application): kept}
        if announced.shards > 1:
            groups: defaultdict[str, list[Buffered]] = defaultdict(list)
            for event in kept:
                groups[wire.tag_of(application, event[1], announced.shards)].append(event)
            by_tag = dict(groups)
        # The script's first three numbers are of those it took; then comes the index of each it could not.
        failed = sum(len(self._run_script(tag, tagged)) - 3 for tag, tagged in by_tag.items() if tagged)
        return dropped | {"wrong_type": failed} if failed else dropped

    def _run_script(self, tag: str, events: Sequence[Buffered]) -> Any:
        _, join_keys, fields, payloads = zip(*events, strict=True)
        keys = wire.write_keys(tag, join_keys)
        arguments = wire.write_arguments(tag, self._buffer_ttl_s, zip(fields, payloads, strict=True))
        command = [b"EVALSHA", wire.WRITE_SHA.encode(), b"%d" % len(keys), *keys, *arguments]
        try:
            return self._connection.send(command)
        except RedisRefusal as error:
            if error.code != "NOSCRIPT":
                raise
            # A new server, a restarted one, or somebody ran SCRIPT FLUSH.
            self._connection.call("SCRIPT", "LOAD", wire.WRITE_SCRIPT)
            return self._connection.send(command)

    def _sampled(self, application: str, events: Sequence[Buffered]) -> Sequence[Buffered]:
        """Without the feedback whose predictions nobody kept. Predictions were sampled when they were logged."""
        rate = self._feedback_rates.get(application, wire.UNSAMPLED)
        if rate >= wire.UNSAMPLED:
            return events
        return [e for e in events if e[2].startswith("prediction:") or sampling.keeps(application, e[1], rate)]

    def _announce(self, application: str, predicts: bool) -> wire.Application:
        """Tell the worker of the application, and the senders of its feedback at which rate it is sampled.

        The highest rate that was ever announced stands: feedback on a prediction that was kept is never dropped.
        """
        known, renew_at = self._announced.get(application, (None, 0.0))
        # Who was told a rate tells it even if none of its predictions were kept so far.
        rate = self._told_rates.get(application, wire.UNSAMPLED if predicts else None)
        if known is not None and time.monotonic() < renew_at and (rate is None or rate <= (known.sample_rate or 0.0)):
            return known
        stored = self._connection.call("HGET", wire.APPLICATIONS_KEY, application)
        announced = wire.Application() if stored is None else wire.decode_application(stored)
        if announced is None:
            logger.warning(
                "joinback: the field %r of joinback:applications is not valid; HDEL it, meanwhile one shard is used",
                application,
            )
            announced = wire.Application()
        else:
            wanted = wire.Application(announced.shards, max(rate or 0.0, announced.sample_rate or 0.0) or None)
            if stored is None or wanted != announced:
                command = "HSETNX" if stored is None else "HSET"
                self._connection.call(command, wire.APPLICATIONS_KEY, application, wire.encode(wanted))
            announced = wanted
        self._connection.call("EXPIRE", wire.APPLICATIONS_KEY, wire.STATS_TTL_S)
        self._note_layout(application, known, announced)
        self._announced[application] = (announced, time.monotonic() + REGISTRATION_S)
        self._feedback_rates[application] = announced.sample_rate or wire.UNSAMPLED
        return announced

    def _note_layout(self, application: str, known: wire.Application | None, announced: wire.Application) -> None:
        """Tell the worker of each number of shards that was written under, so that it looks there too.

        Before the first event under a new one: what is written under a number that somebody changed by hand would
        not be drained.
        """
        before = 1 if known is None else known.shards
        if announced.shards == before:
            return
        now = datetime.now(UTC).isoformat()
        for shards in (before, announced.shards):
            # What one that has just started has not used itself, it does not renew.
            command = "HSETNX" if known is None else "HSET"
            self._connection.call(command, wire.LAYOUTS_KEY, wire.layout_field(application, shards), now)
        self._connection.call("EXPIRE", wire.LAYOUTS_KEY, wire.STATS_TTL_S)
