"""Rounds: a round drains each tag that has work once, and turns errors into words.

A round does not raise when a tag, the sink or Redis is in trouble: what cannot be drained now stays pending, and the
result holds the reason.

The sink is opened anew for each drain. That costs milliseconds every five minutes, and needs no code for a sink that
was down, moved or restarted in between.
"""

import asyncio
import os
import socket
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial

import structlog
from redis.exceptions import RedisError, ResponseError

from joinback import wire
from joinback.settings import Settings
from joinback_worker.config.rules_file import config_of, policy_of
from joinback_worker.connection.connect import AWAY, ask_each, connect
from joinback_worker.connection.redis_errors import advice
from joinback_worker.errors import SinkUnavailable, described
from joinback_worker.notes.fields_seen import FieldsSeen
from joinback_worker.notes.guard import guarded, refusal
from joinback_worker.notes.health import Health, publish_pause
from joinback_worker.notes.heartbeat import VERSION, redis_time
from joinback_worker.notes.last_drains import LastDrain, note_drains
from joinback_worker.notes.layouts import Layout, Watch, all_tags
from joinback_worker.notes.rules_in_use import note, rules_in_use
from joinback_worker.sinks import check_emit, open_sink, shown
from joinback_worker.sinks.schemes import writers_max

from .cycle import drain
from .drained import Drained
from .pace import Pace
from .source import Elsewhere, Source

log = structlog.get_logger("joinback")


class Drainer:
    """One worker's rounds, and what it remembers from one to the next.

    `only`: the applications to drain; empty: all. Raises ConfigurationError for wrong settings.
    """

    def __init__(self, settings: Settings, only: Sequence[str] = ()) -> None:
        # Wrong settings must fail here, not at the first tick.
        check_emit(open_sink(settings.sink_url), settings.emit)
        self._config = config_of(settings)
        self.settings = settings
        self.only = only
        self.sink = shown(settings.sink_url)
        self.redis = connect(settings)
        self._health = Health()
        self._paces: defaultdict[str, Pace] = defaultdict(Pace)
        self._fields: dict[str, FieldsSeen] = {}
        self._name = f"{socket.gethostname()}:{os.getpid()}"
        self._knows_applications = True
        self._layouts: Mapping[str, Layout] = {}
        self._watch = Watch()
        self._noted_at: datetime | None = None
        """When this worker last noted its rules, by Redis's clock."""
        self.evictions_at: datetime | None = None
        """When this worker last saw that Redis had evicted keys, by Redis's clock."""
        self.restarted_at: datetime | None = None
        """When this worker last saw that Redis had been restarted, by Redis's clock."""

    async def round(self, tag_budget_s: float) -> Drained:
        """Drain each tag that has work once, as many at a time as the sink takes writers. Return the sum of the counts.

        `tag_budget_s`: how long one tag may take, in seconds; if a tag needs longer, the result is `unfinished`, and
        another round goes on. Raises nothing but CancelledError; the claims are given back by then.
        """
        try:
            now = await redis_time(self.redis)
            # After it: what is noted as the end of a round, `now` and what has passed since, never lies in the future.
            started = time.monotonic()
            conditions = await self._health.look(self.redis)
            if "evictions" in conditions:
                self.evictions_at = now
            if "restarted" in conditions:
                self.restarted_at = now
            paused = "memory_high" in conditions
            # Of a cluster only the server that holds this key may be away; the key's TTL ends it then.
            with suppress(*AWAY):
                await publish_pause(self.redis, paused=paused, interval_s=self.settings.interval_s)
            self._layouts = await self._watch.look(self.redis, now)
            known = self._known()
            allowed, refused = await guarded(self.redis, self.settings, known, self.only)
            await self._note_rules({application for application, _ in allowed}, now)
            work, away = await self._with_work(allowed)
        except (RedisError, OSError) as error:
            return Drained(error=advice(error), redis_lost=True)
        except Exception as error:
            return Drained(error=described(error))
        total = Drained(error=refused or away, redis_lost=away is not None)
        gate = asyncio.Semaphore(writers_max(self.settings.sink_url))
        failed: dict[str, tuple[str, bool]] = {}

        async def drain_one(application: str, tag: str) -> None:
            async with gate:
                drained = await self._drain(application, tag, now, conditions, tag_budget_s)
            if drained.error is not None:
                failed[application] = drained.error, drained.sink_lost
            # Not `+= await`: that reads the sum before the drain, and loses what other drains add meanwhile.
            total.include(drained)

        async with asyncio.TaskGroup() as group:
            for application, tag in work:
                group.create_task(drain_one(application, tag))
        # If a server is away, it is not known whether its tags have work; so only the tags with work count as drained.
        done = {application for application, _ in (work if away else allowed)} - failed.keys()
        await self._note_drains(done, failed, now, time.monotonic() - started)
        return total

    async def aclose(self) -> None:
        await self.redis.aclose()

    def _known(self) -> list[tuple[str, str]]:
        """Return every (application, tag) to look at; log once if there is none."""
        known = all_tags(self._layouts, self.only)
        if bool(known) != self._knows_applications:
            self._knows_applications = bool(known)
            if not known:
                log.info("no_application_yet", hint="the first event of a client announces its application in Redis")
        return known

    async def _with_work(self, known: list[tuple[str, str]]) -> tuple[list[tuple[str, str]], str | None]:
        """Return the (application, tag)s that have work, and an error if a server is away; None: none is away.

        Work is a pending entry, or rules by which the clock alone changes rows. A server that is away must not stop
        the tags on other servers. Each tag costs one XLEN.
        """
        lengths = await ask_each(self.redis, [("XLEN", wire.pending_key(tag)) for _, tag in known])
        work, away = [], None
        for (application, tag), length in zip(known, lengths, strict=True):
            if isinstance(length, AWAY):
                away = advice(length)
            # For another error, such as a wrong type at the key, the drain is tried: it logs the error.
            elif length or self._matures(application):
                work.append((application, tag))
        return work, away

    def _elsewhere(self, application: str, tag: str, now: datetime) -> Elsewhere | None:
        """Return what names the other tags that may hold a part of a record. None: its shards never changed.

        A former number of shards counts if it was in use within the buffer's TTL: later its records have expired.
        """
        layout = self._layouts[application]
        since = now - timedelta(seconds=self.settings.buffer_ttl_s)

        def tags_of(join_key: str) -> list[str]:
            return [other for other in layout.tags_of(application, join_key, since) if other != tag]

        return tags_of if layout.former else None

    async def _note_rules(self, applications: Iterable[str], now: datetime) -> None:
        """Note in Redis which rules the rows of these applications follow from now on, even if they have no work.

        Nothing is noted if the server that holds the notes is away, or something else stands at their key.
        """
        rules = {application: self._config.rules_of(application) for application in applications}
        with suppress(*AWAY, ResponseError):
            uses = await rules_in_use(self.redis)
            refolds = open_sink(self.settings.sink_url).refolds
            await note(self.redis, rules, (self._name, now), uses, self._noted_at, refolds=refolds)
            self._noted_at = now

    async def _note_drains(
        self, done: Iterable[str], failed: Mapping[str, tuple[str, bool]], began_at: datetime, took_s: float
    ) -> None:
        """Note in Redis how the drain of each application ended. If Redis is away by now, a later round notes it.

        `failed`: application -> its error, and whether the sink was unavailable.
        """
        ours = LastDrain(
            at=began_at + timedelta(seconds=took_s),
            worker=self._name,
            version=VERSION,
            sink=self.sink,
            interval_s=self.settings.interval_s,
            took_s=round(took_s, 3),
        )
        with suppress(*AWAY):
            await note_drains(self.redis, ours, done, failed)

    def _matures(self, application: str) -> bool:
        return self._config.rules_of(application).mature

    async def _drain(
        self, application: str, tag: str, now: datetime, conditions: dict[str, str], budget_s: float
    ) -> Drained:
        """Drain one tag. Return its counts; trouble with Redis, the sink or the data is in `error`, and is logged."""
        structlog.contextvars.bind_contextvars(sink=self.sink)
        try:
            policy = policy_of(self.settings, application, now)
            async with open_sink(self.settings.sink_url, policy) as sink:
                return await drain(
                    Source(self.redis, tag, elsewhere=self._elsewhere(application, tag, now)),
                    sink,
                    application,
                    emit_joined_only=self.settings.emit == "joined",
                    settled_ttl_s=self.settings.settled_ttl_s,
                    budget_s=budget_s,
                    conditions=conditions,
                    pace=self._paces[tag],
                    rules=policy.rules,
                    fields_seen=self._fields.setdefault(tag, FieldsSeen(policy.rules)),
                    # Asked before each merge: somebody may adopt another sink during a long drain.
                    refusal=partial(refusal, self.redis, self.settings, application),
                )
        except SinkUnavailable as error:
            drained = Drained(error=str(error), sink_lost=True)
        except (RedisError, OSError) as error:
            drained = Drained(error=advice(error), redis_lost=True)
        except Exception as error:
            drained = Drained(error=described(error))
        log.warning("cycle_failed", application=application, tag=tag, why=drained.error)
        return drained


async def drain_all(settings: Settings, only: Sequence[str] = ()) -> Drained:
    """Drain what is pending now, once and without a budget. Return the counts; trouble is in their `error`.

    Raises ConfigurationError for wrong settings.
    """
    drainer = Drainer(settings, only)
    try:
        started = time.monotonic()
        drained = await drainer.round(tag_budget_s=float("inf"))
        # The time that passed, not the sum over drains that ran side by side.
        drained.duration_s = round(time.monotonic() - started, 3)
        return drained
    finally:
        await drainer.aclose()
